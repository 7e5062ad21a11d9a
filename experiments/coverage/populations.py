"""What is drawn from: distributions of one clip's value, and the differences that are committed under results/.

Shapes: R samples, n prompts, s seeds of each.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.records import MetricRecord, of_kind, read_records
from experiments.tables.intervals import prompt_of
from experiments.tables.probe_rows import clip_differences, losses_by_condition

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
# Of a prompt's own effect in the variance of a clip's value.
PROMPT_SHARE = 0.5
METRICS = ("clap", "kl_bernoulli", "hit_rate", "exact_set_rate")


@dataclass(frozen=True)
class Population:
    """What samples are drawn from.

    Attributes:
        name, mean: the true mean. sample: (R, n) means over s seeds of n prompts.
        prompts, seeds: how many it holds, of which a sample takes as many seeds at most; None for any number.
    """

    name: str
    mean: float
    sample: Callable[[np.random.Generator, int, int, int], Array]
    prompts: int | None = None
    seeds: int | None = None


def _of_distribution(name: str, mean: float, draw: Draw) -> Population:
    """Independent draws for prompts and for seeds, weighed so that prompts hold their share of the variance."""
    own, rest = np.sqrt(PROMPT_SHARE), np.sqrt(1 - PROMPT_SHARE)

    def sample(rng: np.random.Generator, repetitions: int, n: int, seeds: int) -> Array:
        if seeds == 1:
            return draw(rng, (repetitions, n))
        return own * draw(rng, (repetitions, n)) + rest * draw(rng, (repetitions, n, seeds)).mean(axis=2)

    return Population(name, mean, sample)


def _zero_inflated(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Three quarters zeros; the others around 0.5, as a rate that few prompts change."""
    return np.where(rng.random(shape) < 0.75, 0.0, rng.normal(0.5, 0.5, shape))


def distributions() -> Iterator[Population]:
    """Normal; skewed (exponential); zero-inflated."""
    yield _of_distribution("normal", 0.0, lambda rng, shape: rng.standard_normal(shape))
    yield _of_distribution("skewed", 0.0, lambda rng, shape: rng.exponential(1.0, shape) - 1.0)
    yield _of_distribution("zero-inflated", 0.0, lambda rng, shape: _zero_inflated(rng, shape) - 0.125)


def committed(run_dir: Path, method: str, baseline: str, duration_s: float) -> Iterator[Population]:
    """Paired differences of one comparison, a population by metric: prompts are drawn, then seeds of each.

    Raises:
        ValueError: a clip without a value, or seeds that not all prompts have.
    """
    plain = [m for m in of_kind(read_records(run_dir), MetricRecord) if not m.baseline and m.window < 0]
    for metric in METRICS:
        values = {
            m.method: m.details["per_clip"]
            for m in plain
            if (m.metric, m.duration_s) == (metric, duration_s) and "per_clip" in m.details
        }
        if method in values and baseline in values:
            one, other = values[method], values[baseline]
            both = {clip: one[clip] - other[clip] for clip in one.keys() & other.keys()}
            yield of_differences(f"{run_dir.name}: {metric} at {duration_s:g} s", both)


def committed_losses(run_dir: Path, method: str, duration_s: float) -> Iterator[Population]:
    """Differences to dense in denoising loss, those that its table prints the mean of; a population by noise level.

    Raises:
        ValueError: a noise level at which the method has no clip and noise in common with dense.
    """
    found = losses_by_condition(read_records(run_dir))
    for t in sorted({level for length, level, name in found if (length, name) == (duration_s, method)}):
        differences = np.array([*clip_differences(found, duration_s, t, method).values()])
        if not len(differences):
            raise ValueError(
                f"{run_dir}: no loss of {method} at {duration_s:g} s, t = {t}, shares its clips and noise with one of "
                "dense, so there are no differences to draw; restore the records of dense, or probe it too"
            )
        yield of_table(f"{run_dir.name}: loss at {duration_s:g} s, t = {t}", differences[:, None])


def of_differences(name: str, differences: Mapping[str, float]) -> Population:
    """Prompts of clip id -> paired difference, drawn with replacement, then seeds of each.

    Raises:
        ValueError: a value that is no number, or seeds that some prompts lack.
    """
    by_prompt: dict[str, list[float]] = {}
    for clip in sorted(differences):
        by_prompt.setdefault(prompt_of(clip), []).append(differences[clip])
    if len({len(seeds) for seeds in by_prompt.values()}) != 1 or not np.isfinite([*by_prompt.values()]).all():
        raise ValueError(f"{name}: accepted are finite values of as many seeds of every prompt; score its clips anew")
    return of_table(name, np.array(list(by_prompt.values())))


def of_table(name: str, table: Array) -> Population:
    """Rows of (prompts, seeds) values, drawn with replacement, then seeds of each."""

    def sample(rng: np.random.Generator, repetitions: int, n: int, seeds: int) -> Array:
        rows = table[rng.integers(len(table), size=(repetitions, n))]
        if seeds == table.shape[1]:
            return rows.mean(axis=2)
        chosen = rng.integers(table.shape[1], size=(repetitions, n, seeds))
        return np.take_along_axis(rows, chosen, axis=2).mean(axis=2)

    return Population(name, float(table.mean()), sample, *table.shape)


def size_name(n: int, seeds: int) -> str:
    """Prompts, times seeds where there are several."""
    return str(n) if seeds == 1 else f"{n} x {seeds}"
