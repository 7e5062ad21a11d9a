"""The judges as embedders for `evaluation`, to be named by a configuration's `_target_`.

Shapes: B batch, S samples, E events, D embedding.
"""

from __future__ import annotations

from pathlib import Path

import torch

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.networks.clap import ClapEmbedder
from evaluation.embedders.protocol import Output
from experiments.testbed.corpus.scenes import SAMPLE_RATE
from experiments.testbed.models.classifier import MINIMUM_FRAMES
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import HOP
from experiments.testbed.plugin.load import WEIGHTS, check_file, check_folder, load_classifier


class TestbedClassifierEmbedder(NetworkEmbedder):
    """The event classifier's 64-d embedding (for FAD) and its logits over EVENT_NAMES (for KL and hit rate).

    The events are independent of each other: a posterior is the sigmoid of its logit. Maxima over time grow with
    the duration: score windows of equal length.

    Args:
        weights: `classifier.safetensors`; None takes the shipped file, checked against its manifest.
        device, batch_size: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    __test__ = False  # The name would have pytest collect it.
    name = "testbed-classifier"
    outputs: tuple[Output, ...] = ("embedding", "logits")

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", batch_size: int = 8) -> None:
        path = check_file(WEIGHTS, "classifier.safetensors") if weights is None else Path(weights)
        super().__init__(path, device=device, batch_size=batch_size)

    @property
    def sample_rate(self) -> int:
        """16000."""
        return SAMPLE_RATE

    @property
    def min_samples(self) -> int:
        """62 mel frames: one second."""
        return MINIMUM_FRAMES * HOP

    def _load(self, path: Path) -> torch.nn.Module:
        return load_classifier(path)

    def _front_end(self) -> str:
        return "testbed log-mel 1"

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        logits, embedding = self.network(log_mel(waveforms))
        return {"embedding": embedding, "logits": logits}


class TestbedClapEmbedder(ClapEmbedder):
    """The CLAP judge: unit-length embeddings of up to 5.12 s of audio and of captions, in one space.

    Args:
        weights: a ClapModel folder; None takes the shipped one, checked against its manifest.
        device, batch_size: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    __test__ = False

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", batch_size: int = 8) -> None:
        path = check_folder(WEIGHTS, "clap") if weights is None else Path(weights)
        super().__init__(path, name="testbed-clap", device=device, batch_size=batch_size)

    def _load(self, path: Path) -> torch.nn.Module:
        # The shipped weights are half precision; they are computed with in single precision.
        return super()._load(path).float()
