"""Intervals of a difference of two Fréchet distances to the same references, on made embeddings.

Shapes: n prompts, s seeds of each, d embedding size, R repetitions.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.fad import frechet_distance, frechet_influence
from evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, deal_groups, jackknife_bounds
from evaluation.statistics.student import student_bounds
from experiments.system.progress import progress

Array = NDArray[np.float64]
DIMENSIONS = 64
SHARED = 0.5  # of the variance of a clip: what both methods hear of the same prompt and noise
REFERENCES = 64
DISTANCE_METHODS = ("jackknife", "influence")


def made_sets(scenario: str, n: int, seeds: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """(n * s, d) embeddings of two methods, paired, prompt after prompt."""
    scale = np.arange(1, DIMENSIONS + 1) ** -0.5
    shape = (n, seeds, DIMENSIONS)
    prompt = rng.standard_normal((n, 1, DIMENSIONS)) * np.sqrt(SHARED / 2)
    common = prompt + rng.standard_normal(shape) * np.sqrt(SHARED / 2)
    first, second = (common + rng.standard_normal(shape) * np.sqrt(1 - SHARED) for _ in range(2))
    if scenario == "different":
        second = 1.1 * second + 0.1
    one, two = (np.maximum(x, 0).reshape(-1, DIMENSIONS) * scale for x in (first, second))
    return one, two


def made_references(rng: np.random.Generator) -> Array:
    """(m, d) embeddings of other scenes."""
    scale = np.arange(1, DIMENSIONS + 1) ** -0.5
    return np.maximum(rng.standard_normal((REFERENCES, DIMENSIONS)) + 0.3, 0) * scale


def _jackknife(reference: Array, first: Array, second: Array, n: int, seed: int) -> tuple[float, float]:
    seeds = len(first) // n
    groups = np.repeat(deal_groups([n], JACKKNIFE_GROUPS, seed)[0], seeds)
    value = frechet_distance(reference, second) - frechet_distance(reference, first)
    left_out = [
        frechet_distance(reference, second[groups != g]) - frechet_distance(reference, first[groups != g])
        for g in range(groups.max() + 1)
    ]
    return jackknife_bounds(value, left_out, 0.95)


def _influence(reference: Array, first: Array, second: Array, n: int) -> tuple[float, float]:
    value = frechet_distance(reference, second) - frechet_distance(reference, first)
    each = frechet_influence(reference, second) - frechet_influence(reference, first)
    return student_bounds(value, each.reshape(n, -1).mean(axis=1))


def distance_coverage(
    scenario: str, n: int, seeds: int, repetitions: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Method -> coverage of the expected difference at this size, and the relative width (1 is right).

    The references stay: an interval is conditional on them.
    """
    reference = made_references(np.random.default_rng(0))
    values, bounds = [], []
    with progress(repetitions, f"FAD difference, {scenario}, {n} prompts", "sample") as bar:
        for number in range(repetitions):
            first, second = made_sets(scenario, n, seeds, rng)
            values.append(frechet_distance(reference, second) - frechet_distance(reference, first))
            bounds.append((_jackknife(reference, first, second, n, number), _influence(reference, first, second, n)))
            bar.update()
    truth = 0.0 if scenario == "equal" else float(np.mean(values))
    spread, ends = 1.96 * float(np.std(values)), np.array(bounds)
    held = ((ends[..., 0] <= truth) & (truth <= ends[..., 1])).mean(axis=0)
    halves = (ends[..., 1] - ends[..., 0]).mean(axis=0) / 2 / spread
    return {name: (float(held[i]), float(halves[i])) for i, name in enumerate(DISTANCE_METHODS)}
