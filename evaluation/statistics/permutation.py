"""Could it be chance? A permutation p-value in which whole clips change sides; rows and clips as in `bootstrap`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from evaluation.statistics.bootstrap import Seed, Statistic, as_paired_rows, check_numbers, rows_by_clip

_ROUNDING = 1e-12


def paired_permutation_p_value(
    statistic: Statistic,
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    seed: Seed,
    clips: ArrayLike | None = None,
    permutations: int = 999,
) -> float:
    """Two-sided p-value of ``statistic(candidate) - statistic(baseline)`` under swaps of the two within clips.

    Row i of both arrays comes from the same clip. nan with fewer than two clips.
    """
    first, second = as_paired_rows(baseline, candidate)
    members = rows_by_clip(clips, len(first))
    if len(members) < 2:
        return np.nan
    check_numbers(resamples=permutations)
    clip_of_row = np.empty(len(first), dtype=np.int64)
    for number, rows in enumerate(members):
        clip_of_row[rows] = number
    observed = abs(float(statistic(second)) - float(statistic(first)))
    generator = np.random.default_rng(seed)
    hits = 0
    for _ in tqdm(range(permutations), desc="permutations", delay=2, leave=False):
        swap = (generator.random(len(members)) < 0.5)[clip_of_row].reshape(-1, *[1] * (first.ndim - 1))
        left, right = np.where(swap, second, first), np.where(swap, first, second)
        hits += abs(float(statistic(right)) - float(statistic(left))) >= observed * (1 - _ROUNDING)
    return (1 + hits) / (1 + permutations)
