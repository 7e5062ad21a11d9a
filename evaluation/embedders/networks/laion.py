"""LAION's own CLAP checkpoints (``.pt``) in transformers' ClapModel, without the ``laion_clap`` package.

The parameters are the same under other names, but for two differences: LAION keeps query, key and value in one
matrix, and its text tower is RoBERTa with a layer-norm epsilon of 1e-5. Everything else is that of
:class:`~evaluation.embedders.networks.clap.ClapEmbedder`.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluation.embedders.network import TextNetworkEmbedder
from evaluation.embedders.networks.clap import (
    INDEX_BUFFERS,
    ClapEmbedder,
    from_folder,
    refuse_fusion,
    tells_captions_apart,
)
from evaluation.embedders.spectrogram import take_stored_stft
from evaluation.embedders.weights import WeightsError, WeightSource, find_weights, load_exactly, read_state_dict

TOKENIZER = WeightSource("weights.tokenizer", "roberta-base", "the Hugging Face hub, roberta-base", "MIT")

# Order matters: "attn" first names the attention block, whose parts are renamed after it.
_AUDIO_NAMES = (
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"\.attn\.(relative_position_bias_table|relative_position_index|qkv)", r".attention.self.\1"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.bn0\.", ".batch_norm."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"^text_branch\.", "text_model."),
)
# Parts that ClapModel computes itself, or that only LAION's training uses.
_UNUSED = (
    "audio_branch.tscam_conv.",
    "audio_branch.head.",
    "audio_transform.",
    "text_transform.",
)
_FFT = 1024
_FILTER_TOLERANCE = 1e-5
_HEADS_OF_LAYER = (4, 8, 16, 32)


class LaionClapEmbedder(TextNetworkEmbedder, ClapEmbedder):
    """Audio and text embeddings from a LAION checkpoint without fusion.

    Args:
        weights: for example "music_speech_audioset_epoch_15_esc_89.98.pt" or "630k-audioset-best.pt".
        tokenizer: folder with RoBERTa's tokenizer (the one of "roberta-base"; that of any LAION ClapModel is equal).
        int16: as LAION's API does with files; False as with ``use_tensor=True``.
        name, device, batch_size, half: see :class:`~evaluation.embedders.networks.clap.ClapEmbedder`.
    """

    def __init__(
        self,
        weights: WeightSource | str | Path,
        tokenizer: WeightSource | str | Path,
        *,
        int16: bool = True,
        name: str = "clap-laion",
        device: str = "cpu",
        batch_size: int = 8,
        half: bool = False,
    ) -> None:
        super().__init__(weights, int16=int16, name=name, device=device, batch_size=batch_size, half=half)
        self._tokenizer = tokenizer

    @cached_property
    def extractor(self) -> Any:
        """LAION's front end: 48 kHz, 10 s, 64 mel bands from 50 to 14000 Hz, 1024-point frames every 480 samples."""
        from transformers import ClapFeatureExtractor

        return ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")

    @cached_property
    def tokenizer(self) -> Any:
        """RoBERTa's tokenizer."""
        from transformers import AutoTokenizer

        folder = find_weights(self._tokenizer)
        return tells_captions_apart(from_folder(AutoTokenizer, folder), folder)

    def _load(self, path: Path) -> nn.Module:
        from transformers import ClapModel

        state = strip_prefix(read_state_dict(path, entry="state_dict"))
        refuse_fusion(any(".mel_conv2d." in name for name in state), path)
        config = config_of(state, path)
        take_stored_stft(state, "audio_branch.", _FFT, path)
        self._check_filters(state.pop("audio_branch.logmel_extractor.melW", None), path)
        model: nn.Module = ClapModel(config)
        load_exactly(model, with_buffers_of(model, convert(state)), path)
        return model

    def _check_filters(self, stored: torch.Tensor | None, path: Path) -> None:
        own = self._mel_filters()
        if stored is None or stored.shape != own.shape or (stored - own).abs().max() > _FILTER_TOLERANCE:
            raise WeightsError(f"{path}: its mel filters are not LAION's (64 bands, 50 to 14000 Hz at 48 kHz)")


def strip_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without the "module." that distributed training leaves."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def config_of(state: dict[str, torch.Tensor], path: Path) -> Any:
    """ClapConfig with the sizes found in a LAION state dict.

    Raises:
        WeightsError: not an HTSAT + RoBERTa checkpoint.
    """
    from transformers import ClapAudioConfig, ClapConfig, ClapTextConfig

    patches, words = "audio_branch.patch_embed.proj.weight", "text_branch.embeddings.word_embeddings.weight"
    if patches not in state or words not in state:
        raise WeightsError(f"{path} is no LAION CLAP with an HTSAT audio and a RoBERTa text tower ({patches} missing)")
    width, text_width = state[patches].shape[0], state[words].shape[1]
    depths = [_count(state, rf"audio_branch\.layers\.{layer}\.blocks\.(\d+)\.") for layer in range(4)]
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=width,
        hidden_size=width * 8,
        depths=depths,
        num_attention_heads=list(_HEADS_OF_LAYER),
        projection_dim=state["audio_projection.0.weight"].shape[0],
    )
    text = ClapTextConfig(
        vocab_size=state[words].shape[0],
        hidden_size=text_width,
        num_hidden_layers=_count(state, r"text_branch\.encoder\.layer\.(\d+)\."),
        num_attention_heads=max(1, text_width // 64),
        intermediate_size=state["text_branch.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["text_branch.embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=1e-5,
        projection_dim=state["text_projection.0.weight"].shape[0],
    )
    return ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=text.projection_dim)


def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LAION's parameters under ClapModel's names, query, key and value apart."""
    converted: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.startswith(_UNUSED):
            continue
        for pattern, replacement in _AUDIO_NAMES:
            name = re.sub(pattern, replacement, name)
        if ".qkv." in name:
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                converted[name.replace("qkv", part)] = rows
        else:
            converted[name] = value
    return converted


def with_buffers_of(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state with the model's own index buffers, which depend on its sizes only and differ between releases."""
    buffers = {name: value for name, value in model.state_dict().items() if not value.is_floating_point()}
    kept = {name: value for name, value in state.items() if not name.endswith(INDEX_BUFFERS)}
    return {**kept, **{name: value for name, value in buffers.items() if name.endswith(INDEX_BUFFERS)}}


def _count(state: dict[str, torch.Tensor], pattern: str) -> int:
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)
