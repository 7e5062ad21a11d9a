"""Below how many clips a table prints no interval: where its coverage was measured under 93 % for values that occur.

``results/coverage`` holds the measurements. Records keep every interval; what a reader sees goes through here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from evaluation.results.result import DRIFT, SLOPE

Kind = Literal["mean", "difference", "distance"]


class Floor(NamedTuple):
    """The fewest prompts, and the fewest clips of them, that an interval takes."""

    prompts: int
    clips: int

    def reached(self, prompts: int, clips: int) -> bool:
        """Whether so many clips of so many prompts may have an interval."""
        return prompts >= self.prompts and clips >= self.clips


_DISTANCES = ("fad", "fd", "kad", "is", "consistency", "event_order")
FEWEST: dict[Kind, Floor] = {"mean": Floor(32, 32), "difference": Floor(64, 192), "distance": Floor(6, 6)}
REFUSED = (
    f"No interval below {FEWEST['mean'].prompts} prompts ({FEWEST['difference'].clips} clips of "
    f"{FEWEST['difference'].prompts} prompts or more for paired differences of means, {FEWEST['distance'].prompts} "
    "prompts for distances between sets): its coverage there was measured under 93% (results/coverage). "
    "None where all clips agree: they do not say how much others would differ."
)


def kind_of(metric: str, baseline: str = "") -> Kind:
    """A mean over clips, one of paired differences to a baseline, or a distance between sets, a difference of two too.

    Paired differences take more clips: two methods may share all values but a few, which 64 clips need not hold.
    """
    base = metric.removesuffix(DRIFT).removesuffix(SLOPE)
    if base.startswith(_DISTANCES):
        return "distance"
    return "difference" if baseline else "mean"


def floor_of(metric: str, baseline: str) -> Floor:
    """From how many prompts and clips on an interval of a value, or of its difference to a baseline, is printed."""
    return FEWEST[kind_of(metric, baseline)]
