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
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evaluation.audio.io import TooShortAudioError
from evaluation.statistics.bootstrap import (
    Array,
    rows_by_clip,
)

DEFAULT_WINDOW_S = 10.0


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


def _window_length(samples: Array, sample_rate: int, window_s: float) -> int:
    length = round(window_s * sample_rate)
    if length < 1:
        raise ValueError(f"window_s={window_s} at {sample_rate} Hz holds no sample")
    if samples.shape[-1] < length:
        raise TooShortAudioError(f"lasts {samples.shape[-1] / sample_rate:.3f} s; a window takes {window_s:g} s")
    return length


def _hash(seed: int, clip_id: str) -> int:
    name = f"{seed}/{clip_id}".encode("utf-8", "surrogatepass")  # a file's name need not be UTF-8
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")


def _unit_hash(seed: int, clip_id: str) -> float:
    """In [0, 1): 53 bits, as many as a float64 holds."""
    return (_hash(seed, clip_id) >> 11) / 2**53
