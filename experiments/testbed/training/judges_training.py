"""One training loop for the judges and the vocoder: seeded, resumable at any kill, recorded.

Step k draws its data from a generator seeded by (seed, k), the learning rate depends on k alone, and no model
here uses dropout: a run that was killed and restarted ends with the same weights, bit for bit, as an
undisturbed one.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from experiments.system.files import sha256_file, write_whole
from experiments.testbed.models.judges_data import (
    TRAIN_FIRST_SEED,
    ClipSet,
    corpus_version,
    render_clips,
    round_trip_settings,
    with_round_trips,
)
from experiments.testbed.training.train_state import (
    check_fingerprint,
    fingerprint_of,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
    step_generator,
)

logger = logging.getLogger(__name__)

LossFunction = Callable[[torch.Generator], dict[str, torch.Tensor]]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak of a linear warm-up and cosine decay to 1% of it (AdamW).
        seed: of the data order.
        checkpoint_every: steps between checkpoints; losses are recorded as means over the same interval.
    """

    steps: int
    learning_rate: float
    seed: int = 0
    warmup_steps: int = 100
    weight_decay: float = 0.01
    gradient_norm: float = 5.0
    checkpoint_every: int = 100

    def rate_at(self, step: int) -> float:
        """Learning rate of a 0-based step."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))
        return self.learning_rate * warmup * decay


@dataclass(frozen=True)
class JudgeSettings:
    """What the trainings of the judges share.

    Attributes:
        run: receives checkpoint, record and weights. cache: rendered clips.
        vocoder, vae: folders, or empty; with them `round_trips` clips are added as they come back from the two.
        start: weights to start from, empty for random ones.
    """

    run: str = ""
    cache: str = "runs/testbed/clips"
    vocoder: str = ""
    vae: str = ""
    clips: int = 12288
    round_trips: int = 2048
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 1e-3
    start: str = ""
    seed: int = 0
    checkpoint_every: int = 100

    def schedule(self) -> Schedule:
        """How long and how fast."""
        return Schedule(self.steps, self.learning_rate, self.seed, checkpoint_every=self.checkpoint_every)

    def sources(self) -> Sequence[ClipSet]:
        """The training clips, then, where there are any, those that come back from VAE and vocoder."""
        root = Path(self.cache)
        clips = render_clips(root, "train", self.clips, TRAIN_FIRST_SEED)
        return with_round_trips(root, clips, self.vocoder, self.vae, self.round_trips)

    def data(self, start: Path | None) -> dict[str, int | str]:
        """What the training depends on besides its schedule; `start` is the file of weights that it starts from."""
        data: dict[str, int | str] = {"corpus": corpus_version(), "clips": self.clips, "batch_size": self.batch_size}
        data |= round_trip_settings(self.vocoder, self.vae, self.round_trips)
        return data | ({"start": sha256_file(start)[:12]} if start else {})


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a module with seeded initial weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(
    model: nn.Module, losses: LossFunction, schedule: Schedule, folder: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """Train `model` in place, resuming from `folder`/checkpoint.pt if there is one.

    Args:
        model: trained in place, left in evaluation mode.
        losses: called once per step with that step's generator; returns scalar losses, "total" is minimised.
        folder: receives checkpoint.pt and training_record.json.
        settings: whatever else the result depends on (data, model); a checkpoint of other settings is refused.
    Returns:
        The training record, as written.
    Raises:
        ValueError: the checkpoint belongs to other settings, or the loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), schedule.learning_rate, betas=(0.9, 0.99), weight_decay=schedule.weight_decay
    )
    fingerprint = fingerprint_of({"schedule": asdict(schedule), **settings})
    state = _resume(folder / "checkpoint.pt", model, optimizer, fingerprint)
    model.train()
    interval: list[dict[str, float]] = []
    progress = tqdm(
        range(state["step"], schedule.steps),
        desc=folder.name, initial=state["step"], total=schedule.steps, mininterval=5,
    )  # fmt: skip
    started = time.monotonic()
    for step in progress:
        set_learning_rate(optimizer, schedule.rate_at(step))
        terms = losses(step_generator(schedule.seed, step))
        interval.append(_optimise(model, optimizer, terms, schedule.gradient_norm, step))
        progress.set_postfix(loss=f"{interval[-1]['total']:.4f}", refresh=False)
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            state["history"].append({"step": step + 1, **_means(interval)})
            state["step"], state["seconds"] = step + 1, state["seconds"] + time.monotonic() - started
            interval, started = [], time.monotonic()
            content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(folder / "checkpoint.pt", {**content, "fingerprint": fingerprint, "state": state})
    model.eval()
    record = _record(model, schedule, settings, state)
    write_whole(folder / "training_record.json", json.dumps(record, indent=1).encode() + b"\n")
    return record


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str) -> dict[str, Any]:
    saved = load_checkpoint(path)
    if saved is None:
        return {"step": 0, "seconds": 0.0, "history": []}
    check_fingerprint(path, saved, fingerprint)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    state: dict[str, Any] = saved["state"]
    logger.info("resuming %s at step %d", path.parent.name, state["step"])
    return state


def _optimise(
    model: nn.Module, optimizer: torch.optim.Optimizer, terms: dict[str, torch.Tensor], gradient_norm: float, step: int
) -> dict[str, float]:
    total = terms["total"]
    if not torch.isfinite(total):
        raise ValueError(f"step {step}: the loss is {total.item()}; lower the learning rate or check the data")
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), gradient_norm)
    optimizer.step()
    return {name: value.item() for name, value in terms.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(sum(row[name] for row in rows) / len(rows), 5) for name in rows[0]}


def _record(model: nn.Module, schedule: Schedule, settings: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "schedule": asdict(schedule),
        "settings": settings,
        "seconds": round(state["seconds"], 1),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
        },
        "losses": state["history"],
    }


def save_half(model: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors, floating tensors in half precision (the shipped form)."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    write_whole(path, save(state, metadata={"format": "pt"}))
