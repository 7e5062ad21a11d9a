"""What the torch embedders share: loading on first use, identity, batches, device, precision.

Shapes: B batch, S samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch

from evaluation.embedders.protocol import (
    Array,
    Features,
    Output,
    check_waveforms,
    identity_of,
    same_length_batches,
)
from evaluation.embedders.weights import WeightSource, find_weights
from evaluation.files.whole import sha256_file

_OTHER_WEIGHTS = (".bin", ".h5", ".msgpack", ".ot", ".onnx", ".pt", ".pth")


class NetworkEmbedder(ABC):
    """A torch network behind the :class:`~evaluation.embedders.protocol.Embedder` protocol.

    Args:
        weights: a local file or folder, or a published source.
        device: torch device.
        batch_size: waveforms of equal length that go through the network together.
        half: float16 autocast, on CUDA only; it changes the identity.

    Raises:
        ValueError: ``half`` without CUDA, or a batch size below 1.
    """

    name: str
    outputs: tuple[Output, ...]

    def __init__(
        self, weights: WeightSource | str | Path, *, device: str = "cpu", batch_size: int = 8, half: bool = False
    ) -> None:
        if half and not device.startswith("cuda"):
            raise ValueError(f"half=True on device {device!r}; float16 is for cuda, use half=False")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; give at least 1")
        self.source = weights
        self.device = device
        self.batch_size = batch_size
        self.half = half

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Rate in Hz of the waveforms."""

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """Shortest waveform that has a result."""

    @property
    def max_samples(self) -> int | None:
        """Longest waveform that is used whole; None for any."""
        return None

    @property
    def sources(self) -> tuple[WeightSource | str | Path, ...]:
        """All that :attr:`identity` and :attr:`network` read."""
        return (self.source,)

    @cached_property
    def path(self) -> Path:
        """The weight file or folder, found (or fetched and checked) on first use."""
        return find_weights(self.source)

    @cached_property
    def identity(self) -> str:
        """Hash of the weights' bytes, the front end's version and options, and the precision."""
        return identity_of(self.name, hash_weights(self.path), self._front_end(), "half" if self.half else "float32")

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network on its device, in eval mode."""
        return self._load(self.path).to(self.device).eval()

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """See :meth:`evaluation.embedders.protocol.Embedder.embed`."""
        rows = check_waveforms(waveforms, self)
        features: dict[int, Features] = {}
        for indices in same_length_batches(rows, self.batch_size):
            batch = torch.stack([torch.from_numpy(rows[index]) for index in indices]).to(self.device)
            with torch.inference_mode(), self._precision():
                outputs = {name: value.float().cpu().numpy() for name, value in self._forward(batch).items()}
            for position, index in enumerate(indices):
                features[index] = {name: value[position] for name, value in outputs.items()}
        return [features[index] for index in range(len(rows))]

    def _precision(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast("cuda", torch.float16) if self.half else nullcontext()

    @abstractmethod
    def _load(self, path: Path) -> torch.nn.Module:
        """Build the network and load the weights at ``path``."""

    @abstractmethod
    def _front_end(self) -> str:
        """Text that changes whenever the same weights would give other numbers."""

    @abstractmethod
    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        """(B, S) float32 to one tensor (B, ...) per output."""


class TextNetworkEmbedder(NetworkEmbedder):
    """A network whose tokenizer is published apart from its checkpoint; the identity covers both."""

    _tokenizer: WeightSource | str | Path

    @property
    def sources(self) -> tuple[WeightSource | str | Path, ...]:
        """The checkpoint and the tokenizer."""
        return self.source, self._tokenizer

    @cached_property
    def identity(self) -> str:
        """Hash of the checkpoint, the tokenizer, the front end and the precision."""
        return identity_of(super().identity, hash_weights(find_weights(self._tokenizer)))


def hash_weights(path: Path) -> str:
    """Hash of a file, or of the names and contents of the files in a model folder. WeightsError where neither is.

    In a folder only what decides a result counts: no hidden files (a hub's notes on its downloads), no texts about the
    model, and no second copy of the weights beside safetensors.
    """
    path = find_weights(path)
    if path.is_file():
        return sha256_file(path)
    files = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
    safe = any(file.suffix == ".safetensors" for file in files)
    kept = [file for file in files if not _is_beside_the_model(file, safe)]
    return identity_of(*(f"{file} {sha256_file(path / file)}" for file in kept))


def _is_beside_the_model(file: Path, safe: bool) -> bool:
    hidden = any(part.startswith(".") for part in file.parts)
    text = file.suffix.lower() == ".md" or file.stem.upper() in ("LICENSE", "LICENCE", "NOTICE")
    return hidden or text or (safe and file.suffix in _OTHER_WEIGHTS)
