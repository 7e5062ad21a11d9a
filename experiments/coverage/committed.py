"""Coverage of the intervals that the tables of this repository print, or refuse: of every paired difference they hold.

`experiments.coverage.means` asks which interval to choose, of a few populations at many sizes; this asks of all
comparisons at the size that they have. What is below the floor is drawn at the floor's size, too, as the reason for it.
"""

import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.results.interval_floors import FEWEST, kind_of
from experiments.coverage.means import printed, with_spread
from experiments.coverage.populations import Population, of_differences, of_table, size_name
from experiments.records.run import Run
from experiments.system.progress import progress
from experiments.tables.formats import Cell
from experiments.tables.intervals import Intervals
from experiments.tables.probe_rows import BASELINE, LITEFOCUS, clip_differences, losses_by_condition
from experiments.tables.quality_rows import differences, headline, presets

# Fewer prompts say too little of what others they were drawn from.
FEWEST_PROMPTS = 64
BAND = (0.93, 0.97)


def score_differences(run: Run) -> Iterator[tuple[str, Population]]:
    """(metric, a method to a baseline at a length) of every mean over clips that tables of differences show."""
    for preset in presets(run):
        found = differences(run, preset)
        shown = headline({record.metric: record for record in found.values()})
        intervals = Intervals(run.current, preset)
        for (duration_s, method, baseline, metric), record in found.items():
            if metric in shown and kind_of(metric, baseline) == "difference" and (values := intervals.per_clip(record)):
                yield metric, of_differences(f"{method} to {baseline} at {duration_s:g} s", values)


def loss_differences(run: Run) -> Iterator[tuple[str, Population]]:
    """("denoising loss", a method to dense or to LiteFocus at a length and noise level)."""
    found = losses_by_condition(run.records)
    for duration_s, t, method in sorted(found):
        for baseline in (BASELINE, LITEFOCUS):
            values = clip_differences(found, duration_s, t, method, baseline)
            if values and method != baseline and (method, baseline) != (BASELINE, LITEFOCUS):
                name = f"{method} to {baseline}, t = {t} at {duration_s:g} s"
                yield "denoising loss", of_table(name, np.array([*values.values()])[:, None])


def committed_rows(results: Path, repetitions: int, seed: int) -> Iterator[list[Cell]]:
    """A row per folder, value and size, of folders whose comparisons have FEWEST_PROMPTS or more.

    Comparisons of which all clips agree are left out: they have no interval.
    """
    folders = sorted(path.parent for path in results.glob("*/report.md"))
    with progress(len(folders), "committed differences", "folder") as bar:
        for folder in folders:
            for (what, prompts, seeds), found in _by_size(Run.load(folder)).items():
                own = (prompts, seeds)
                sizes = [own] if _allowed(*own) else [own, (FEWEST["difference"].clips // seeds, seeds)]
                for size in sizes:
                    rng = np.random.default_rng([seed, zlib.crc32(f"{folder.name} {what}".encode()), *size])
                    drawn = [(p.name, covered(p, *size, repetitions, rng)) for p in found]
                    printed_at = ("yes" if size == own else "would be") if _allowed(*size) else "no"
                    if shares := [(share, name) for name, share in drawn if not np.isnan(share)]:
                        yield [folder.name, what, size_name(*own), size_name(*size), printed_at, *_summary(shares)]
            bar.update()


def _by_size(run: Run) -> dict[tuple[str, int, int], list[Population]]:
    """(value, prompts, seeds of each) -> its comparisons, of those that have FEWEST_PROMPTS."""
    found: dict[tuple[str, int, int], list[Population]] = {}
    for what, population in itertools.chain(score_differences(run), loss_differences(run)):
        prompts, seeds = population.prompts or 0, population.seeds or 1
        if prompts >= FEWEST_PROMPTS:
            found.setdefault((what, prompts, seeds), []).append(population)
    return found


def _allowed(prompts: int, seeds: int) -> bool:
    return FEWEST["difference"].reached(prompts, prompts * seeds)


def covered(population: Population, n: int, seeds: int, repetitions: int, rng: np.random.Generator) -> float:
    """How often the printed interval of n prompts holds the population's mean; nan where no sample has one."""
    x = with_spread(population.sample(rng, repetitions, n, seeds))
    if not len(x):
        return float("nan")
    low, high = printed(x, np.empty(0))
    return float(((low <= population.mean) & (population.mean <= high)).mean())


def _summary(found: Sequence[tuple[float, str]]) -> list[Cell]:
    """Count, lowest, median, highest, how many lie outside of BAND on either side, and which is the lowest."""
    shares, (low, high) = np.array([share for share, _ in found]), BAND
    quantiles = [round(float(np.quantile(shares, q)), 3) for q in (0, 0.5, 1)]
    return [len(found), *quantiles, int((shares < low).sum()), int((shares > high).sum()), min(found)[1]]
