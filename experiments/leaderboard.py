"""A table of methods over several runs: seconds of long clips, and whether quality stayed within its margin.

Each row is read from the records of one run folder: those of OWN below `results/`, and every folder that others
submitted to `results/submitted/` (docs/submit.md). `python -m experiments.readme docs/submit.md` writes it.
"""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.records import ClipRecord, RoundRecord, TimingRecord, record_files
from experiments.records.fields import AA_SUFFIX
from experiments.records.provenance import commit, starts_of, where
from experiments.records.run import Run
from experiments.tables.benchmark_tables import arm_rows
from experiments.tables.formats import Cell, ResultTable, interval_cell, ratio_notes
from experiments.tables.lever_table import loop_s, margins_of, speedup, verdict
from experiments.tables.quality_rows import differences, presets
from experiments.tables.speed_rows import Ratio, speed_rows

OWN = ("benchmark_cpu", "benchmark_cpu_80s", "benchmark_linear", "latency_cpu", "levers", "third_study")
SUBMITTED = "submitted"
# Shorter clips gain too little to be ranked; of longer ones than 80 s the paper has none.
SHORTEST_S, LONGEST_S = 40.0, 80.0
KEYS = ("duration_s", "method", "seconds", "of", "speedup", "quality", "place", "commit", "date", "folder")
HEADER = ("length (s)", "method", "seconds", "of", "times faster ↑", "quality", "where", "commit", "date", "folder")


class Entry(NamedTuple):
    """A method's time at a length: median seconds `of` a denoising step, or of text to latents by the clips' own steps.

    `ratio` is the run's baseline over it, within rounds or by clip.
    """

    duration_s: float
    method: str
    label: str
    seconds: float
    of: str
    ratio: Ratio | None


def folders(results: Path) -> list[Path]:
    """The run folders that take part: own ones that are there, then submitted ones by name; of shards alone, too.

    Raises:
        RecordError: as `record_files`.
    """
    own = [results / name for name in OWN]
    return [folder for folder in [*own, *sorted(results.glob(f"{SUBMITTED}/*"))] if record_files(folder)]


def leaderboard(results: Path) -> ResultTable:
    """Every method of every folder at that folder's longest length from 40 to 80 s, fastest first within a place.

    Raises:
        RecordError: a submitted file that is not one of records; names the file and line.
        ValueError: records that are not those of a whole run; names the folder.
    """
    rows = [row for folder in folders(results) for row in _checked_rows(folder, folder.relative_to(results).as_posix())]
    rows.sort(key=lambda row: (-float(str(row[0])), str(row[6]), float(str(row[2]))))
    notes = [
        "Compare within one length and place: seconds of other machines, models or numbers of steps do not compare.",
        "Of: a denoising step, all arms interleaved in one process, or text to latents of the run's own clips.",
        "Quality: the worse end of each paired difference's 95% interval against the margins that the run's "
        "configuration fixed beforehand; what no margin or no score stands for is said.",
        *ratio_notes(row[KEYS.index("speedup")] for row in rows),
    ]
    return ResultTable("leaderboard", "Methods on long clips", HEADER, KEYS, rows, notes, max_decimals=2)


def _checked_rows(folder: Path, name: str) -> list[list[Cell]]:
    try:
        return list(_rows(folder, name))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder}: not the records of a whole run of this harness ({problem})") from error


def _rows(folder: Path, name: str) -> Iterator[list[Cell]]:
    run = Run.load(folder)
    found = [entry for entry in entries(run) if SHORTEST_S <= entry.duration_s <= LONGEST_S]
    if not found:
        return
    longest = max(entry.duration_s for entry in found)
    timed: list[Any] = [*run.current_of(TimingRecord), *run.of_kind(RoundRecord)] or run.of_kind(ClipRecord)
    here = [record for record in timed if record.duration_s == longest]
    start = starts_of(here, run.runs)[-1]
    made = [where(start), commit(start), start.started_at[:10], name]
    for entry in found:
        if entry.duration_s == longest:
            seconds = float(f"{entry.seconds:.4g}")
            yield [longest, entry.label, seconds, entry.of, interval_cell(entry.ratio), _quality(run, entry), *made]


def entries(run: Run) -> list[Entry]:
    """The times of a run: its benchmark's or its timing stage's steps, else its own clips'. Arms that only bound or
    repeat others are left out."""
    if run.of_kind(RoundRecord):
        rows = [r for r in arm_rows(run.records) if (r.cell.level, r.cell.regime) == ("step", "eager") and r.latency_s]
        return [
            Entry(row.cell.duration_s, row.arm, row.label, row.latency_s or math.nan, "step", row.speedup)
            for row in rows
            if not (row.cell.limit and row.arm.startswith(row.cell.limit)) and not row.arm.endswith(AA_SUFFIX)
        ]
    if timings := run.current_of(TimingRecord):
        limits = {timing.limit for timing in timings}
        return [
            Entry(row.duration_s, row.method, row.label, row.step_s, "step", row.speedup)
            for row in speed_rows(run)
            if row.step_s is not None and row.method not in limits and not row.method.endswith(AA_SUFFIX)
        ]
    return _clip_entries(run)


def _clip_entries(run: Run) -> list[Entry]:
    found, clips = [], run.current_of(ClipRecord)
    for duration, method in dict.fromkeys((clip.duration_s, clip.method) for clip in clips):
        here = [clip for clip in clips if clip.duration_s == duration]
        mine = statistics.median(loop_s(clip) for clip in here if clip.method == method)
        steps = next(clip.steps for clip in here if clip.method == method)
        ratio = speedup(here, method, run.baseline)
        label = run.labels.get(method, method)
        found.append(Entry(duration, method, label, mine, f"{steps} steps", ratio))
    return found


def _quality(run: Run, entry: Entry) -> str:
    """In words: the verdict by margins, or why there is none."""
    start = run.runs[-1]
    if not start.pipeline["trained"]:
        return "none: random weights"
    if entry.method == run.baseline:
        return "baseline"
    margins = margins_of(start)
    pairs = [
        record
        for preset in presets(run)[:1]
        for (length, method, base, metric), record in differences(run, preset).items()
        if (length, method, base) == (entry.duration_s, entry.method, run.baseline)
        and (not margins or metric in margins)
    ]
    return verdict(pairs, margins)
