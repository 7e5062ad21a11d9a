"""VGGish, the embedding behind "FAD" (S. Hershey et al., arXiv 1609.09430), with torchvggish's weights.

As every torch tool that reports FAD: no ReLU after the last layer (the original has none), no PCA, no 8-bit
quantisation. Shapes: B batch, S samples, E examples (the frames of FAD) of 96 x 64, d = 128.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.protocol import Output
from evaluation.embedders.spectrogram import VGGISH_EXAMPLE_FRAMES, VGGISH_RATE, vggish_examples
from evaluation.embedders.weights import VGGISH, WeightSource, load_exactly, read_state_dict

Variant = Literal["torch", "google"]
MIN_SAMPLES = 15_600
_GOOGLE_HOP_FRAMES = 50
_GOOGLE_LOUDEST_GAIN = 10.0


class VGGish(nn.Module):
    """The network, with the parameter names of torchvggish: (B, 1, 96, 64) to (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width, convolutions in ((64, 1), (128, 1), (256, 2), (512, 2)):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 128),
        )

    def forward(self, examples: torch.Tensor) -> torch.Tensor:
        """Embeddings of log-mel examples."""
        maps = self.features(examples)
        # The weights come from TensorFlow, which flattens with channels last.
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


class VGGishEmbedder(NetworkEmbedder):
    """VGGish frames, 0.96 s each: 10 in 10 s, 20 in 20 s, 41 in 40 s; the remainder is dropped.

    Args:
        weights: torchvggish's state dict ("vggish-10086976.pth"), or a path to it.
        variant: "torch" as in audioldm_eval, frechet-audio-distance and fadtk; "google" as in the original
            evaluation, with examples every 0.5 s and the level divided by max(0.1, max(x)).
        device, batch_size, half: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    sample_rate = VGGISH_RATE
    outputs: tuple[Output, ...] = ("frames",)
    min_samples = MIN_SAMPLES

    def __init__(
        self,
        weights: WeightSource | str | Path = VGGISH,
        *,
        variant: Variant = "torch",
        device: str = "cpu",
        batch_size: int = 8,
        half: bool = False,
    ) -> None:
        if variant not in ("torch", "google"):
            raise ValueError(f"variant={variant!r}; give 'torch' or 'google'")
        super().__init__(weights, device=device, batch_size=batch_size, half=half)
        self.variant = variant
        self.name = "vggish" if variant == "torch" else "vggish-google"

    def _front_end(self) -> str:
        return f"vggish log-mel 1, {self.variant}"

    def _load(self, path: Path) -> nn.Module:
        network = VGGish()
        load_exactly(network, read_state_dict(path), path)
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        if self.variant == "google":
            # The maximum and not the maximum of the magnitudes, as google-research has it.
            waveforms = waveforms / waveforms.amax(dim=1, keepdim=True).clamp(min=1 / _GOOGLE_LOUDEST_GAIN)
        hop = VGGISH_EXAMPLE_FRAMES if self.variant == "torch" else _GOOGLE_HOP_FRAMES
        examples = vggish_examples(waveforms, hop).float()
        frames = self.network(examples.flatten(0, 1).unsqueeze(1))
        return {"frames": frames.unflatten(0, examples.shape[:2])}
