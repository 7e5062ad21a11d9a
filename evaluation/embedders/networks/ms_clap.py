"""Microsoft's CLAP of 2023 (B. Elizalde et al., arXiv 2309.05767) with the networks of the package ``msclap``.

Its wrapper is not used: it needs transformers 4, fetches GPT-2 only to overwrite it, and draws 7 s at random out of
longer audio, so that a clip scores differently each time. Here a window of up to 10 s counts with its first 7 s.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluation.embedders.network import TextNetworkEmbedder
from evaluation.embedders.networks.clap import from_folder, tells_captions_apart
from evaluation.embedders.networks.packages import load_package
from evaluation.embedders.protocol import Array, Output, same_length_batches
from evaluation.embedders.weights import WeightSource, find_weights, load_exactly, read_state_dict

TOKENIZER = WeightSource("weights.gpt2", "gpt2", "the Hugging Face hub, gpt2", "MIT")
_RATE, _SAMPLES, _LONGEST_S = 44_100, 7 * 44_100, 10
_TOKENS = 77
_END = " <|endoftext|>"
# GPT-2's causal masks, which transformers saved with the weights until 2023.
_MASKS = re.compile(r"\.attn\.(masked_)?bias$")


class MsClapEmbedder(TextNetworkEmbedder):
    """Audio and text embeddings (1024-d, not of unit length, as the package gives them).

    Args:
        weights: "CLAP_weights_2023.pth".
        tokenizer: folder with the tokenizer of "gpt2".
        device, batch_size, half: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    name = "ms-clap"
    distributions = ("msclap",)
    outputs: tuple[Output, ...] = ("embedding",)
    sample_rate = _RATE
    min_samples = 1

    def __init__(
        self, weights: WeightSource | str | Path, tokenizer: WeightSource | str | Path = TOKENIZER, **options: Any
    ) -> None:
        super().__init__(weights, **options)
        self._tokenizer = tokenizer

    @property
    def max_samples(self) -> int:
        """10 s, of which the first 7 s count."""
        return _LONGEST_S * _RATE

    @cached_property
    def tokenizer(self) -> Any:
        """GPT-2's, filled up with its token 0, as the package does."""
        from transformers import AutoTokenizer

        folder = find_weights(self._tokenizer)
        tokenizer = tells_captions_apart(from_folder(AutoTokenizer, folder), folder)
        tokenizer.add_special_tokens({"pad_token": "!"})
        return tokenizer

    def embed_text(self, captions: Sequence[str]) -> Array:
        """(n, 1024) embeddings; a caption of more than 77 tokens is taken whole."""
        tokens = [
            self.tokenizer(text + _END, padding="max_length", max_length=_TOKENS, return_tensors="pt")
            for text in captions
        ]
        rows = torch.empty(0)
        network: Any = self.network
        for index in same_length_batches([row["input_ids"][0].numpy() for row in tokens], self.batch_size):
            batch = {
                name: torch.cat([tokens[i][name] for i in index]).to(self.device)
                for name in ("input_ids", "attention_mask")
            }
            with torch.inference_mode(), self._precision():
                found = network.caption_encoder(batch).float().cpu()
            rows = rows if len(rows) else torch.empty(len(tokens), found.shape[1])
            rows[list(index)] = found
        return rows.numpy()

    def _front_end(self) -> str:
        return f"msclap {importlib.metadata.version('msclap')}, first 7 s, repeated"

    def _load(self, path: Path) -> nn.Module:
        from omegaconf import OmegaConf
        from transformers import GPT2Config, GPT2Model

        class Blank:
            """In place of GPT-2's weights, which the checkpoint holds."""

            @staticmethod
            def from_pretrained(name: str) -> nn.Module:
                blank: nn.Module = GPT2Model(GPT2Config())
                return blank

        module = load_package("msclap.models.clap", "msclap")
        module.AutoModel = Blank
        text = (resources.files("msclap") / "configs" / "config_2023.yml").read_text(encoding="utf-8")
        settings: Any = OmegaConf.create(text)
        network: nn.Module = module.CLAP(
            **{name: settings[name] for name in ("audioenc_name", "window_size", "hop_size", "mel_bins", "fmin")},
            **{name: settings[name] for name in ("fmax", "out_emb", "text_model", "transformer_embed_dim", "d_proj")},
            sample_rate=settings["sampling_rate"],
            classes_num=settings["num_classes"],
        )
        state = {name: v for name, v in read_state_dict(path, entry="model").items() if not _MASKS.search(name)}
        load_exactly(network, state, path)
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        repeats = -(-_SAMPLES // waveforms.shape[1])
        network: Any = self.network
        return {"embedding": network.audio_encoder(waveforms.repeat(1, repeats)[:, :_SAMPLES])[0]}
