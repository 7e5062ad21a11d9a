"""Where one attention site looks, as numbers: what a probe measures and what tables and figures of it read.

Shapes: T frames and F frequency bins of the site's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

FAR_S = 1.0


@dataclass
class SiteStructure:
    """Where one site looks, averaged over clips, heads and queries at one noise level.

    Attributes:
        frames_per_second: of the site's tokens; 0 where unknown.
        same_frequency: attention mass on the query's own bin; `uniform_same_frequency` is 1 / F.
        entropy_gap_nat: ln N minus the entropy of the weights.
        far_same_frequency: mass on the own bin more than `FAR_S` seconds away (nan if the frame rate is unknown).
        frequency_mass, frequency_uniform: mass by |frequency offset| (F,), and that of uniform attention.
        time_mass, time_uniform: mass by |time offset| in frames (T,), and that of uniform attention.
        joint_mass: mass by octave of |time offset| (`octaves`) and by |frequency offset|.
    """

    site: str
    t: int
    frames: int
    frames_per_second: float
    same_frequency: float
    uniform_same_frequency: float
    entropy_gap_nat: float
    far_same_frequency: float
    frequency_mass: list[float] = field(repr=False)
    frequency_uniform: list[float] = field(repr=False)
    time_mass: list[float] = field(repr=False)
    time_uniform: list[float] = field(repr=False)
    joint_mass: list[list[float]] = field(repr=False)

    def joint_over_uniform(self) -> np.ndarray:
        """`joint_mass` over that of uniform attention, (octaves, F)."""
        time = [sum(self.time_uniform[i] for i in group) for group in octaves(self.frames)]
        return np.asarray(self.joint_mass) / np.outer(time, self.frequency_uniform)


def octaves(frames: int) -> list[list[int]]:
    """|Time offsets| 0 .. frames - 1 in groups: 0, 1, 2-3, 4-7, ..."""
    edges = [0, *(2**k for k in range(frames.bit_length()) if 2**k < frames), frames]
    return [list(range(low, high)) for low, high in pairwise(edges)]


def uniform_offsets(n: int) -> list[float]:
    """Mass of uniform attention by |offset| 0 .. n - 1 along an axis of n tokens."""
    return [(1.0 if d == 0 else 2.0) * (n - d) / n**2 for d in range(n)]
