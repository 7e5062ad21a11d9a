"""Audio Spectrogram Transformer (Y. Gong et al., arXiv 2104.01778) through transformers: AudioSet posteriors.

An alternative classifier for KL and KAD. Its numbers do not compare with those of PANNs or PaSST.
Shapes: B batch, S samples, d = 768, C = 527 classes.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.networks.clap import from_folder, model_from_folder
from evaluation.embedders.protocol import Output
from evaluation.embedders.weights import WeightSource

AST_AUDIOSET = WeightSource(
    "weights.ast",
    "ast-finetuned-audioset-10-10-0.4593",
    "the Hugging Face hub, MIT/ast-finetuned-audioset-10-10-0.4593",
    "BSD-3-Clause",
)
_FRAME, _HOP = 400, 160


class AstEmbedder(NetworkEmbedder):
    """AST's pooled embedding and 527 logits.

    Args:
        weights: folder with an ASTForAudioClassification and its feature extractor's settings.
        device, batch_size, half: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    name = "ast"
    outputs: tuple[Output, ...] = ("embedding", "logits")

    def __init__(
        self,
        weights: WeightSource | str | Path = AST_AUDIOSET,
        *,
        device: str = "cpu",
        batch_size: int = 8,
        half: bool = False,
    ) -> None:
        super().__init__(weights, device=device, batch_size=batch_size, half=half)

    @property
    def sample_rate(self) -> int:
        """As the feature extractor's settings say, 16000."""
        return int(self.extractor.sampling_rate)

    @property
    def min_samples(self) -> int:
        """One frame of 25 ms."""
        return _FRAME

    @property
    def max_samples(self) -> int:
        """What fills the model's frames (1024, 10.24 s); the extractor would drop the rest without a word."""
        return _FRAME + (int(self.extractor.max_length) - 1) * _HOP + _HOP - 1

    @cached_property
    def extractor(self) -> Any:
        """transformers' ASTFeatureExtractor."""
        from transformers import ASTFeatureExtractor

        return from_folder(ASTFeatureExtractor, self.path)

    def _front_end(self) -> str:
        # The extractor takes torchaudio's filter bank where that is installed, and its own otherwise.
        return f"ast fbank 1, {'own' if hasattr(self.extractor, 'mel_filters') else 'torchaudio'}"

    def _load(self, path: Path) -> nn.Module:
        from transformers import ASTForAudioClassification

        model: nn.Module = model_from_folder(ASTForAudioClassification, path)
        return model

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        rows = [row.cpu().numpy() for row in waveforms]
        inputs = self.extractor(rows, sampling_rate=self.sample_rate, return_tensors="pt")
        model: Any = self.network
        pooled = model.audio_spectrogram_transformer(inputs["input_values"].to(self.device)).pooler_output
        return {"embedding": pooled, "logits": model.classifier(pooled)}
