"""Uncertainty of an estimate, always by clip.

Frames or windows of one clip are correlated, so nothing here resamples them: a row belongs to a clip, and whole
clips are drawn, deleted or exchanged. ``clips`` names the clip of every row; without it each row is a clip.

* a mean over clips, or of paired differences (KL, CLAP): :func:`~evaluation.statistics.student.student_interval`;
* a difference of two Fréchet distances: :func:`~evaluation.statistics.student.student_bounds`;
* a distance between sets (FAD, KAD): :func:`jackknife_interval`; drawing with replacement would add its bias again;
* any other statistic: :func:`bootstrap_interval`.

A percentile interval lies between the smallest and the largest clip. All n clips fall on one side of the median with
probability 2^(1 - n), so below :func:`fewest_clips` it cannot cover as often as it says, and its bounds are nan. Just
above it is still short: at 95 % that of a mean of normal values covers it in 85 % of samples at n = 6, 89 % at 10 and
95 % at 20 (measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from tqdm import tqdm

from evaluation.statistics.arrays import real_array

Array = NDArray[Any]
Statistic = Callable[[Array], float]
Seed = int | np.random.Generator
JACKKNIFE_GROUPS = 20


class Interval(NamedTuple):
    """An estimate with its uncertainty; bounds are nan where too few clips leave it unknown, never 0 wide."""

    value: float
    """The statistic on the whole sample."""
    low: float
    """Lower end of the confidence interval."""
    high: float
    """Upper end of the confidence interval."""
    n: int
    """Number of resampling units (clips) behind the value."""
    unit: str
    """What is resampled, "clip" unless said otherwise."""


def fewest_clips(confidence: float = 0.95) -> int:
    """Fewest clips whose range covers the median with probability ``confidence``: 6 at 0.95."""
    return 1 + math.ceil(-math.log2(1 - confidence))


def rows_by_clip(clips: ArrayLike | None, n_rows: int) -> list[Array]:
    """Row indices of each clip, clips in sorted order; ``clips`` (n_rows,) ids, or None for one row per clip."""
    if clips is None:
        return list(np.arange(n_rows)[:, None])
    ids = np.asarray(clips)
    if ids.shape != (n_rows,):
        raise ValueError(f"clips has shape {ids.shape}; give one clip id per row, shape ({n_rows},)")
    _, inverse = np.unique(ids, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1])


def bootstrap_interval(
    statistic: Statistic,
    samples: ArrayLike,
    *,
    seed: Seed,
    clips: ArrayLike | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    unit: str = "clip",
) -> Interval:
    """Percentile bootstrap over clips.

    Args:
        statistic: maps an array of rows to a number, e.g. ``np.mean``.
        samples: (n, ...) rows.
        seed: integer or generator; the same seed gives the same bounds, the global RNG is not used.
        clips: (n,) clip id of every row; None means each row is a clip.
        resamples: number of bootstrap samples.
        confidence: coverage aimed at, between 0 and 1.
        unit: name of the resampling unit, for the record.

    Raises:
        ValueError: no rows, ``clips`` of the wrong shape, or ``confidence`` or ``resamples`` out of range.
    """
    rows = _in_double(as_rows(samples, "samples"))
    members = rows_by_clip(clips, len(rows))
    check_numbers(confidence, resamples)
    value = float(statistic(rows))
    if len(members) < fewest_clips(confidence):
        return Interval(value, np.nan, np.nan, len(members), unit)
    picks = np.random.default_rng(seed).integers(len(members), size=(resamples, len(members)))
    replicates = _replicates(statistic, rows, members, picks)
    return Interval(value, *_percentiles(replicates, confidence), len(members), unit)


def jackknife_interval(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    seed: Seed,
    clips: Sequence[ArrayLike | None] | None = None,
    groups: int = JACKKNIFE_GROUPS,
    confidence: float = 0.95,
    unit: str = "clip",
) -> Interval:
    """Delete-group jackknife over clips, for statistics of one or several sets of clips.

    Clips are dealt at random into groups and the statistic is recomputed without each of them. With several sets,
    group g leaves all together: sets with equal numbers of clips are taken as paired (clip i of each is the same),
    others as independent.

    Args:
        statistic: maps one array per set to a number, e.g. ``frechet_distance``.
        samples: one (n_i, ...) array per set, the reference first.
        seed: decides the groups.
        clips: one entry per set, the (n_i,) clip ids or None.
        groups: number of groups; fewer where a set has fewer clips.
        confidence, unit: as in :func:`bootstrap_interval`; the quantile is Student's t, groups - 1 degrees of freedom.

    Returns:
        Interval whose ``n`` is the number of clips of the last (generated) set.
    """
    sets = [as_rows(sample, f"set {i}") for i, sample in enumerate(samples)]
    ids = [None] * len(sets) if clips is None else list(clips)
    if not sets or len(ids) != len(sets):
        raise ValueError(f"got {len(sets)} sets and {len(ids)} entries in clips; give one entry per set")
    check_numbers(confidence)
    members = [rows_by_clip(clip, len(rows)) for clip, rows in zip(ids, sets, strict=True)]
    value = float(statistic(*sets))
    dealt = deal_groups([len(m) for m in members], groups, seed)
    kept = [
        [np.concatenate([m for m, g in zip(clip_rows, groups_of, strict=True) if g != group])
         for clip_rows, groups_of in zip(members, dealt, strict=True)]
        for group in range(n_groups(dealt))
    ]  # fmt: skip
    replicates = [
        float(statistic(*(rows[keep] for rows, keep in zip(sets, keeps, strict=True))))
        for keeps in tqdm(kept, desc="jackknife", delay=2, leave=False)
    ]
    return Interval(value, *jackknife_bounds(value, replicates, confidence), len(members[-1]), unit)


def deal_groups(n_clips: Sequence[int], groups: int, seed: Seed) -> list[Array]:
    """Group number of each clip, one (n_i,) array per set: as many almost equal groups in every set.

    Sets of equal length are dealt alike, so that paired clips leave together. All -1 where a set has one clip.
    """
    if groups < 2:
        raise ValueError(f"groups={groups}; a jackknife needs at least 2")
    used = min(groups, *n_clips)
    if used < 2:
        return [np.full(n, -1) for n in n_clips]
    generator = np.random.default_rng(seed)
    order = {n: generator.permutation(n) for n in dict.fromkeys(n_clips)}
    return [order[n] % used for n in n_clips]


def n_groups(dealt: Sequence[Array]) -> int:
    """Number of groups in what :func:`deal_groups` returned."""
    return int(max(groups.max(initial=-1) for groups in dealt)) + 1


def jackknife_bounds(value: float, replicates: ArrayLike, confidence: float) -> tuple[float, float]:
    """Student-t bounds around ``value`` from (G,) leave-out ``replicates``; nan unless finite and not all equal."""
    left_out = real_array(replicates, "replicates", np.float64)
    count = len(left_out)
    if count < 2 or not np.isfinite(left_out).all():
        return np.nan, np.nan
    error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))
    half = float(stdtrit(count - 1, 0.5 + confidence / 2) * error)
    if half == 0:
        return np.nan, np.nan
    return value - half, value + half


def within_range(low: float, high: float, value: float, ends: tuple[float, float]) -> tuple[float, float]:
    """Bounds cut where the quantity ends. nan stays; rounding that takes ``value`` past an end leaves it inside."""
    return float(np.maximum(low, min(ends[0], value))), float(np.minimum(high, max(ends[1], value)))


def _replicates(statistic: Statistic, rows: Array, members: list[Array], picks: Array) -> Array:
    """(resamples,) the statistic of every sample, whose (resamples, clips) numbers of clips are ``picks``."""
    if statistic is np.mean:
        # Most intervals are of means, and a mean follows from the clips' sums: no sample is ever built.
        sums = np.array([rows[own].sum(dtype=np.float64) for own in members])
        counts = np.array([rows[own].size for own in members])
        return sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    singles = all(len(own) == 1 for own in members)
    draws = np.concatenate(members)[picks] if singles else [np.concatenate([members[i] for i in p]) for p in picks]
    return np.array([float(statistic(rows[draw])) for draw in draws])


def _percentiles(replicates: Array, confidence: float) -> tuple[float, float]:
    if not np.isfinite(replicates).all():
        return np.nan, np.nan
    low, high = np.quantile(replicates, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _in_double(rows: Array) -> Array:
    """Floats as float64: a mean of half precision would be off by more than its interval."""
    return rows.astype(np.float64) if rows.dtype.kind == "f" else rows


def as_rows(samples: ArrayLike, name: str) -> Array:
    rows = real_array(samples, name)
    if rows.shape[:1] in ((), (0,)):
        raise ValueError(f"{name} has shape {rows.shape}; give at least one row, shape (n, ...)")
    return rows


def as_paired_rows(baseline: ArrayLike, candidate: ArrayLike) -> tuple[Array, Array]:
    first, second = as_rows(baseline, "baseline"), as_rows(candidate, "candidate")
    if first.shape != second.shape:
        raise ValueError(f"baseline {first.shape} and candidate {second.shape} differ; pair the same clips in both")
    return first, second


def check_numbers(confidence: float = 0.95, resamples: int = 1) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; give a number between 0 and 1")
    if resamples < 1:
        raise ValueError(f"got {resamples} resamples; give at least 1")
