"""What makes a training resumable at any kill with the same result: stateless batches and atomic checkpoints.

Batch k is drawn from a generator seeded by (seed, k), so a checkpoint holds no random state: model, EMA,
optimiser and step are all there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from experiments.system.files import sha256_file, whole_file, write_whole


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a kill leaves either the old or the new one."""
    with whole_file(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None where there is none yet."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def half_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A state in half precision as the content of its shipped safetensors file; its sha256 is the manifest's."""
    halves = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    return save({name: x.contiguous() for name, x in halves.items()}, metadata={"format": "pt"})


def save_half(model: nn.Module, path: Path) -> None:
    """Write a module's weights in the form in which they ship."""
    write_whole(path, half_bytes(model.state_dict()))


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Appends one JSON line; the beginning of a line that a kill cut off is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        handle.seek(0)
        handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write(json.dumps(record).encode() + b"\n")


def content_digest(*parts: str | float | Path) -> str:
    """Twelve hex digits that change with any of the parts, which name a cache: a folder counts with its weights,
    configurations and vocabularies.

    Raises:
        FileNotFoundError: a folder without any of these.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(p for p in part.glob("*") if p.suffix in (".json", ".txt", ".safetensors"))
            if not files:
                raise FileNotFoundError(
                    f"{part} holds no weights or vocabulary: train that part first, or correct its path"
                )
            part = " ".join(f"{file.name}:{sha256_file(file)}" for file in files)
        digest.update(f"{part}\n".encode())
    return digest.hexdigest()[:12]


def fingerprint_of(settings: dict[str, Any]) -> str:
    """Settings as text, for a checkpoint to hold and `check_fingerprint` to compare."""
    return json.dumps(settings, sort_keys=True)


def check_fingerprint(path: Path, checkpoint: dict[str, Any], fingerprint: str) -> None:
    """Raises ValueError where the checkpoint at `path` belongs to other settings, or does not say to which."""
    if checkpoint.get("fingerprint") != fingerprint:
        raise ValueError(f"{path} was trained with other settings; delete it, or choose another run folder")


class Ema:
    """Exponential moving average of parameters, with the usual warm-up min(decay, (1 + k) / (10 + k))."""

    def __init__(self, modules: Iterable[nn.Module], decay: float) -> None:
        self.decay = decay
        self.parameters = [p for module in modules for p in module.parameters()]
        self.shadow = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the current parameters after step `step` (0-based)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Overwrites the parameters with their averages."""
        for parameter, average in zip(self.parameters, self.shadow, strict=True):
            parameter.copy_(average)

    def state(self) -> list[Tensor]:
        """The averages, in the order of the parameters."""
        return self.shadow

    @torch.no_grad()
    def load(self, shadow: list[Tensor]) -> None:
        """Restores the averages."""
        for average, stored in zip(self.shadow, shadow, strict=True):
            average.copy_(stored)
