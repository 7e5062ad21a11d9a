"""Could it be chance? Permutation p-values in which whole clips change sides; rows and clips as in `bootstrap`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from evaluation.bootstrap import Array, Seed, Statistic, as_paired_rows, as_rows, check_numbers, rows_by_clip

_ROUNDING = 1e-12


def permutation_p_value(
    statistic: Callable[[Array, Array], float],
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    seed: Seed,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    permutations: int = 999,
) -> float:
    """Chance that clips from one common source lie at least as far apart (large statistic) as these two sets.

    Clips change sets. (1 + hits) / (1 + permutations) is never 0; nan with fewer than two clips on a side.
    """
    first, second = as_rows(reference, "reference"), as_rows(generated, "generated")
    pooled = np.concatenate([first, second])
    members = rows_by_clip(reference_clips, len(first))
    n_first = len(members)
    members += [rows + len(first) for rows in rows_by_clip(generated_clips, len(second))]
    if n_first < 2 or len(members) - n_first < 2:
        return np.nan
    check_numbers(resamples=permutations)
    observed = float(statistic(first, second))
    generator = np.random.default_rng(seed)
    hits = 0
    for _ in tqdm(range(permutations), desc="permutations", delay=2, leave=False):
        order = generator.permutation(len(members))
        left = np.concatenate([members[i] for i in order[:n_first]])
        right = np.concatenate([members[i] for i in order[n_first:]])
        # A tie is reached through other sums of the same numbers: it must count in spite of rounding.
        hits += float(statistic(pooled[left], pooled[right])) >= observed - _ROUNDING * abs(observed)
    return (1 + hits) / (1 + permutations)


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
