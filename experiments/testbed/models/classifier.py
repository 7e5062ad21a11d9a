"""The event classifier: log-mels in, sigmoid posteriors over EVENT_NAMES and an embedding out.

Shapes: B clips, T mel frames, M mel bins, E events, D embedding. A convolutional network in the manner of
CNN6/CNN14 (Kong et al. 2020), pooled over time by mean and maximum: any length from about one second up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from experiments.testbed.corpus.scenes import EVENT_NAMES
from experiments.testbed.models.mel import MEL_BINS, MEL_MEAN, MEL_STD

MINIMUM_FRAMES = 62
# (channels, kernel, stride in time and frequency): strides rather than pooling, which would cost more than the rest.
LAYERS = ((16, 5, (2, 1)), (32, 3, (2, 2)), (64, 3, (1, 2)), (96, 3, (1, 2)))
DILATIONS = (1, 2, 4, 8)
EMBEDDING_SIZE = 64


class ClassifierOutput(NamedTuple):
    """Logits (B, E), one per event, independent of each other; embedding (B, D)."""

    logits: torch.Tensor
    embedding: torch.Tensor


class EventClassifier(nn.Module):
    """Which of the corpus' events a clip holds.

    Args:
        events: number of events.
        hidden: channels of the dilated convolutions over time.
    """

    def __init__(self, events: int = len(EVENT_NAMES), hidden: int = 160) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, bins = 1, MEL_BINS
        for width, kernel, stride in LAYERS:
            layers += [
                nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels, bins = width, bins // stride[1]
        self.spectral = nn.Sequential(*layers)
        self.reduce = nn.Sequential(
            nn.Conv1d(channels * bins, hidden, 1, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
        )
        self.temporal = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(hidden, hidden, 3, padding=d, dilation=d, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
            )
            for d in DILATIONS
        )
        self.embed = nn.Sequential(nn.Linear(2 * hidden, EMBEDDING_SIZE), nn.ReLU())
        self.head = nn.Linear(EMBEDDING_SIZE, events)

    def forward(self, mels: torch.Tensor) -> ClassifierOutput:
        """Classify raw log-mels (B, T, M).

        Raises:
            ValueError: another number of mel bins, or fewer than 62 frames (one second).
        """
        if mels.ndim != 3 or mels.shape[1] < MINIMUM_FRAMES or mels.shape[2] != MEL_BINS:
            expected = f"(batch, frames >= {MINIMUM_FRAMES}, {MEL_BINS})"
            raise ValueError(f"mels must be {expected}, got {tuple(mels.shape)}")
        hidden = self.spectral((mels[:, None] - MEL_MEAN) / MEL_STD)
        hidden = self.reduce(hidden.permute(0, 1, 3, 2).flatten(1, 2))
        for block in self.temporal:
            hidden = hidden + block(hidden)
        pooled = torch.cat([hidden.mean(dim=2), hidden.amax(dim=2)], dim=1)
        embedding = self.embed(pooled)
        return ClassifierOutput(self.head(embedding), embedding)


def smear(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What a VAE and a vocoder do to log-mels (B, T, M), roughly: blur or roughen some of the clips.

    Each clip is mixed, by a random share in [0, 1], with its 3 x 3 local mean, and gets Gaussian noise of a
    random deviation up to 0.3 nat.
    """
    blurred = nn.functional.avg_pool2d(
        nn.functional.pad(mels[:, None], (1, 1, 1, 1), mode="replicate"), kernel_size=3, stride=1
    )[:, 0]
    share, deviation = torch.rand(2, len(mels), 1, 1, generator=generator)
    noise = torch.randn(mels.shape, generator=generator)
    return mels.lerp(blurred, share) + 0.3 * deviation * noise


def exact_sets(labels: torch.Tensor, logits: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Per clip, whether exactly the labelled events have a posterior above the threshold: bool (B,)."""
    return ((logits.sigmoid() > threshold) == (labels > 0.5)).all(dim=1)
