"""CLAP (Y. Wu et al., arXiv 2211.06687) through transformers' ClapModel: audio and captions in one space.

Clips are never cropped at random: a waveform longer than the model's window (10 s for LAION's) is refused, cut it
first. Shorter ones are repeated whole and then filled with zeros ("repeatpad"), as in LAION's code. Fusion models
draw their crops at random and are refused.

Shapes: B batch, S samples, T frames, M mel bands, L tokens, d embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from evaluation.audio.io import int16_round_trip
from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.protocol import Array, Features, Output
from evaluation.embedders.spectrogram import log_mel_db, slaney_filters
from evaluation.embedders.weights import WeightsError, WeightSource

MAX_TOKENS = 77
INDEX_BUFFERS = ("position_ids", "token_type_ids", "relative_position_index", "attn_mask", "num_batches_tracked")

HTSAT_UNFUSED = WeightSource(
    "weights.clap", "clap-htsat-unfused", "the Hugging Face hub, laion/clap-htsat-unfused", "Apache-2.0"
)


class ClapEmbedder(NetworkEmbedder):
    """Unit-length audio and text embeddings of a ClapModel folder.

    Args:
        weights: folder with the model, its feature extractor's settings and its tokenizer, as saved by transformers.
        int16: clip to [-1, 1] and round through 16-bit integers first, as LAION's API does with files.
        name: for tables and records.
        device, batch_size, half: see :class:`~evaluation.embedders.network.NetworkEmbedder`.

    Raises (on first use):
        WeightsError: the folder is missing or incomplete.
        ValueError: a fusion model.
    """

    outputs: tuple[Output, ...] = ("embedding",)

    def __init__(
        self,
        weights: WeightSource | str | Path = HTSAT_UNFUSED,
        *,
        int16: bool = False,
        name: str = "clap",
        device: str = "cpu",
        batch_size: int = 8,
        half: bool = False,
    ) -> None:
        super().__init__(weights, device=device, batch_size=batch_size, half=half)
        self.name = name
        self.int16 = int16

    @property
    def sample_rate(self) -> int:
        """As the feature extractor's settings say; 48000 for LAION's models."""
        return int(self.extractor.sampling_rate)

    @property
    def min_samples(self) -> int:
        """One sample: anything is repeated up to a window."""
        return 1

    @property
    def max_samples(self) -> int:
        """One window, 10 s for LAION's models."""
        return int(self.extractor.max_length_s * self.extractor.sampling_rate)

    @cached_property
    def extractor(self) -> Any:
        """transformers' ClapFeatureExtractor, read for its settings only."""
        from transformers import ClapFeatureExtractor

        return from_folder(ClapFeatureExtractor, self.path)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        from transformers import AutoTokenizer

        return tells_captions_apart(from_folder(AutoTokenizer, self.path), self.path)

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """See :meth:`evaluation.embedders.protocol.Embedder.embed`."""
        return super().embed([int16_round_trip(row) for row in waveforms] if self.int16 else waveforms)

    def embed_text(self, captions: Sequence[str]) -> Array:
        """(n, d) unit-length embeddings; captions are cut after 77 tokens, as LAION's are."""
        if not captions:
            raise ValueError("got no captions; give at least one")
        starts = range(0, len(captions), self.batch_size)
        rows = [
            self._embed_text_batch(list(captions[start : start + self.batch_size]))
            for start in tqdm(starts, desc=f"{self.name} captions", delay=2, leave=False)
        ]
        return torch.cat(rows).numpy()

    def _embed_text_batch(self, captions: list[str]) -> torch.Tensor:
        # Always 77 tokens: a caption's numbers must not depend on the longest one beside it.
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode(), self._precision():
            hidden = self._clap.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            return functional.normalize(self._clap.text_projection(hidden.pooler_output).float(), dim=-1).cpu()

    @property
    def _clap(self) -> Any:
        return self.network

    def _front_end(self) -> str:
        return f"clap torchlibrosa log-mel 1, repeatpad, {MAX_TOKENS} tokens, int16={self.int16}"

    def _load(self, path: Path) -> nn.Module:
        from transformers import ClapModel

        model = model_from_folder(ClapModel, path)
        refuse_fusion(bool(model.config.audio_config.enable_fusion), path)
        network: nn.Module = model
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        log_mel = self._log_mel(repeat_pad(waveforms, self.max_samples))
        hidden = self._clap.audio_model(input_features=log_mel.unsqueeze(1))
        return {"embedding": functional.normalize(self._clap.audio_projection(hidden.pooler_output).float(), dim=-1)}

    def _log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        settings = self.extractor
        filters = self._mel_filters().to(waveforms.device)
        return log_mel_db(waveforms, settings.fft_window_size, settings.hop_length, filters)

    def _mel_filters(self) -> torch.Tensor:
        settings = self.extractor
        return slaney_filters(
            int(settings.sampling_rate),
            int(settings.fft_window_size),
            int(settings.feature_size),
            float(settings.frequency_min),
            float(settings.frequency_max),
        )


def repeat_pad(waveforms: torch.Tensor, length: int) -> torch.Tensor:
    """(B, S) to (B, length): as many whole repeats as fit, then zeros. S must not exceed ``length``."""
    repeated = waveforms.repeat(1, length // waveforms.shape[1])
    return functional.pad(repeated, (0, length - repeated.shape[1]))


def knows_no_word(tokenizer: Any) -> bool:
    """Whether it gives two captions the same tokens, as one without a vocabulary does."""
    return bool(tokenizer("a dog barks")["input_ids"] == tokenizer("rain on a roof")["input_ids"])


def tells_captions_apart(tokenizer: Any, where: Path | str) -> Any:
    """The tokenizer, unless it gives two captions the same tokens: transformers 5 builds one without a vocabulary
    where the files are missing, and says nothing.

    Raises:
        WeightsError: it does.
    """
    if knows_no_word(tokenizer):
        raise WeightsError(f"the tokenizer of {where} has no vocabulary ({len(tokenizer)} tokens); put its files there")
    return tokenizer


def refuse_fusion(fusion: bool, path: Path) -> None:
    """Raise ValueError for a fusion model."""
    if fusion:
        raise ValueError(
            f"{path} is a fusion model, whose crops are drawn at random: use one without fusion, cut into windows"
        )


def model_from_folder(cls: Any, path: Path) -> Any:
    """A transformers model with every one of its tensors out of a folder; transformers draws absent ones at random.

    Raises:
        WeightsError: no such model, or a tensor is missing or of another shape; index buffers, which are no weights
            and follow from the sizes, may be missing, as older releases did not save them.
    """
    model, found = from_folder(cls, path, output_loading_info=True, ignore_mismatched_sizes=True)
    missing = [name for name in found["missing_keys"] if not name.endswith(INDEX_BUFFERS)]
    lacking = sorted({*missing, *(name for name, *_ in found["mismatched_keys"])})
    if lacking:
        raise WeightsError(
            f"{path} is no whole {cls.__name__}: {len(lacking)} tensors are missing or of another shape, first"
            f" {lacking[0]}; save the model there again"
        )
    return model


def from_folder(cls: Any, path: Path, **options: Any) -> Any:
    """``cls.from_pretrained`` from local files only, tensors from safetensors only, no code of the folder's."""
    try:
        return cls.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise WeightsError(
            f"{path} does not hold a {cls.__name__} ({text[:200]}): save model, feature extractor and tokenizer there"
        ) from error
