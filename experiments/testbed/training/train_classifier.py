"""Trains the event classifier: `python -m experiments.testbed.training.train_classifier steps=900`. Resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from experiments.system.settings import program
from experiments.testbed.corpus.events import BY_NAME
from experiments.testbed.corpus.scenes import EVENT_NAMES, PEAK, TRANSIENT_LIFT_DB, Scene
from experiments.testbed.models.classifier import EventClassifier, smear
from experiments.testbed.models.judges_data import ClipSet
from experiments.testbed.models.mel import log_mel
from experiments.testbed.plugin.load import load_classifier
from experiments.testbed.training.judge_settings import JudgeSettings
from experiments.testbed.training.loop import seeded, train
from experiments.testbed.training.train_state import save_half

SHORTEST_CROP_FRAMES = 240
LEVEL_NAT = 0.5
ROUND_TRIP_SHARE = 0.25


@dataclass(frozen=True)
class ClassifierSettings(JudgeSettings):
    """`start` is a classifier file, for a second run with a lower rate. A quarter of the batches are round trips, and
    `mix_share` of them new mixes of single scenes (`draw_mixes`).
    """

    run: str = "runs/testbed/classifier"
    steps: int = 900
    learning_rate: float = 3e-3
    mix_share: float = 0.0


def draw_crops(clips: ClipSet, batch_size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels (B, T, M) and labels (B, E) of random clips: whole ones, or on every second draw crops of at least
    3.8 s. A crop of a "then" scene would lose one of its events, so crops are taken from other scenes only.
    """
    whole = bool(torch.rand((), generator=generator) < 0.5)
    accepted = [i for i, scene in enumerate(clips.scenes) if whole or scene.relation != "then"]
    drawn = torch.randint(len(accepted), (batch_size,), generator=generator)
    indices = [accepted[i] for i in drawn.tolist()]
    mels = log_mel(clips.audio(indices))
    frames = mels.shape[1]
    if not whole and frames > SHORTEST_CROP_FRAMES:
        length = int(torch.randint(SHORTEST_CROP_FRAMES, frames, (), generator=generator))
        start = int(torch.randint(frames - length + 1, (), generator=generator))
        mels = mels[:, start : start + length]
    return mels, clips.labels(indices)


def draw_mixes(clips: ClipSet, batch_size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels (B, T, M) and labels (B, E) of new "while" scenes: sums of two single scenes of different events.

    `render_scene` would make the same sums, but for the level that the two share and the floor noise, of which there
    is twice as much here. Rendered pairs are few beside the pairs of events and attributes that there are.
    """
    singles = [i for i, scene in enumerate(clips.scenes) if scene.relation == "single"]
    first: list[int] = []
    second: list[int] = []
    while len(first) < batch_size:
        one, other = (singles[i] for i in torch.randint(len(singles), (2,), generator=generator).tolist())
        if clips.scenes[one].events[0].name != clips.scenes[other].events[0].name:
            first.append(one)
            second.append(other)
    lifts = torch.tensor([_lifts(clips.scenes[a], clips.scenes[b]) for a, b in zip(first, second, strict=True)])
    audio = lifts[:, :1] * clips.audio(first) + lifts[:, 1:] * clips.audio(second)
    audio = audio * (PEAK / audio.abs().amax(dim=1, keepdim=True)).clamp_max(1.0)
    return log_mel(audio), torch.maximum(clips.labels(first), clips.labels(second))


def _lifts(*scenes: Scene) -> list[float]:
    kinds = [BY_NAME[scene.events[0].name].kind for scene in scenes]
    lift = 10 ** (TRANSIENT_LIFT_DB / 20)
    return [lift if kind == "transient" and "texture" in kinds else 1.0 for kind in kinds]


def augment(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random level (+-0.5 nat, that is 4 dB) per clip, then `smear`."""
    level = LEVEL_NAT * (2.0 * torch.rand(len(mels), 1, 1, generator=generator) - 1.0)
    return smear(mels + level, generator)


def train_classifier(settings: ClassifierSettings) -> EventClassifier:
    """Train (or resume) the classifier; writes `classifier.safetensors` (half precision) into the run folder."""
    sources = settings.sources()
    model = load_classifier(settings.start) if settings.start else seeded(EventClassifier, settings.seed)

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        share = torch.rand((), generator=generator)
        if share < ROUND_TRIP_SHARE:
            mels, labels = draw_crops(sources[-1], settings.batch_size, generator)
        else:
            draw = draw_mixes if share < ROUND_TRIP_SHARE + settings.mix_share else draw_crops
            mels, labels = draw(sources[0], settings.batch_size, generator)
        logits = model(augment(mels, generator)).logits
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels) * len(EVENT_NAMES)
        return {"total": loss}

    data = settings.data(Path(settings.start) if settings.start else None)
    mixes = {"mix_share": settings.mix_share} if settings.mix_share else {}
    schedule = settings.schedule(record_every=settings.checkpoint_every)
    train(model, losses, schedule, Path(settings.run), {**data, **mixes})
    save_half(model, Path(settings.run) / "classifier.safetensors")
    return model


if __name__ == "__main__":
    program(ClassifierSettings, train_classifier, __doc__)
