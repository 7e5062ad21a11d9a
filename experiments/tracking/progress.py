"""Rows of live progress: one for every clip that a run folder holds, in the order in which they were made."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from experiments.records import ClipRecord

CLIPS_DONE = "progress/clips_done"


class Pace(NamedTuple):
    """What no record keeps, as this start sees it after a clip.

    Attributes:
        lost_s: seconds of this start in no clip that was kept: loading, writing, clips that failed.
        hours_left: by the predicted cost of the clips that are missing.
    """

    clips_failed: int
    lost_s: float
    hours_left: float

    def row(self) -> dict[str, float | str]:
        """As W&B takes it."""
        return {f"progress/{name}": value for name, value in self._asdict().items()}


AGAINST_CLIPS = tuple(f"progress/{name}" for name in ("condition", "duration_s", "clip_s", "step_s", *Pace._fields))


def clip_rows(clips: Sequence[ClipRecord], done: int = 0) -> Iterator[dict[str, float | str]]:
    """A row per clip: how many there are with it, its condition, its seconds.

    Args:
        done: how many there are without them.
    """
    for number, clip in enumerate(clips, start=done + 1):
        row: dict[str, float | str] = {
            CLIPS_DONE: number,
            "progress/condition": clip.condition,
            "progress/duration_s": clip.duration_s,
            "progress/clip_s": clip.latency_s,
        }
        if not math.isnan(clip.step_s):  # it is with fewer than two steps
            row["progress/step_s"] = clip.step_s
        yield row
