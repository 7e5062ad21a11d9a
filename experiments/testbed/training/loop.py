"""The training loop of every network of the testbed: seeded, resumable at any kill, recorded.

Step k draws its data from a generator seeded by (seed, k), the learning rate depends on k and the number of steps
alone, and no model here uses dropout: a run that was killed and restarted ends with the same weights, bit for bit, as
an undisturbed one.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import transformers
from torch import nn
from tqdm import tqdm

from experiments.system.seeds import numbered_generator
from experiments.testbed.training.processes import average_gradients, averaged, is_first, process_count
from experiments.testbed.training.train_state import (
    Ema,
    append_record,
    check_fingerprint,
    fingerprint_of,
    load_checkpoint,
    save_checkpoint,
)

logger = logging.getLogger(__name__)

LossFunction = Callable[[torch.Generator], dict[str, torch.Tensor]]
Module = TypeVar("Module", bound=nn.Module)
CHECKPOINT, RECORD = "checkpoint.pt", "record.jsonl"
# How long a training runs and how often it is noted: all else of a schedule makes other weights.
NOT_WORK = ("steps", "checkpoint_every", "record_every")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps. seed: of the data order.
        learning_rate: peak, after a linear warm-up (AdamW).
        decay: "cosine" to 1% of the peak; "linear" to zero over the last 30% of the steps.
        checkpoint_every, record_every: steps between checkpoints, and between records of the mean loss.
    """

    steps: int
    learning_rate: float
    seed: int = 0
    decay: Literal["cosine", "linear"] = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 0.01
    gradient_norm: float = 5.0
    checkpoint_every: int = 100
    record_every: int = 100

    def rate_at(self, step: int) -> float:
        """Learning rate of a 0-based step."""
        rising = (step + 1) / max(1, self.warmup_steps)
        if self.decay == "linear":
            return self.learning_rate * max(min(1.0, rising, (self.steps - step) / (0.3 * self.steps)), 0.0)
        decay = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))
        return self.learning_rate * min(1.0, rising) * decay

    def work(self) -> dict[str, Any]:
        """What of it the weights depend on."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_WORK}


@dataclass(frozen=True)
class TrainingSettings:
    """`run` is the folder of checkpoint, record and weights; `seed` decides the first weights and the order of data."""

    run: str = ""
    seed: int = 0
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    checkpoint_every: int = 100

    def schedule(self, **options: Any) -> Schedule:
        """How long and how fast; `options` of `Schedule`."""
        options = {"checkpoint_every": self.checkpoint_every, **options}
        return Schedule(self.steps, self.learning_rate, self.seed, **options)


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a module with seeded initial weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(
    model: nn.Module,
    losses: LossFunction,
    schedule: Schedule,
    folder: Path,
    settings: dict[str, Any],
    ema_decay: float | None = None,
) -> None:
    """Train `model` in place, resuming from `folder`/checkpoint.pt if there is one; more steps than it had go on.

    Args:
        model: left in evaluation mode, with the moving average of its weights where `ema_decay` is given.
        losses: called once per step with that step's generator; returns scalar losses, "total" is minimised.
        folder: receives checkpoint.pt and record.jsonl: a line for each start, and the mean losses on the way.
        settings: whatever else the result depends on (data, model); a checkpoint of other settings is refused.

    Raises:
        ValueError: the checkpoint belongs to other settings, or the loss is not finite.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, schedule.learning_rate, betas=(0.9, 0.99), weight_decay=schedule.weight_decay
    )
    ema = None if ema_decay is None else Ema([model], ema_decay)
    fingerprint = fingerprint_of({"schedule": schedule.work(), **settings})
    first = _resume(folder / CHECKPOINT, model, optimizer, ema, fingerprint)
    if is_first():
        append_record(folder / RECORD, _start(model, schedule, settings))
    model.train()
    interval: list[dict[str, float]] = []
    started = time.monotonic()
    bar = tqdm(
        range(first, schedule.steps), desc=folder.name, initial=first, total=schedule.steps, mininterval=5
    )  # fmt: skip
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        interval.append(_optimise(model, optimizer, losses(numbered_generator(schedule.seed, step)), schedule, step))
        if ema is not None:
            ema.update(step)
        last = step + 1 == schedule.steps
        if is_first() and (last or (step + 1) % schedule.record_every == 0):
            means = {name: round(sum(row[name] for row in interval) / len(interval), 5) for name in interval[0]}
            means["loss"], seconds = means.pop("total"), (time.monotonic() - started) / len(interval)
            append_record(folder / RECORD, {"step": step + 1, **means, "step_s": round(seconds, 3)})
            bar.set_postfix(loss=f"{means['loss']:.4f}")
            interval, started = [], time.monotonic()
        if is_first() and (last or (step + 1) % schedule.checkpoint_every == 0):
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema and ema.state()}
            save_checkpoint(folder / CHECKPOINT, {**state, "step": step + 1, "fingerprint": fingerprint})
    if ema is not None:
        ema.copy_to_model()
    model.eval()


def check_resumable(folder: Path, schedule: Schedule, settings: dict[str, Any]) -> None:
    """What `train` raises for a checkpoint of other settings, before any data are made."""
    if (saved := load_checkpoint(folder / CHECKPOINT)) is not None:
        check_fingerprint(folder / CHECKPOINT, saved, fingerprint_of({"schedule": schedule.work(), **settings}))


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None, fingerprint: str) -> int:
    """Load the checkpoint where there is one; returns how many steps are done."""
    saved = load_checkpoint(path)
    if saved is None:
        return 0
    check_fingerprint(path, saved, fingerprint)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    if ema is not None:
        ema.load(saved["ema"])
    logger.info("resuming %s at step %d", path.parent.name, saved["step"])
    return int(saved["step"])


def _optimise(
    model: nn.Module, optimizer: torch.optim.Optimizer, terms: dict[str, torch.Tensor], schedule: Schedule, step: int
) -> dict[str, float]:
    total = terms["total"]
    if not torch.isfinite(total):
        raise ValueError(f"step {step}: the loss is {total.item()}; lower the learning rate or check the data")
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    average_gradients(model.parameters())
    nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_norm)
    optimizer.step()
    return dict(zip(terms, torch.stack(averaged(list(terms.values()))).tolist(), strict=True))


def _start(model: nn.Module, schedule: Schedule, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "schedule": asdict(schedule),
        "settings": settings,
        "processes": process_count(),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
        },
    }
