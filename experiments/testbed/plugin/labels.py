"""Which of the classifier's events a testbed clip should hold, by its id: what the hit rate is measured against."""

import re

from evaluation.metrics.hit_rate import ClipLabels
from experiments.testbed.corpus.scenes import EVENT_NAMES, sample_scene
from experiments.testbed.plugin.load_prompts import PREFIX

# Prompts of load_prompts are held-out scenes; write_corpus names its files after their split.
_SPLITS = {PREFIX: "heldout", "heldout": "heldout", "train": "train"}
_ID = re.compile(rf"({'|'.join(_SPLITS)})(\d{{7,}})")


def event_labels(prompt_id: str) -> ClipLabels | None:
    """The events of a scene, in every window unless one follows the other; None for an id of another data set."""
    match = _ID.fullmatch(prompt_id)
    if match is None:
        return None
    scene = sample_scene(int(match[2]), split=_SPLITS[match[1]])
    return ClipLabels(tuple(EVENT_NAMES.index(event.name) for event in scene.events), scene.relation != "then")
