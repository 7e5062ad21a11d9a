"""From a number back to what made it: the records, starts and wavs behind one cell of a run folder's tables.

python -m experiments.trace results/third_study difference_dense "40.96 litefocus" fad
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.claims.sources import Source, Traced, trace_cell
from experiments.records import (
    AA_SUFFIX,
    AttentionRecord,
    ClipRecord,
    MetricRecord,
    ProbeLossRecord,
    StartRecord,
    TimingRecord,
    located_records,
)
from experiments.records.provenance import commit
from experiments.records.run import Run
from experiments.system.cli import one_line_errors, print_help_if_asked
from experiments.tables.formats import Cell, Estimate

USAGE = (
    "RUN_FOLDER TABLE ROW COLUMN, like results/third_study quality '40.96 litefocus' fad or "
    "results/third_study denoising_loss '40.96 500 litefocus' difference_percent"
)


def trace(run_dir: Path, table_name: str, row_name: str, column: str) -> list[str]:
    """What made one cell: its value, then a line for each record, start and wav.

    Args:
        table_name: a file's stem under tables/.
        row_name: the row's length, noise level and method or arm, those of them that its table has.
        column: a column of the table's csv.
    Raises:
        ValueError: no such table, row or column, a cell that no record of a measurement made, or errors of `Run.load`.
    """
    run = Run.load(run_dir)
    traced = trace_cell(run, table_name, row_name, column)
    clips = _clips(run, traced)
    ids = {record.run_id for record in (*traced.records, *clips)}
    starts = [start for start in run.of_kind(StartRecord) if start.run_id in ids]
    unknown = sorted(ids - {start.run_id for start in starts})
    places = {repr(record): place for place, record in located_records(run_dir) if record.run_id in ids}
    scored_by = {record.run_id for record in traced.records if isinstance(record, MetricRecord)}
    return [
        f"cell: {table_name}, {row_name}, {column}: {_shown(traced.cell)}",
        *(f"record: {places[repr(record)]} {_told(record)}" for record in traced.records),
        *(f"start: {places[repr(start)]} {_start_told(start, start.run_id in scored_by)}" for start in starts),
        *(f"start: {run_id} has no record: its commit and machine are unknown" for run_id in unknown),
        *(f"wav: {places[repr(clip)]} {clip.audio} sha256 {clip.sha256} start {clip.run_id}" for clip in clips),
    ]


def _clips(run: Run, traced: Traced) -> list[ClipRecord]:
    """The clips behind some scores: of the method, and of what it is a difference to."""
    scores = [record for record in traced.records if isinstance(record, MetricRecord)]
    rows = {(m.duration_s, name) for m in scores for name in (m.method, m.baseline) if name}
    if not rows:
        return []
    return [clip for clip in run.current_of(ClipRecord) if (clip.duration_s, clip.method) in rows]


def _shown(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        interval = "without an interval" if math.isnan(cell.low) else f"[{cell.low:.6g}, {cell.high:.6g}]"
        return f"{cell.value:.6g} {interval}"
    return "nothing" if cell is None else f"{cell}"


def _told(record: Source) -> str:
    start = f"start {record.run_id}"
    if isinstance(record, TimingRecord):
        rounds = max(map(len, record.latencies_s.values()))
        arms = _arms(record.latencies_s)
        return f"timing of {arms} arms at {record.duration_s:g} s, {rounds} rounds, {start}"
    if isinstance(record, ProbeLossRecord):
        seeds = f"noise seed {record.noise_seed}" + ("" if record.key_seed is None else f", key seed {record.key_seed}")
        return f"losses of {len(record.losses)} clips, {record.method}, t = {record.t}, {seeds}, {start}"
    if isinstance(record, AttentionRecord):
        return f"attention of {record.structure['site']}, {len(record.clip_ids)} clips, {start}"
    if isinstance(record, MetricRecord):
        against = f" minus {record.baseline}" if record.baseline else ""
        judges = "; ".join(f"{role}: {name}" for role, name in record.judges.items()) or "not recorded"
        version = "" if record.preset_version is None else f" version {record.preset_version}"
        return (
            f"{record.metric} of {record.method}{against}, preset {record.preset}{version}, {record.n_scored} clips, "
            f"judges {judges}, {start}"
        )
    return f"round of {_arms(record.latencies_s)} arms, {record.level}, {record.duration_s:g} s, {start}"


def _arms(latencies_s: dict[str, list[float]] | dict[str, float]) -> int:
    return sum(not arm.endswith(AA_SUFFIX) for arm in latencies_s)


def _start_told(start: StartRecord, scored: bool) -> str:
    stages = list(start.config.get("stages", []))
    typed = f", typed {' '.join(start.overrides)}" if start.overrides else ""
    told = f"{start.run_id} ({start.kind}) {start.started_at}, commit {commit(start)}, stages {'+'.join(stages)}{typed}"
    if scored and "score" not in stages:
        return f"{told}; it did not score: the start that did is older than records of such starts, and unknown"
    return told


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    with one_line_errors():
        given = list(sys.argv[1:] if words is None else words)
        print_help_if_asked(given, f"{__doc__}\nGive {USAGE}")
        if len(given) != 4:
            raise ValueError(f"got {len(given)} arguments; give {USAGE}")
        print("\n".join(trace(Path(given[0]), *given[1:])))


if __name__ == "__main__":
    main()
