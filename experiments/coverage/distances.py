"""Intervals of distances between sets, and of their differences between two methods, on made embeddings.

What is printed: by a jackknife over prompts a distance, and a difference of kernel distances (KAD); by the prompts'
influences a difference of Fréchet distances (FAD). The other kind stands beside it where it can be had.

Shapes: n prompts, s seeds of each, d embedding size, G jackknife groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.fad import frechet_distance, frechet_influence
from evaluation.metrics.kad import FixedReference
from evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, deal_groups, jackknife_bounds
from evaluation.statistics.student import influence_bounds
from experiments.system.progress import progress

Array = NDArray[np.float64]
DIMENSIONS = 64
SHARED = 0.5  # of the variance of a clip: what both methods hear of the same prompt and noise
REFERENCES = 64
DISTANCES = ("FAD", "KAD")
INTERVALS = ("distance, jackknife", "difference, jackknife", "difference, influence")


@dataclass(frozen=True)
class Sample:
    """What one set of clips says of a distance.

    Attributes:
        value: the distance. without: (G,) the distance without each group of prompts.
        influences: (n * s,) of the clips, where the distance has them.
    """

    value: float
    without: Array
    influences: Array | None


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


def fad_sample(reference: Array, rows: Array, groups: Array, prompts: Array) -> Sample:
    """Fréchet distance of (n * s, d) rows, of the prompts `prompts` (n * s,) and the groups `groups` (n * s,)."""
    without = [frechet_distance(reference, rows[groups != g]) for g in range(int(groups.max()) + 1)]
    return Sample(frechet_distance(reference, rows), np.array(without), frechet_influence(reference, rows))


def kad_sample(reference: FixedReference, rows: Array, groups: Array, prompts: Array) -> Sample:
    """Kernel distance of the same; seeds of one prompt count as one clip."""
    return Sample(reference.distance(rows, prompts), reference.without_groups(rows, groups, prompts), None)


def interval_bounds(first: Sample, second: Sample, prompts: Sequence[str]) -> Iterator[tuple[float, float]]:
    """Bounds by each of INTERVALS: of the second's distance, and of the second's minus the first's."""
    difference = second.value - first.value
    yield jackknife_bounds(second.value, second.without, 0.95)
    yield jackknife_bounds(difference, second.without - first.without, 0.95)
    if first.influences is not None and second.influences is not None:
        yield from influence_bounds([difference], (second.influences - first.influences)[:, None], prompts)


def distance_coverage(
    distance: str, scenario: str, n: int, seeds: int, repetitions: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Interval -> coverage of the expected value at this size, and the relative width (1 is right).

    The references stay: an interval is conditional on them.
    """
    reference = made_references(np.random.default_rng(0))
    prompts = np.repeat(np.arange(n), seeds)
    units = [str(number) for number in prompts]
    of_set = partial(fad_sample, reference) if distance == "FAD" else partial(kad_sample, FixedReference(reference))
    values, bounds = [], []
    with progress(repetitions, f"{distance}, {scenario}, {n} prompts", "sample") as bar:
        for number in range(repetitions):
            groups = deal_groups([n], JACKKNIFE_GROUPS, number)[0][prompts]
            first, second = (of_set(rows, groups, prompts) for rows in made_sets(scenario, n, seeds, rng))
            values.append((second.value, second.value - first.value))
            bounds.append(list(interval_bounds(first, second, units)))
            bar.update()
    of_distance, of_difference = np.mean(values, axis=0)
    if scenario == "equal":
        of_difference = 0.0
    spread, ends = 1.96 * np.std(values, axis=0), np.array(bounds)
    found = {}
    for place, name in enumerate(INTERVALS[: ends.shape[1]]):
        truth, unit = (of_distance, spread[0]) if name.startswith("distance") else (of_difference, spread[1])
        low, high = ends[:, place].T
        found[name] = float(((low <= truth) & (truth <= high)).mean()), float((high - low).mean() / 2 / unit)
    return found
