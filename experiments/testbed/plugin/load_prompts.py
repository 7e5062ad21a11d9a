"""The testbed as data for the harness: held-out captions as prompts, and real audio of any length for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.datasets.prompts import Prompt, take
from experiments.testbed.corpus.scenes import RELATION_SHARES, Scene, render_scene, sample_scene

PROMPT_FIRST_SEED = 30_000_000
PREFIX = "testbed"


def load_prompts(
    count: int = 64, relations: Sequence[str] = ("single", "while"), first_seed: int = PROMPT_FIRST_SEED
) -> list[Prompt]:
    """Captions of held-out scenes, in the order of their seeds; no caption occurs twice.

    Args:
        count: how many.
        relations: which kinds of scene; "then" is left out by default, because half of its windows are
            legitimately without one of the two events.
        first_seed: scenes are drawn from here on.
    Raises:
        ValueError: count below 1, or no or unknown relations.
    """
    unknown = set(relations) - set(RELATION_SHARES)
    if not relations or unknown:
        raise ValueError(f"data.relations {list(relations)}: accepted are some of {', '.join(RELATION_SHARES)}")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"data.count {count!r}: accepted are whole numbers from 1")
    prompts: dict[str, Prompt] = {}
    seed = first_seed
    while len(prompts) < count:
        scene = sample_scene(seed, split="heldout")
        if scene.relation in relations:
            prompts.setdefault(scene.caption, Prompt(f"{PREFIX}{seed:08d}", scene.caption))
        seed += 1
    return take(list(prompts.values()), None, "testbed")


def prompt_scene(prompt_id: str) -> Scene:
    """The scene whose caption a prompt of `load_prompts` is.

    Raises:
        ValueError: an id of another data set.
    """
    digits = prompt_id.removeprefix(PREFIX)
    if not prompt_id.startswith(PREFIX) or not digits.isdecimal():
        raise ValueError(f"prompt id {prompt_id!r}: accepted are {PREFIX} and a seed, like {PREFIX}{PROMPT_FIRST_SEED}")
    return sample_scene(int(digits), split="heldout")


def reference_audio(prompt_id: str, duration_s: float) -> np.ndarray:
    """Real audio of a prompt: float32 (S,) at 16 kHz, a true scene of that length."""
    return render_scene(prompt_scene(prompt_id), duration_s)
