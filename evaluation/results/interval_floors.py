"""Below how many prompts a table prints no interval: where its coverage was measured under 93 % for values that occur.

``results/coverage`` holds the measurements. Records keep every interval; what a reader sees goes through here.
"""

from __future__ import annotations

from typing import Literal

from evaluation.results.result import DRIFT, SLOPE

Kind = Literal["mean", "rate", "distance"]

# Shares of clips: most differences are 0, and a mean of few of them has no normal shape.
RATES = ("hit_rate", "exact_set_rate", "silence", "clipping")
_DISTANCES = ("fad", "fd", "kad", "is", "consistency", "event_order")
FEWEST: dict[Kind, int] = {"mean": 32, "rate": 64, "distance": 6}
REFUSED = (
    f"No interval below {FEWEST['mean']} prompts ({FEWEST['rate']} of rates, {FEWEST['distance']} of distances between "
    "sets): its coverage there was measured under 93% (results/coverage). None where all clips agree: they do not say "
    "how much others would differ."
)


def kind_of(metric: str) -> Kind:
    """Which of FEWEST applies: a mean over clips, a mean of shares, or a distance between sets."""
    base = metric.removesuffix(DRIFT).removesuffix(SLOPE)
    if base in RATES:
        return "rate"
    return "distance" if base.startswith(_DISTANCES) else "mean"
