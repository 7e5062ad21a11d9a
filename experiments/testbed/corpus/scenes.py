"""A procedural captioned corpus: scenes of one or two sound events, rendered at any duration.

`sample_scene(seed, split=...)` draws what happens and its caption; `render_scene(scene, duration_s)` makes the
audio. Both depend on the seed alone: not on the process, the batch or the order. A 40 s render is one true
40 s scene whose clip constants (pitch, period, cadence, partials) are those of the 5 s render.

    python -m experiments.testbed.corpus.scenes out=DIR count=64 duration_s=5.12 split=heldout

The folder is prompts with references for the harness: files are named by `youtube_id`, so take that for the ids,
`data=captions data.file=DIR/captions.csv data.id_column=youtube_id data.references=DIR`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from experiments.system.settings import program
from experiments.testbed.corpus.captions import ADVERB_TEMPLATES, event_caption, held_out, scene_caption
from experiments.testbed.corpus.events import BY_NAME, EVENT_NAMES
from experiments.testbed.corpus.events_dsp import SAMPLE_RATE, Draw

__all__ = ["EVENT_NAMES", "SAMPLE_RATE", "TRAIN_DURATION_S", "EventSpec", "Scene", "render_scene", "sample_scene"]

TRAIN_DURATION_S = 5.12
SPLITS = ("train", "heldout")
RELATION_SHARES = {"single": 0.45, "while": 0.38, "then": 0.17}
ATTRIBUTE_WORDS = {"level": ("loud", "faint"), "rate": ("fast", "slow"), "pitch": ("high", "low")}
NAMED_SHARE = 0.4
LEVEL_DB = {"loud": -14.0, "faint": -33.0}
PLAIN_LEVEL_DB = -22.0
FLOOR_DB = -56.0
PEAK = 0.9
TRANSIENT_LIFT_DB = 6.0  # of a transient under a texture, which would hide it


@dataclass(frozen=True)
class EventSpec:
    """One event of a scene; `attributes` are the (dimension, word) pairs that its caption names."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Scene:
    """What is heard. `seed` fixes every clip constant; `relation` is "single", "while" or "then"."""

    seed: int
    events: tuple[EventSpec, ...]
    relation: str
    caption: str


