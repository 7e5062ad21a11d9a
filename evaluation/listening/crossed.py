"""A mean over votes whose listeners and prompts are both a sample: its interval says what others would give.

Every listener hears several prompts and every prompt has several listeners, so neither alone may be resampled. The
variance is that of Cameron, Gelbach and Miller (J. Bus. Econ. Stat. 29, 2011): between listeners plus between prompts
minus between their combinations, which both of them hold; Student's t with one degree of freedom less than the fewer
of the two.

Shapes: n votes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array, Interval, check_numbers, rows_by_clip

FEWEST = 6
"""Listeners and prompts below which there is no interval, as for percentile intervals (``bootstrap.fewest_clips``)."""


def crossed_interval(
    values: ArrayLike, listeners: Sequence[str], prompts: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """Mean of (n,) ``values`` between 0 and 1, with an interval over listeners and prompts.

    Returns:
        The bounds stay between 0 and 1; nan below six listeners or prompts, and where all votes are equal. ``n`` is
        the number of the fewer of the two, ``unit`` which that is.

    Raises:
        ValueError: no values, values outside [0, 1], or names of another number.
    """
    votes = real_array(values, "values", np.float64)
    if votes.ndim != 1 or not len(votes) or votes.min() < 0 or votes.max() > 1:
        raise ValueError(f"values has shape {votes.shape}; give at least one, all between 0 and 1")
    check_numbers(confidence)
    value = float(votes.mean())
    by_listener, by_prompt = rows_by_clip(listeners, len(votes)), rows_by_clip(prompts, len(votes))
    n, unit = min((len(by_listener), "listener"), (len(by_prompt), "prompt"))
    if n < FEWEST or votes.min() == votes.max():
        return Interval(value, np.nan, np.nan, n, unit)
    influence = (votes - value) / len(votes)
    by_both = rows_by_clip([f"{len(a)} {a} {b}" for a, b in zip(listeners, prompts, strict=True)], len(votes))
    of_listeners, of_prompts, of_both = (_variance(influence, each) for each in (by_listener, by_prompt, by_both))
    # The difference may fall below either part by chance; neither sample can have made the mean surer.
    variance = max(of_listeners + of_prompts - of_both, of_listeners, of_prompts)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * variance**0.5
    return Interval(value, max(value - half, 0.0), min(value + half, 1.0), n, unit)


def _variance(influence: Array, members: Sequence[Array]) -> float:
    sums = np.array([influence[own].sum() for own in members])
    return float(len(members) / (len(members) - 1) * np.sum(sums**2))
