"""Loudness and clipping of a window as an "embedder", so that they are cut, cached and paired like everything else.

Loudness is the integrated one of ITU-R BS.1770-4 (LUFS) of the mono mix: K-weighting, mean square over blocks of 0.4 s
every 0.1 s, blocks below -70 LUFS left out, then those 10 LU below the mean of the others. A window is one programme.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from evaluation.embedders.protocol import Features, Output, check_waveforms, identity_of
from evaluation.statistics.bootstrap import Array

RATE = 48_000
SILENT_LUFS = -70.0
"""The absolute gate; also what a window gets in which no block passes it."""
FULL_SCALE = 0.999
_BLOCK, _STEP = 4 * RATE // 10, RATE // 10
_OFFSET_LU, _RELATIVE_LU = -0.691, -10.0
# Tables 1 and 2 of BS.1770-4, for 48 kHz: the shelf of the head, then the high pass.
_K_WEIGHTING = (
    ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585]),
    ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]),
)


class LoudnessEmbedder:
    """Integrated loudness in LUFS and share of 0.1 s frames that reach full scale, as a (2,) "embedding"."""

    name = "loudness"
    sample_rate = RATE
    outputs: tuple[Output, ...] = ("embedding",)
    min_samples = _BLOCK
    max_samples: int | None = None
    identity = identity_of("loudness 1")

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """See :meth:`evaluation.embedders.protocol.Embedder.embed`."""
        return [
            {"embedding": np.array([integrated_loudness(row), clipped_share(row)], np.float32)}
            for row in check_waveforms(waveforms, self)
        ]


def integrated_loudness(samples: Array) -> float:
    """LUFS of (S,) samples at 48 kHz, at least -70; a full-scale sine of 997 Hz has -3.01.

    Raises:
        ValueError: shorter than a block of 0.4 s.
    """
    if len(samples) < _BLOCK:
        raise ValueError(f"{len(samples)} samples; a loudness takes {_BLOCK}, 0.4 s at 48 kHz")
    weighted = samples.astype(np.float64)
    for numerator, denominator in _K_WEIGHTING:
        weighted = lfilter(numerator, denominator, weighted)
    steps = np.square(weighted[: len(weighted) // _STEP * _STEP]).reshape(-1, _STEP).mean(axis=1)
    power = np.lib.stride_tricks.sliding_window_view(steps, _BLOCK // _STEP).mean(axis=1)
    loud = power[_lufs(power) > SILENT_LUFS]
    if not len(loud):
        return SILENT_LUFS
    gated = loud[_lufs(loud) > _lufs(loud.mean()) + _RELATIVE_LU]
    return float(_lufs(gated.mean()))


def clipped_share(samples: Array) -> float:
    """Share in [0, 1] of whole 0.1 s frames of (S,) samples at 48 kHz in which any reaches 99.9 % of full scale."""
    frames = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP)
    return float((np.abs(frames).max(axis=1) >= FULL_SCALE).mean())


def _lufs(power: Array | np.floating) -> Array:
    return np.asarray(_OFFSET_LU + 10 * np.log10(np.maximum(power, 1e-20)))
