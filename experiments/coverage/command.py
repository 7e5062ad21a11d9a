"""Measure the coverage of intervals: `python -m experiments.coverage [repetitions=4000] [out_dir=results/coverage]`.

One thread, no network, a few minutes. The choice of the intervals that are printed (`evaluation.statistics.student`,
`experiments.tables.intervals`) follows from this table.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.coverage.committed import BAND, FEWEST_PROMPTS, committed_rows
from experiments.coverage.distances import DISTANCES, INTERVALS, distance_coverage
from experiments.coverage.means import METHODS, coverage
from experiments.coverage.populations import Population, committed, committed_losses, distributions, size_name
from experiments.system.files import write_whole
from experiments.system.progress import progress
from experiments.tables.formats import Cell, ResultTable, to_csv, to_markdown

RESULTS = Path("results")
# (prompts, seeds of each).
SIZES = ((6, 1), (12, 1), (32, 1), (64, 1), (64, 3), (192, 1))
STUDIES = ("testbed", "third_study")


@dataclass(frozen=True)
class CoverageSettings:
    """Repetitions for means and for distances; the seed of all that is drawn; where the tables go."""

    repetitions: int = 4000
    distance_repetitions: int = 400
    seed: int = 0
    out_dir: str = "results/coverage"


def populations(results: Path) -> list[Population]:
    """Made ones, and LiteFocus minus dense at 4 and 8 times the training length."""
    places = list(itertools.product(STUDIES, (20.48, 40.96)))
    scores = (committed(results / study, "litefocus", "dense", length) for study, length in places)
    losses = (committed_losses(results / study, "litefocus", length) for study, length in places)
    return [*distributions(), *itertools.chain(*scores, *losses)]


def mean_rows(results: Path, repetitions: int, seed: int) -> Iterator[list[Cell]]:
    """A row per population and size: coverage by method, then the share of samples that have an interval."""
    chosen = list(enumerate(populations(results)))
    cells = [(number, of, *size) for number, of in chosen for size in SIZES if of.seeds is None or size[1] <= of.seeds]
    with progress(len(cells), "means", "cell") as bar:
        for number, population, n, seeds in cells:
            rng = np.random.default_rng([seed, number, n, seeds])
            found = coverage(population.sample(rng, repetitions, n, seeds), population.mean, rng)
            shares = [round(found[name][0], 3) for name in METHODS]
            yield [population.name, size_name(n, seeds), *shares, round(found["student t"][1], 3)]
            bar.update()


def distance_rows(repetitions: int, seed: int) -> Iterator[list[Cell]]:
    """A row per distance, scenario and size: coverage and relative width by interval."""
    for distance, scenario in itertools.product(DISTANCES, ("equal", "different")):
        for n, seeds in SIZES:
            found = distance_coverage(distance, scenario, n, seeds, repetitions, np.random.default_rng([seed, n]))
            cells: list[Cell] = [distance, scenario, size_name(n, seeds)]
            for name in INTERVALS:
                cells += [round(value, 3) for value in found[name]] if name in found else [None, None]
            yield cells


def error_note(repetitions: int) -> str:
    """How far a measured share of .95 may be off."""
    error = (0.95 * 0.05 / repetitions) ** 0.5
    return f"{repetitions} repetitions: one standard error of a coverage of .95 is {error:.4f}."


def tables(results: Path, settings: CoverageSettings) -> list[ResultTable]:
    """The three tables."""
    repetitions, fewer, seed = settings.repetitions, settings.distance_repetitions, settings.seed
    means = ResultTable(
        "means",
        "Coverage of nominal 95% intervals of a mean over prompts",
        ["values", "prompts", *METHODS, "with an interval"],
        ["population", "prompts", *(name.replace(" ", "_") for name in METHODS), "has_interval"],
        list(mean_rows(results, repetitions, seed)),
        [
            error_note(repetitions),
            "Printed: Student's t, from 32 prompts on widened where few of them make up the variance. Of paired "
            "differences tables print none below 192 clips: why is in the table `committed`.",
            "Where every value of a sample is equal there is no interval; coverage is of the others.",
            "testbed, third_study: the paired differences of LiteFocus to dense that these folders hold, drawn with "
            "replacement.",
        ],
    )
    wide = [f"{name}, {what}" for name in INTERVALS for what in ("coverage", "width")]
    distances = ResultTable(
        "distances",
        "Coverage of nominal 95% intervals of a distance to fixed references, and of a difference of two",
        ["distance", "methods", "prompts", *wide],
        ["distance", "scenario", "prompts", *(name.replace(", ", "_").replace(" ", "_") for name in wide)],
        list(distance_rows(fewer, seed)),
        [
            error_note(fewer),
            "Width: mean half width over 1.96 standard deviations of the estimate; 1 is right for a normal estimate.",
            "Rectified normal values in 64 dimensions; the two methods share half of their variance. equal: both of "
            "one distribution, so that 1 - coverage of a difference is the type-I error.",
            "Printed: a distance by jackknife, a difference of FAD by influence, a difference of KAD by jackknife.",
        ],
    )
    low, high = BAND
    columns = ["folder", "values", "prompts", "drawn", "printed", "comparisons", "lowest", "median", "highest"]
    committed = ResultTable(
        "committed",
        "Coverage of the intervals of all paired differences that the folders here hold, at their own size",
        [*columns, f"under {low}", f"over {high}", "the lowest is"],
        [*columns, "under", "over", "lowest_of"],
        list(committed_rows(results, repetitions, seed)),
        [
            error_note(repetitions),
            "Each comparison's differences are drawn with replacement, as many prompts as it has, and where that is "
            "too few for an interval, as many as it takes. Scores that tables show and that are means over whole clips "
            f"(no course over time), and denoising losses; comparisons of {FEWEST_PROMPTS} prompts or more whose clips "
            "do not all agree.",
        ],
    )
    return [means, distances, committed]


def write(settings: CoverageSettings) -> str:
    """Write the tables and return them as markdown.

    Raises:
        FileNotFoundError: not at the root of a checkout. ValueError: fewer than two repetitions, or a seed below 0.
    """
    if min(settings.repetitions, settings.distance_repetitions) < 2 or settings.seed < 0:
        raise ValueError(f"got {settings}; give repetitions from 2 and a seed from 0")
    if missing := [study for study in STUDIES if not (RESULTS / study).is_dir()]:
        raise FileNotFoundError(f"no {RESULTS / missing[0]} here; run from the root of the checkout")
    found = tables(RESULTS, settings)
    for table in found:
        write_whole(Path(settings.out_dir) / f"{table.name}.md", to_markdown(table))
        write_whole(Path(settings.out_dir) / f"{table.name}.csv", to_csv(table))
    return "\n".join(map(to_markdown, found))
