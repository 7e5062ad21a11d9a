"""Inception score: how sure a classifier is of each clip, and how varied the classes are (T. Salimans et al. 2016).

Needs no reference. Shapes: n clips, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array


def split_numbers(count: int, splits: int, seed: int = 2020) -> Array:
    """(n,) split of each of ``count`` clips: almost equal parts of audioldm_eval's shuffle.

    Raises:
        ValueError: fewer clips than splits.
    """
    if not 1 <= splits <= count:
        raise ValueError(f"splits={splits} for {count} clips; give 1 to {count}")
    numbers = np.empty(count, np.int64)
    ends = [count * (split + 1) // splits for split in range(splits)]
    numbers[np.random.RandomState(seed).permutation(count)] = np.searchsorted(ends, np.arange(count), side="right")
    return numbers


def mean_of_splits(rows: Array) -> float:
    """Mean score over the splits that (n, 1 + C) rows hold, each row the number of its split and its logits.

    Leaving clips out moves no other clip to another split: the marginals would change for that alone.
    """
    return float(_split_scores(_check_logits(rows[:, 1:]), rows[:, 0]).mean())


def _check_logits(logits: ArrayLike) -> Array:
    rows = real_array(logits, "logits", np.float64)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise ValueError(f"logits have shape {rows.shape} or hold nan or inf; expected finite (n, C)")
    return rows


def _split_scores(logits: Array, numbers: Array) -> Array:
    log_p = log_softmax(logits, axis=1)
    return np.array([_score(log_p[numbers == number]) for number in np.unique(numbers)])


def _score(log_p: Array) -> float:
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.exp(np.mean(np.sum(np.exp(log_p) * (log_p - log_marginal), axis=1))))
