"""Fréchet distance between two sets of embeddings (FAD on VGGish, FD on PANNs, and so on).

Shapes: n reference or generated rows (frames or clips), d embedding size, r rank of a covariance factor.

    |mu_r - mu_g|^2 + tr S_r + tr S_g - 2 tr (S_r S_g)^(1/2)

K. Kilgour et al., "Fréchet Audio Distance", arXiv 1812.08466; covariances have n - 1 in the denominator, over all
frames of all clips pooled, as in every public implementation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, Array, Interval, Seed, jackknife_interval

_BLOCK_ROWS = 4096


class Moments(NamedTuple):
    """Mean (d,), covariance (d, d) with n - 1 in the denominator, and the number of rows behind them."""

    mean: Array
    covariance: Array
    n: int


def gaussian_moments(embeddings: ArrayLike) -> Moments:
    """Moments of (n, d) embeddings, in float64 and in blocks, whatever their dtype."""
    rows = check_embeddings(embeddings, "embeddings")
    n, d = rows.shape
    mean, scatter = rows.mean(axis=0, dtype=np.float64), np.zeros((d, d))
    for start in range(0, n, _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS] - mean
        scatter += block.T @ block
    return Moments(mean, scatter / (n - 1 if n > 1 else np.nan), n)


def frechet_distance(reference: ArrayLike | Moments, generated: ArrayLike | Moments) -> float:
    """Fréchet distance of two sets, each given as (n, d) embeddings or as its :class:`Moments`.

    Embeddings with n <= d are never turned into a (singular) covariance: their centred rows are the factor of it,
    which keeps the trace term exact where ``sqrtm`` loses half of the digits. Symmetric in its arguments; rounding
    may leave about -1e-14 of the variance for identical sets.

    Returns:
        The distance, in squared embedding units, or nan where a set has fewer than two rows.

    Raises:
        ValueError: shapes do not fit, or a value is not finite.
    """
    first, second = _summary(reference, "reference"), _summary(generated, "generated")
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"reference has {first.mean.size} dimensions, generated {second.mean.size}; use one embedder for both"
        )
    if min(first.n, second.n) < 2:
        return np.nan
    shift = first.mean - second.mean
    # tr (A A' B B')^(1/2) is the sum of the singular values of A'B for any factors A and B of the covariances.
    overlap = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    return float(shift @ shift + first.variance + second.variance - 2 * overlap)


def frechet_distance_interval(
    reference: ArrayLike | Moments,
    generated: ArrayLike,
    *,
    seed: Seed,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    groups: int = JACKKNIFE_GROUPS,
    confidence: float = 0.95,
) -> Interval:
    """:func:`frechet_distance` with a delete-group jackknife interval over clips.

    Clips leave both sets (clip i of each together where the sets have the same number of clips). With
    :class:`Moments` as the reference only generated clips leave, and the interval is conditional on that reference.
    The interval is one of sampling error around the value at this N; it does not remove the bias of a finite N,
    for which see ``fad_infinity``.
    """
    if isinstance(reference, Moments):
        return jackknife_interval(
            lambda rows: frechet_distance(reference, rows),
            generated, seed=seed, clips=[generated_clips], groups=groups, confidence=confidence,
        )  # fmt: skip
    return jackknife_interval(
        frechet_distance, reference, generated,
        seed=seed, clips=[reference_clips, generated_clips], groups=groups, confidence=confidence,
    )  # fmt: skip


def frechet_influence(reference: ArrayLike | Moments, generated: ArrayLike) -> Array:
    """(n,) influence of each generated row on :func:`frechet_distance`, the references fixed; their mean is 0.

    The derivative of the distance in the direction of a row, from that of the trace term in the generated covariance.
    Its sum over a clip's rows is what the clip adds: intervals over clips follow without leaving any out
    (``bootstrap.student_bounds``). Directions without variance on either side count as having none.

    Raises:
        ValueError: as :func:`frechet_distance`, or fewer than two rows on a side.
    """
    first, second = _summary(reference, "reference"), _summary(generated, "generated")
    rows = check_embeddings(generated, "generated", first.mean.size).astype(np.float64)
    if min(first.n, second.n) < 2:
        raise ValueError(f"reference has {first.n} rows, generated {second.n}; an influence needs two of each")
    left, overlap, _ = np.linalg.svd(first.factor.T @ second.factor, full_matrices=False)
    keep = overlap > overlap.max(initial=0) * max(rows.shape) * np.finfo(np.float64).eps
    centred = rows - second.mean
    # d tr (A' S A)^(1/2) / dS = A U s^-1 U' A' / 2, where s and U are singular values and left vectors of A'B.
    across = (centred @ first.factor @ left[:, keep]) / np.sqrt(overlap[keep])
    squares = (centred**2).sum(axis=1) - (across**2).sum(axis=1)
    each = 2 * centred @ (second.mean - first.mean) + squares
    return np.asarray(each - each.mean())


def check_embeddings(embeddings: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """The argument as an (n, d) array, or a ValueError that says what is wrong with it."""
    rows = real_array(embeddings, name)
    if rows.ndim != 2 or 0 in rows.shape or (dimension is not None and rows.shape[1] != dimension):
        raise ValueError(f"{name} has shape {rows.shape}; expected (n, {dimension or 'd'}) with n >= 1")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"{name} holds nan or inf (first in row {bad}); find the clip that produced it")
    return rows


class _Summary(NamedTuple):
    mean: Array
    variance: float
    factor: Array
    """(d, r) with factor @ factor.T equal to the covariance."""
    n: int


def _summary(data: ArrayLike | Moments, name: str) -> _Summary:
    if isinstance(data, Moments):
        return _summary_of_moments(_check_moments(data, name))
    rows = check_embeddings(data, name)
    n, d = rows.shape
    if n > d:
        return _summary_of_moments(gaussian_moments(rows))
    centred = rows.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    factor = centred.T / np.sqrt(n - 1 if n > 1 else np.nan)
    return _Summary(mean, float(np.sum(factor**2)), factor, n)


def _summary_of_moments(moments: Moments) -> _Summary:
    if moments.n < 2:
        return _Summary(moments.mean, np.nan, np.empty((moments.mean.size, 0)), moments.n)
    values, vectors = np.linalg.eigh(moments.covariance)
    # Directions without variance come out at +-1e-16 of the largest; their square roots would add 1e-8 each.
    keep = values > values[-1] * values.size * np.finfo(np.float64).eps
    factor = vectors[:, keep] * np.sqrt(values[keep])
    return _Summary(moments.mean, float(np.trace(moments.covariance)), factor, moments.n)


def _check_moments(moments: Moments, name: str) -> Moments:
    mean, covariance = (real_array(part, name, np.float64) for part in (moments.mean, moments.covariance))
    if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
        raise ValueError(f"{name}: mean {mean.shape} and covariance {covariance.shape}; expected (d,) and (d, d)")
    if moments.n < 2:
        return Moments(mean, covariance, moments.n)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{name}: moments hold nan or inf")
    scale = np.abs(covariance).max(initial=0.0)
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-9 * scale):
        raise ValueError(f"{name}: covariance is not symmetric")
    return Moments(mean, covariance, moments.n)
