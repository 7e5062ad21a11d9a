"""Below how many prompts a table prints no interval: where its coverage was measured under 93 % for values that occur.

``results/coverage`` holds the measurements. Records keep every interval; what a reader sees goes through here.
"""

from __future__ import annotations

from typing import Literal

from evaluation.results.result import DRIFT, SLOPE

Kind = Literal["mean", "difference", "distance"]

_DISTANCES = ("fad", "fd", "kad", "is", "consistency", "event_order")
FEWEST: dict[Kind, int] = {"mean": 32, "difference": 64, "distance": 6}
REFUSED = (
    f"No interval below {FEWEST['mean']} prompts ({FEWEST['difference']} of paired differences of means, "
    f"{FEWEST['distance']} of distances between sets): its coverage there was measured under 93% (results/coverage). "
    "None where all clips agree: they do not say how much others would differ."
)


def kind_of(metric: str, baseline: str = "") -> Kind:
    """A mean over clips, one of paired differences to a baseline, or a distance between sets, a difference of two too.

    Paired differences take more clips: two methods may share all values but a few, which 32 clips need not hold.
    """
    base = metric.removesuffix(DRIFT).removesuffix(SLOPE)
    if base.startswith(_DISTANCES):
        return "distance"
    return "difference" if baseline else "mean"


def fewest_prompts(metric: str, baseline: str) -> int:
    """From how many prompts on an interval of a value, or of its difference to a baseline, is printed."""
    return FEWEST[kind_of(metric, baseline)]
