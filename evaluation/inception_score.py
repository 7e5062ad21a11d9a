"""Inception score: how sure a classifier is of each clip, and how varied the classes are (T. Salimans et al. 2016).

Needs no reference. Shapes: n clips, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp

from evaluation.bootstrap import JACKKNIFE_GROUPS, Array, Interval, Seed, jackknife_interval


class InceptionScore(NamedTuple):
    """Mean and standard deviation (over splits, n in the denominator) of exp(mean KL(p || split marginal))."""

    mean: float
    """Between 1 and the number of classes."""
    std: float
    """Spread over splits: not an error of the mean, for that see :func:`inception_score_interval`."""


def inception_score(logits: ArrayLike, *, splits: int = 10, seed: int = 2020) -> InceptionScore:
    """Inception score of (n, C) logits, with audioldm_eval's splits and shuffle by default.

    Args:
        logits: (n, C) classifier logits; posteriors are their softmax.
        splits: parts that the shuffled clips are cut into; the score is biased low by small parts.
        seed: seed of the legacy generator that shuffles, so that the published protocol is met exactly.

    Raises:
        ValueError: shape, values, or fewer clips than splits.
    """
    log_p = _shuffled_log_posteriors(logits, splits, seed)
    scores = _split_scores(log_p, splits)
    return InceptionScore(float(scores.mean()), float(scores.std()))


def inception_score_interval(
    logits: ArrayLike,
    *,
    splits: int = 10,
    seed: int = 2020,
    group_seed: Seed = 0,
    groups: int = JACKKNIFE_GROUPS,
    confidence: float = 0.95,
) -> Interval:
    """Mean of :func:`inception_score` with a delete-group jackknife interval over clips."""
    log_p = _shuffled_log_posteriors(logits, splits, seed)
    if splits > len(log_p) - -(-len(log_p) // groups):
        raise ValueError(f"{len(log_p)} clips leave too few for {splits} splits without a group; lower splits")
    return jackknife_interval(
        lambda rows: float(_split_scores(rows, splits).mean()),
        log_p, seed=group_seed, groups=groups, confidence=confidence,
    )  # fmt: skip


def _shuffled_log_posteriors(logits: ArrayLike, splits: int, seed: int) -> Array:
    rows = np.asarray(logits, np.float64)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise ValueError(f"logits have shape {rows.shape} or hold nan or inf; expected finite (n, C)")
    if not 1 <= splits <= len(rows):
        raise ValueError(f"splits={splits} for {len(rows)} clips; give 1 to {len(rows)}")
    order = np.random.RandomState(seed).permutation(len(rows))
    return log_softmax(rows[order], axis=1)


def _split_scores(log_p: Array, splits: int) -> Array:
    n = len(log_p)
    return np.array([_score(log_p[i * n // splits : (i + 1) * n // splits]) for i in range(splits)])


def _score(log_p: Array) -> float:
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.exp(np.mean(np.sum(np.exp(log_p) * (log_p - log_marginal), axis=1))))
