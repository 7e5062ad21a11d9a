"""Trains the text side to parse captions: `python -m experiments.testbed.training.train_text run=DIR steps=1500`.

The eight GPT-2 tokens learn to spell a scene (first event, second event, relation, attributes), the T5 and CLAP
outputs to tell which events and attributes occur. The UNet then trains on frozen embeddings (as AudioLDM2 does
with its CLAP and T5), which costs it nothing per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AudioLDM2ProjectionModel
from torch import Tensor, nn
from transformers import ClapModel, GPT2LMHeadModel, RobertaTokenizer, T5EncoderModel, T5Tokenizer

from experiments.system.settings import program
from experiments.testbed.corpus.scenes import ATTRIBUTE_WORDS, EVENT_NAMES, RELATION_SHARES, Scene, sample_scene
from experiments.testbed.models.text import TextParts, corpus_captions, encode_captions, make_text_parts
from experiments.testbed.models.unet import TEXT_DIM
from experiments.testbed.training.loop import RECORD, TrainingSettings, seeded, train
from experiments.testbed.training.train_state import append_record

NONE = len(EVENT_NAMES)
RELATIONS = tuple(RELATION_SHARES)
LABELS = NONE + sum(len(words) for words in ATTRIBUTE_WORDS.values())
HELDOUT_SCENES = 500
NULL_SCENE = Scene(0, (), "single", "")


@dataclass(frozen=True)
class TextSettings(TrainingSettings):
    """The tokenizers are made from the first `vocabulary_captions` of the corpus."""

    run: str = "runs/testbed/text"
    steps: int = 1500
    batch_size: int = 48
    learning_rate: float = 2e-3
    vocabulary_captions: int = 20_000


class ParseHeads(nn.Module):
    """Linear read-outs used in training only: slots from GPT-2 tokens, label sets from T5 and CLAP."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [NONE + 1, NONE + 1, len(RELATIONS)] + [3] * 6
        self.slots = nn.ModuleList(nn.Linear(TEXT_DIM, size) for size in sizes)
        self.t5 = nn.Linear(TEXT_DIM, LABELS)
        self.clap = nn.Linear(TEXT_DIM, LABELS)


def slot_targets(scene: Scene) -> list[int]:
    """[first event, second event, relation, then level, rate, pitch of each (0 = not named, 1, 2)]."""
    names = [EVENT_NAMES.index(event.name) for event in scene.events] + [NONE, NONE]
    targets = [names[0], names[1], RELATIONS.index(scene.relation)]
    for position in range(2):
        attributes = dict(scene.events[position].attributes) if position < len(scene.events) else {}
        for dimension, words in ATTRIBUTE_WORDS.items():
            targets.append(words.index(attributes[dimension]) + 1 if dimension in attributes else 0)
    return targets


def label_targets(scene: Scene) -> Tensor:
    """Multi-hot (LABELS,): events, then attribute words named anywhere."""
    words = [word for options in ATTRIBUTE_WORDS.values() for word in options]
    target = torch.zeros(LABELS)
    for event in scene.events:
        target[EVENT_NAMES.index(event.name)] = 1.0
        for _, word in event.attributes:
            target[NONE + words.index(word)] = 1.0
    return target


def parse_loss(parts: TextParts, heads: ParseHeads, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """(loss, share of slots read correctly) of the captions of `scenes`.

    Slots 0..2 are read from GPT-2 tokens 0..2; the attributes of the first and second event from tokens 3-5.
    """
    generated, t5, mask, clap = encode_captions(parts, [scene.caption for scene in scenes])
    slots = torch.tensor([slot_targets(scene) for scene in scenes])
    labels = torch.stack([label_targets(scene) for scene in scenes])
    tokens = (0, 1, 2, 3, 4, 5, 3, 4, 5)
    loss, right = torch.zeros(()), []
    for position, (token, head) in enumerate(zip(tokens, heads.slots, strict=True)):
        logits = head(generated[:, token])
        loss = loss + nn.functional.cross_entropy(logits, slots[:, position])
        right.append((logits.argmax(1) == slots[:, position]).float())
    pooled = (t5 * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    for logits in (heads.t5(pooled), heads.clap(clap * TEXT_DIM**0.5)):
        loss = loss + 4.0 * nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return loss, torch.stack(right).mean()


def batch_scenes(batch: int, generator: torch.Generator) -> list[Scene]:
    """Scenes of one step, the empty caption (guidance's unconditional branch) among them."""
    seeds = torch.randint(2**30, (batch - 2,), generator=generator)
    return [sample_scene(int(seed), split="train") for seed in seeds] + [NULL_SCENE] * 2


def train_text(settings: TextSettings) -> TextParts:
    """Trains (or resumes) the text side and saves its six components. Raises as `loop.train`."""
    run = Path(settings.run)
    parts = make_text_parts(corpus_captions(settings.vocabulary_captions), settings.seed)
    heads = seeded(ParseHeads, settings.seed)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        loss, accuracy = parse_loss(parts, heads, batch_scenes(settings.batch_size, generator))
        return {"total": loss, "slots": accuracy}

    schedule = settings.schedule(decay="linear", gradient_norm=1.0, record_every=50)
    data = {"batch_size": settings.batch_size, "vocabulary_captions": settings.vocabulary_captions}
    train(nn.ModuleDict({**parts.modules(), "heads": heads}), losses, schedule, run, data)
    with torch.no_grad():
        held = [sample_scene(seed, split="heldout") for seed in range(HELDOUT_SCENES)]
        _, accuracy = parse_loss(parts, heads, held)
    append_record(run / RECORD, {"step": settings.steps, "heldout_slots": accuracy.item()})
    save_text_parts(parts, run)
    return parts


def save_text_parts(parts: TextParts, folder: Path) -> None:
    """Saves the six components in diffusers layout."""
    for name, module in parts.modules().items():
        module.save_pretrained(folder / name)
    parts.tokenizer.save_pretrained(folder / "tokenizer")
    parts.tokenizer_2.save_pretrained(folder / "tokenizer_2")


def load_text_parts(folder: Path) -> TextParts:
    """Loads what save_text_parts saved, or the shipped halves of it: single precision, evaluation mode."""

    def load(cls: Any, name: str) -> Any:
        return cls.from_pretrained(folder / name, dtype=torch.float32, local_files_only=True).eval()

    return TextParts(
        RobertaTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        T5Tokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        load(ClapModel, "text_encoder"),
        load(T5EncoderModel, "text_encoder_2"),
        load(AudioLDM2ProjectionModel, "projection_model"),
        load(GPT2LMHeadModel, "language_model"),
    )


if __name__ == "__main__":
    program(TextSettings, train_text, __doc__)
