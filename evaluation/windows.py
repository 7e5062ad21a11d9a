"""Three protocols that score a long clip with metrics made for short ones, and the windows they cut.

* **profile** (primary): aligned windows without overlap; the metric at each position k over the n clips gives a
  curve m(k) at constant n and window length, hence constant bias. Headline: its mean; also drift and slope.
* **pooled** (secondary): all windows together, subsampled to the frames of one window per clip, because the bias
  of FAD shrinks with the number of frames and would flatter long clips.
* **paper**: one random window per clip, as LiteFocus (arXiv 2407.10468) was scored; repeat it over several seeds.

The window length is the model's training length (10 s for AudioLDM2). Shapes: C channels, T samples, L samples per
window, n clips, W windows per clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from evaluation.arrays import real_array
from evaluation.audio import TooShortAudioError
from evaluation.bootstrap import (
    JACKKNIFE_GROUPS,
    Array,
    Interval,
    Seed,
    deal_groups,
    jackknife_bounds,
    n_groups,
    rows_by_clip,
)

DEFAULT_WINDOW_S = 10.0

SetStatistic = Callable[[Array, Array], float]


class Profile(NamedTuple):
    """A metric along the clip."""

    curve: Array
    """(W,) the metric at each window position."""
    mean: float
    """Mean of the curve: the headline number."""
    drift: float
    """Last minus first value; nan for one window."""
    slope: float
    """Least-squares slope per window; nan for one window."""


class ProfileInterval(NamedTuple):
    """A :class:`Profile` with an interval by clip on each of its numbers."""

    curve: tuple[Interval, ...]
    mean: Interval
    drift: Interval
    slope: Interval


class SeedSummary(NamedTuple):
    """A score over crop seeds (paper protocol)."""

    mean: float
    sd: float
    """Standard deviation over seeds (n - 1 in the denominator); nan for one seed."""
    n_seeds: int


def aligned_windows(samples: Array, sample_rate: int, window_s: float = DEFAULT_WINDOW_S) -> Array:
    """(C, T) samples to (W, C, L) windows from the start, without overlap; what is left at the end is dropped.

    Raises:
        TooShortAudioError: not one whole window.
    """
    length = _window_length(samples, sample_rate, window_s)
    count = samples.shape[-1] // length
    cut = samples[..., : count * length].reshape(*samples.shape[:-1], count, length)
    return np.moveaxis(cut, -2, 0)


def edge_crop(
    samples: Array, sample_rate: int, window_s: float = DEFAULT_WINDOW_S, *, where: Literal["first", "last"]
) -> Array:
    """First or last window of (..., T) samples, (..., L). Raises TooShortAudioError below one window."""
    length = _window_length(samples, sample_rate, window_s)
    if where not in ("first", "last"):
        raise ValueError(f"where={where!r}; give 'first' or 'last'")
    return samples[..., :length] if where == "first" else samples[..., samples.shape[-1] - length :]


def random_crop(
    samples: Array, sample_rate: int, window_s: float = DEFAULT_WINDOW_S, *, seed: int, clip_id: str
) -> Array:
    """One window of (..., T) samples at an offset that depends on ``seed`` and ``clip_id`` alone, (..., L).

    The offset is the same in every process and, up to a sample, at every sample rate.

    Raises:
        TooShortAudioError: not one whole window.
    """
    length = _window_length(samples, sample_rate, window_s)
    start = int(_unit_hash(seed, clip_id) * (samples.shape[-1] - length + 1))
    return samples[..., start : start + length]


def summarise_seeds(scores: ArrayLike) -> SeedSummary:
    """Mean and spread of one score per crop seed; give at least five seeds to say anything about the spread."""
    values = real_array(scores, "scores", np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores have shape {values.shape}; give one per seed")
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return SeedSummary(float(values.mean()), sd, len(values))


def pooled_rows(clips: ArrayLike, rows_per_clip: int, *, seed: int) -> Array:
    """Sorted indices of ``rows_per_clip`` rows of every clip, drawn without replacement.

    Args:
        clips: (rows,) clip id of every frame of every window.
        rows_per_clip: frames of one window, the budget that a short clip has.
        seed: the rows drawn for a clip depend on it, on the clip's id and on its number of rows alone.

    Raises:
        ValueError: a clip with fewer rows than the budget.
    """
    ids = np.asarray(clips)
    chosen = []
    for rows in rows_by_clip(ids, len(ids)):
        name = str(ids[rows[0]])
        if len(rows) < rows_per_clip:
            raise ValueError(f"clip {name!r} has {len(rows)} rows, fewer than the budget of {rows_per_clip}")
        generator = np.random.default_rng(_hash(seed, name))
        chosen.append(generator.choice(rows, rows_per_clip, replace=False))
    return np.sort(np.concatenate(chosen))


def profile(statistic: SetStatistic, reference: ArrayLike, generated: ArrayLike) -> Profile:
    """Metric at every window position.

    Args:
        statistic: ``statistic(reference, generated_k)``, e.g. ``frechet_distance`` or ``kl_divergence``.
        reference: handed to the statistic as it is: reference embeddings, logits, or captions' embeddings.
        generated: (n, W, ...) one entry per clip and window; ``generated_k`` is ``generated[:, k]``.

    Raises:
        ValueError: ``generated`` has no window axis.
    """
    windows = real_array(generated, "generated")
    if windows.ndim < 2 or 0 in windows.shape[:2]:
        raise ValueError(f"generated has shape {windows.shape}; expected (n, W, ...)")
    reference_rows = real_array(reference, "reference")
    curve = np.array([float(statistic(reference_rows, windows[:, k])) for k in range(windows.shape[1])])
    if len(curve) < 2:
        return Profile(curve, float(curve[0]), np.nan, np.nan)
    slope = np.polyfit(np.arange(len(curve)), curve, 1)[0]
    return Profile(curve, float(curve.mean()), float(curve[-1] - curve[0]), float(slope))


def profile_interval(
    statistic: SetStatistic,
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    paired: bool,
    seed: Seed,
    groups: int = JACKKNIFE_GROUPS,
    confidence: float = 0.95,
) -> ProfileInterval:
    """:func:`profile` with delete-group jackknife intervals over clips.

    A clip leaves with all of its windows, so the drift is compared within clips.

    Args:
        statistic, reference, generated: as in :func:`profile`.
        paired: True where row i of the reference belongs to clip i (KL, CLAP) and leaves with it; False where the
            reference is a fixed set (FAD, KAD).
        seed: decides the groups.
        groups: number of groups.
        confidence: coverage aimed at.

    Raises:
        ValueError: ``paired`` and another number of reference rows, or as in :func:`profile`.
    """
    first, windows = real_array(reference, "reference"), real_array(generated, "generated")
    if paired and len(first) != len(windows):
        raise ValueError(f"paired, but {len(first)} reference rows for {len(windows)} clips")
    whole = _numbers(profile(statistic, first, windows))
    dealt = deal_groups([len(windows)], groups, seed)
    replicates = []
    for group in tqdm(range(n_groups(dealt)), desc="profile jackknife", delay=2, leave=False):
        keep = dealt[0] != group
        left = profile(statistic, first[keep] if paired else first, windows[keep])
        replicates.append(_numbers(left))
    columns = np.array(replicates).reshape(-1, len(whole)).T
    intervals = [
        Interval(float(value), *jackknife_bounds(value, column, confidence), len(windows), "clip")
        for value, column in zip(whole, columns, strict=True)
    ]
    return ProfileInterval(tuple(intervals[:-3]), *intervals[-3:])


def require_equal_n(n_by_condition: Mapping[str, int]) -> int:
    """The common number of clips of conditions that are to be compared.

    Raises:
        ValueError: they differ (the bias of FAD and IS depends on N), or there is none.
    """
    counts = set(n_by_condition.values())
    if len(counts) != 1:
        listed = ", ".join(f"{name}: {n}" for name, n in n_by_condition.items())
        raise ValueError(f"conditions do not have the same number of clips ({listed}); score the common clips")
    return counts.pop()


def _numbers(result: Profile) -> Array:
    return np.array([*result.curve, result.mean, result.drift, result.slope])


def _window_length(samples: Array, sample_rate: int, window_s: float) -> int:
    length = round(window_s * sample_rate)
    if length < 1:
        raise ValueError(f"window_s={window_s} at {sample_rate} Hz holds no sample")
    if samples.shape[-1] < length:
        raise TooShortAudioError(f"lasts {samples.shape[-1] / sample_rate:.3f} s; a window takes {window_s:g} s")
    return length


def _hash(seed: int, clip_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{clip_id}".encode()).digest()[:8], "big")


def _unit_hash(seed: int, clip_id: str) -> float:
    """In [0, 1): 53 bits, as many as a float64 holds."""
    return (_hash(seed, clip_id) >> 11) / 2**53
