"""Trains the CLAP judge: `python -m experiments.testbed.training.train_clap steps=600`. Resumes where it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import ClapModel, RobertaTokenizer

from experiments.system.settings import program
from experiments.testbed.corpus.captions import event_caption, scene_caption
from experiments.testbed.corpus.scenes import Scene, sample_scene
from experiments.testbed.models.clap import (
    EventHead,
    clap_config,
    clap_losses,
    embed_audio,
    embed_text,
    feature_extractor,
)
from experiments.testbed.models.judges_data import TRAIN_FIRST_SEED, ClipSet
from experiments.testbed.models.text import make_roberta_tokenizer
from experiments.testbed.plugin.load import load_clap
from experiments.testbed.training.judge_settings import JudgeSettings
from experiments.testbed.training.loop import seeded, train
from experiments.testbed.training.train_state import save_half

VOCABULARY_CAPTIONS = 10_000


@dataclass(frozen=True)
class ClapSettings(JudgeSettings):
    """`start` is a folder with a CLAP of this form; its read-out starts anew.

    `then_share` of a batch are "then" scenes, each beside a caption with its two events in the wrong order; 0 leaves
    the scenes as they come, without such captions.
    """

    run: str = "runs/testbed/clap"
    steps: int = 600
    learning_rate: float = 1.5e-3
    checkpoint_every: int = 50
    then_share: float = 0.0


class TrainedClap(nn.Module):
    """The model and its read-out, as one module for the optimizer."""

    def __init__(self, tokenizer: RobertaTokenizer) -> None:
        super().__init__()
        self.clap = ClapModel(clap_config(tokenizer))
        self.head = EventHead()


def new_caption(scene: Scene, generator: torch.Generator) -> str:
    """Another training caption of the same scene: other phrasing and joining words, the same attributes."""
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    parts = [event_caption(event.name, dict(event.attributes), "train", rng) for event in scene.events]
    return scene_caption(parts, scene.relation, rng)


def train_clap(settings: ClapSettings) -> ClapModel:
    """Train (or resume) the CLAP judge; writes `clap/` (transformers layout, half precision) into the run folder."""
    sources = settings.sources()
    tokenizer = clap_tokenizer()
    model = seeded(lambda: TrainedClap(tokenizer), settings.seed)
    if settings.start:
        trained, trained_tokenizer = load_clap(settings.start)
        if trained_tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"{settings.start} has the tokenizer of another corpus; train without start=")
        model.clap.load_state_dict(trained.state_dict())

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        audio, scenes = draw_scenes(sources, settings.batch_size, generator, settings.then_share)
        swapped = swapped_scenes(scenes) if settings.then_share else []
        captions = [new_caption(scene, generator) for scene in (*scenes, *swapped)]
        scale = model.clap.logit_scale_a.exp().clamp(max=100.0)
        text = embed_text(model.clap, tokenizer, captions)
        wrong = text[len(scenes) :] if swapped else None
        return clap_losses(embed_audio(model.clap, audio), text[: len(scenes)], scale, scenes, model.head, wrong)

    data = settings.data(Path(settings.start) / "model.safetensors" if settings.start else None)
    order = {"then_share": settings.then_share} if settings.then_share else {}
    schedule = settings.schedule(record_every=settings.checkpoint_every)
    train(model, losses, schedule, Path(settings.run), {**data, **order})
    save_clap(model.clap, tokenizer, Path(settings.run) / "clap")
    return model.clap


def clap_tokenizer() -> RobertaTokenizer:
    """Byte-level BPE over training captions; the held-out phrasings use no other words."""
    return make_roberta_tokenizer(
        [sample_scene(TRAIN_FIRST_SEED + i, split="train").caption for i in range(VOCABULARY_CAPTIONS)]
    )


def draw_scenes(
    sources: Sequence[ClipSet], batch_size: int, generator: torch.Generator, then_share: float = 0.0
) -> tuple[torch.Tensor, list[Scene]]:
    """Waveforms (B, S) and scenes of random clips; with round trips, one batch in four is drawn from those.

    The first `then_share` of a batch are "then" scenes for certain.
    """
    clips = sources[-1] if torch.rand((), generator=generator) < 0.25 else sources[0]
    ordered = [i for i, scene in enumerate(clips.scenes) if scene.relation == "then"] if then_share else []
    count = round(then_share * batch_size) if ordered else 0
    indices = [ordered[i] for i in torch.randint(len(ordered), (count,), generator=generator).tolist()] if count else []
    indices += torch.randint(len(clips), (batch_size - count,), generator=generator).tolist()
    return clips.audio(indices), [clips.scenes[i] for i in indices]


def swapped_scenes(scenes: Sequence[Scene]) -> list[Scene]:
    """The "then" scenes with their events in the wrong order."""
    return [replace(scene, events=scene.events[::-1]) for scene in scenes if scene.relation == "then"]


def save_clap(model: ClapModel, tokenizer: RobertaTokenizer, folder: Path) -> None:
    """Write model, tokenizer and feature extractor in transformers' layout, weights in half precision."""
    save_half(model, folder / "model.safetensors")
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    feature_extractor().save_pretrained(folder)


if __name__ == "__main__":
    program(ClapSettings, train_clap, __doc__)