def sample_scene(seed: int, *, split: str, relation: str | None = None) -> Scene:
    """Draws a scene. Scenes of the two splits share neither seeds nor phrasings.

    Args:
        seed: any integer >= 0; the same seed gives the same scene.
        split: "train" or "heldout" (each event's held-out phrasing only).
        relation: "single", "while" or "then"; None draws it (45%, 38%, 17%).

    Raises:
        ValueError: unknown split or relation, or a negative seed.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if relation is not None and relation not in RELATION_SHARES:
        raise ValueError(f"relation must be one of {tuple(RELATION_SHARES)} or None, got {relation!r}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    scene_seed = 2 * seed + SPLITS.index(split)
    rng = np.random.default_rng([scene_seed, 0])
    drawn = str(rng.choice(list(RELATION_SHARES), p=list(RELATION_SHARES.values())))
    relation = relation or drawn
    count = 1 if relation == "single" else 2
    names = [str(name) for name in rng.choice(EVENT_NAMES, count, replace=False)]
    events = tuple(EventSpec(name, _sample_attributes(name, split, rng)) for name in names)
    parts = [event_caption(event.name, dict(event.attributes), split, rng) for event in events]
    return Scene(scene_seed, events, relation, scene_caption(parts, relation, rng))


def _sample_attributes(name: str, split: str, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    chosen = []
    for dimension in BY_NAME[name].attributes:
        named, word = rng.random() < NAMED_SHARE, ATTRIBUTE_WORDS[dimension][rng.integers(2)]
        if named:
            chosen.append((dimension, word))
    adverbs = any(dimension in ("level", "rate") for dimension, _ in chosen)
    if split == "heldout" and not adverbs and held_out(name)[1] in ADVERB_TEMPLATES:
        # Without an adverb these two phrasings are the same sentence, so one of them would be in both splits.
        chosen.insert(0, ("level", ATTRIBUTE_WORDS["level"][rng.integers(2)]))
    return tuple(chosen)


def render_scene(scene: Scene, duration_s: float) -> np.ndarray:
    """Renders a scene: float32 (round(duration_s * 16000),) in [-0.9, 0.9].

    Levels: each event is set so that 0.85 x (97th percentile of its 20 ms frame RMS) + 0.15 x (its maximum)
    is -22 +- 3 dBFS (-14 loud, -33 faint), a transient under a texture 6 dB higher; floor noise at -56 dBFS.
    "then" plays the first event up to about the middle and the second one after it.

    Raises:
        ValueError: a duration under 0.1 s.
    """
    if duration_s < 0.1:
        raise ValueError(f"duration_s must be at least 0.1, got {duration_s}")
    n = round(duration_s * SAMPLE_RATE)
    mix_rng = np.random.default_rng([scene.seed, 1])
    spans = _spans(scene.relation, n, mix_rng)
    clip_gain_db = mix_rng.uniform(-3.0, 3.0)
    kinds = [BY_NAME[event.name].kind for event in scene.events]
    mix = np.zeros(n)
    for index, (event, (start, stop)) in enumerate(zip(scene.events, spans, strict=True)):
        level_db = LEVEL_DB.get(dict(event.attributes).get("level", ""), PLAIN_LEVEL_DB)
        level_db += clip_gain_db if level_db == PLAIN_LEVEL_DB else clip_gain_db / 3.0
        if scene.relation == "while" and kinds[index] == "transient" and "texture" in kinds:
            level_db += TRANSIENT_LIFT_DB
        signal = _levelled(_render_event(scene, index, stop - start), level_db)
        mix[start:stop] += _faded(signal, start > 0, stop < n)
    mix += 10 ** (FLOOR_DB / 20) * np.random.default_rng([scene.seed, 2]).standard_normal(n)
    peak = np.abs(mix).max()
    return (mix * min(1.0, PEAK / peak)).astype(np.float32)


def _spans(relation: str, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    turn = int(n * rng.uniform(0.42, 0.58))
    return {"single": [(0, n)], "while": [(0, n), (0, n)], "then": [(0, turn), (turn, n)]}[relation]


def _render_event(scene: Scene, index: int, n: int) -> np.ndarray:
    event = scene.events[index]
    streams = [np.random.default_rng([scene.seed, 3 + index, stream]) for stream in range(3)]
    draw = Draw(streams[0], streams[1], streams[2], dict(event.attributes))
    return BY_NAME[event.name].render(draw, n)


def _levelled(signal: np.ndarray, level_db: float) -> np.ndarray:
    frame = SAMPLE_RATE // 50
    whole = len(signal) // frame * frame
    rms = np.sqrt((signal[:whole].reshape(-1, frame) ** 2).mean(axis=1))
    level = 0.85 * np.percentile(rms, 97) + 0.15 * rms.max()
    return signal * (10 ** (level_db / 20) / max(level, 1e-9))


def _faded(signal: np.ndarray, at_start: bool, at_end: bool, fade_s: float = 0.03) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, int(fade_s * SAMPLE_RATE))
    faded = signal.copy()
    if at_start:
        faded[: len(ramp)] *= ramp
    if at_end:
        faded[-len(ramp) :] *= ramp[::-1]
    return faded


def write_corpus(out: Path, count: int, duration_s: float, split: str) -> Path:
    """Writes `count` wav files (16-bit) and `captions.csv` in the AudioCaps layout; returns the csv path."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in tqdm(range(count), desc=f"render {split}"):
        scene = sample_scene(seed, split=split)
        name = f"{split}{seed:07d}"
        soundfile.write(out / f"{name}.wav", render_scene(scene, duration_s), SAMPLE_RATE)
        rows.append((scene.seed, name, 0, scene.caption))
    table = out / "captions.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("audiocap_id", "youtube_id", "start_time", "caption"))
        writer.writerows(rows)
    return table


@dataclass(frozen=True)
class CorpusSettings:
    """`out` is the folder to write to; `count` clips of `duration_s` seconds; `split` is train or heldout."""

    out: str = ""
    count: int = 64
    duration_s: float = TRAIN_DURATION_S
    split: str = "heldout"


def _write(settings: CorpusSettings) -> Path:
    if not settings.out:
        raise ValueError("out=DIR is missing: name the folder to write to")
    return write_corpus(Path(settings.out), settings.count, settings.duration_s, settings.split)


if __name__ == "__main__":
    program(CorpusSettings, _write, __doc__)
