"""Loudness of a window as an "embedder", so that level and silence are cut, cached and paired like everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.embedders.protocol import Array, Features, Output, check_waveforms, identity_of
from evaluation.metrics.longform import level_dbfs, silence_ratio

_RATE = 16_000
_FRAME_SAMPLES = _RATE // 10


class LevelEmbedder:
    """RMS level in dBFS and share of silent 0.1 s frames of each window, as a (2,) "embedding"."""

    name = "levels"
    sample_rate = _RATE
    outputs: tuple[Output, ...] = ("embedding",)
    min_samples = _FRAME_SAMPLES
    max_samples: int | None = None
    identity = identity_of("levels 1")

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """See :meth:`evaluation.embedders.protocol.Embedder.embed`."""
        return [
            {"embedding": np.array([level_dbfs(row), silence_ratio(row[None], _RATE)], np.float32)}
            for row in check_waveforms(waveforms, self)
        ]
