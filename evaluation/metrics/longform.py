"""What goes wrong in long clips and no short-clip metric sees: loss of identity, loops, silence.

Shapes: n clips, W windows per clip, d embedding size, C channels, T samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.audio.windows import aligned_windows
from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array

LEVEL_FLOOR_DBFS = -120.0
"""Levels are not followed below this one; digital silence reads as this level."""


class Repetition(NamedTuple):
    """Window-to-window cosine similarity of each clip."""

    mean: Array
    """(n,) mean over pairs of different windows: near 1 where every window is the same."""
    by_lag: Array
    """(n, W - 1) mean over pairs k apart, k = 1 ...: a peak at one lag is a loop, a fall with the lag is drift."""


def consistency(windows: ArrayLike) -> float:
    """Variance of embeddings within clips over variance between clips (one-way components), of (n, W, d) windows.

    0 where each clip stays what it is, growing as windows of a clip differ; the between-clip component is corrected
    for the part that within-clip variance puts into clip means, so that W does not enter. inf where clips are no
    longer told apart.

    Returns:
        A ratio >= 0, or nan with fewer than two clips or two windows.

    Raises:
        ValueError: not finite (n, W, d).
    """
    rows = _check_windows(windows)
    n, count, _ = rows.shape
    if n < 2 or count < 2:
        return np.nan
    within = float(rows.var(axis=1, ddof=1).sum(axis=-1).mean())
    between = float(rows.mean(axis=1).var(axis=0, ddof=1).sum()) - within / count
    return within / between if between > 0 else np.inf


def repetition(windows: ArrayLike) -> Repetition:
    """Cosine self-similarity of (n, W, d) window embeddings, per clip (for an interval: ``bootstrap_interval``).

    Raises:
        ValueError: fewer than two windows, or an embedding that is zero or not finite.
    """
    rows = _check_windows(windows)
    count = rows.shape[1]
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    if count < 2 or not (length > 0).all():
        raise ValueError(f"windows {rows.shape}: needs W >= 2 and no zero embedding")
    units = rows / length
    similarity = np.einsum("nwd,nvd->nwv", units, units)
    by_lag = [np.diagonal(similarity, lag, axis1=1, axis2=2).mean(axis=1) for lag in range(1, count)]
    first, second = np.triu_indices(count, 1)
    return Repetition(similarity[:, first, second].mean(axis=1), np.stack(by_lag, axis=1))


def level_dbfs(samples: Array) -> float:
    """RMS level of (..., T) samples in dB re full scale (a full-scale square wave has 0), at least -120."""
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return float(10 * np.log10(max(mean_square, 10 ** (LEVEL_FLOOR_DBFS / 10))))


def silence_ratio(samples: Array, sample_rate: int, *, threshold_dbfs: float = -60.0, frame_s: float = 0.1) -> float:
    """Share in [0, 1] of ``frame_s`` long frames of (C, T) samples whose RMS level lies below ``threshold_dbfs``.

    Raises:
        TooShortAudioError: shorter than one frame.
    """
    frames = aligned_windows(samples, sample_rate, frame_s)
    return float(np.mean([level_dbfs(frame) < threshold_dbfs for frame in frames]))


def _check_windows(windows: ArrayLike) -> Array:
    rows = real_array(windows, "windows", np.float64)
    if rows.ndim != 3 or rows.size == 0 or not np.isfinite(rows).all():
        raise ValueError(f"windows have shape {rows.shape} or hold nan or inf; expected finite (n, W, d)")
    return rows
