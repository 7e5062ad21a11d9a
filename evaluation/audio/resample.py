"""The one resampler of this package, pinned by name: soxr at its highest quality.

The resampler moves published scores (FD by tens of units between tools), and keeping every second sample folds
everything above the new Nyquist frequency back into the band. Shapes: C channels, T samples.
"""

from __future__ import annotations

import numpy as np
import soxr

from evaluation.statistics.bootstrap import Array

RESAMPLER = f"soxr-{soxr.__version__}-VHQ"
"""Name to be kept with every result."""


def resample(samples: Array, from_rate: int, to_rate: int) -> Array:
    """(..., T) samples at ``from_rate`` Hz to (..., T * to_rate / from_rate) at ``to_rate`` Hz, linear phase.

    Equal rates return the argument itself. dtype float32 or float64 is kept.

    Raises:
        ValueError: a rate that is not a positive integer, or samples that are not floating point.
    """
    for rate in (from_rate, to_rate):
        if rate != int(rate) or rate <= 0:
            raise ValueError(f"sample rate {rate}; give a positive integer in Hz")
    if samples.dtype not in (np.float32, np.float64):
        raise ValueError(f"samples are {samples.dtype}; give float32 or float64 in [-1, 1]")
    if from_rate == to_rate:
        return samples
    flat = samples.reshape(-1, samples.shape[-1]).T
    converted = soxr.resample(np.ascontiguousarray(flat), from_rate, to_rate, quality="VHQ")
    return np.ascontiguousarray(converted.T).reshape(*samples.shape[:-1], -1)
