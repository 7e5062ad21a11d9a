"""Captions of scenes: several phrasings per event, one (clause, template) in five held out per event."""

from __future__ import annotations

import numpy as np

from experiments.testbed.corpus.events import BY_NAME, EVENT_NAMES

TEMPLATES = (
    "{subject} {verb}{adverbs}",
    "{subject} is {gerund}{adverbs}",
    "{subject} {gerund}{adverbs}",
    "the sound of {subject} {gerund}{adverbs}",
    "{adverbs_first}{subject} {verb}",
)
ADVERB_TEMPLATES = (0, 4)  # these differ by the place of the adverbs only
RELATIONS = {"while": ("{a} while {b}", "{a} and {b}", "{a} as {b}"),
             "then": ("{a} followed by {b}", "{a} and then {b}", "{a} before {b}")}  # fmt: skip
ADVERBS = {
    ("level", "loud"): ("loudly", "at full volume"),
    ("level", "faint"): ("faintly", "in the distance"),
    ("rate", "fast"): ("rapidly", "quickly"),
    ("rate", "slow"): ("slowly", "at a slow pace"),
}
PITCH = {"high": "high pitched", "low": "low pitched"}


def held_out(name: str) -> tuple[int, int]:
    """The (clause, template) of an event that training captions never use; its words occur in others."""
    index = EVENT_NAMES.index(name)
    return index % 2, index % len(TEMPLATES)


def _with_adjective(subject: str, adjective: str | None) -> str:
    if adjective is None:
        return subject
    article, _, noun = subject.partition(" ")
    return f"a {adjective} {noun}" if article in ("a", "an") else f"{adjective} {subject}"


def event_caption(name: str, attributes: dict[str, str], split: str, rng: np.random.Generator) -> str:
    """One phrasing of an event with its attributes ("a low pitched dog barks loudly")."""
    choices = [(c, t) for c in range(len(BY_NAME[name].clauses)) for t in range(len(TEMPLATES))]
    choices.remove(held_out(name))
    clause, template = choices[rng.integers(len(choices))]
    if split == "heldout":
        clause, template = held_out(name)
    subject, verb, gerund = BY_NAME[name].clauses[clause]
    words = [
        options[rng.integers(len(options))] for key in attributes.items() if (options := ADVERBS.get(key)) is not None
    ]
    adverbs = " and ".join(words)
    return TEMPLATES[template].format(
        subject=_with_adjective(subject, PITCH.get(attributes.get("pitch", ""))),
        verb=verb,
        gerund=gerund,
        adverbs=f" {adverbs}" if adverbs else "",
        adverbs_first=f"{adverbs} " if adverbs else "",
    )


def scene_caption(parts: list[str], relation: str, rng: np.random.Generator) -> str:
    """Joins one or two event captions by a relation: "single", "while" or "then"."""
    if relation == "single":
        return parts[0]
    options = RELATIONS[relation]
    return options[rng.integers(len(options))].format(a=parts[0], b=parts[1])
