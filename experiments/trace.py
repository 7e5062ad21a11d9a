"""From a number back to what made it: the records, starts and wavs behind one cell of a run folder's tables.

python -m experiments.trace results/testbed difference_dense "40.96 litefocus" fad
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.records import AA_SUFFIX, ClipRecord, MetricRecord, StartRecord, TimingRecord, located_records
from experiments.records.provenance import commit
from experiments.records.run import Run
from experiments.system.cli import one_line_errors, print_help_if_asked
from experiments.tables.formats import Cell, Estimate, ResultTable
from experiments.tables.run_tables import all_tables

USAGE = 'RUN_FOLDER TABLE "LENGTH METHOD" COLUMN, like results/testbed quality "40.96 litefocus" fad'


def trace(run_dir: Path, table_name: str, row_name: str, column: str) -> list[str]:
    """What made one cell: its value, then a line for each record, start and wav.

    Args:
        table_name: a file's stem under tables/.
        row_name: length in seconds and method, its name or its label.
        column: a column of the table's csv.
    Raises:
        ValueError: no such table, row or column, or a cell that comes of no record of a score or of a timing.
    """
    run = Run.load(run_dir)
    tables = all_tables(run)
    if table_name not in tables:
        raise ValueError(f"no table {table_name!r} in {run_dir}; accepted: {', '.join(sorted(tables))}")
    length, method = _row_key(row_name, run)
    cell = _cell(tables[table_name], length, method, column, run)
    sources = _sources(run, table_name, length, method, column)
    if not sources:
        raise ValueError(
            f"{column} of {table_name} comes of no score or timing; accepted are columns of metrics and of step times"
        )
    clips = _clips(run, sources)
    ids = {record.run_id for record in (*sources, *clips)}
    starts = [start for start in run.of_kind(StartRecord) if start.run_id in ids]
    places = {repr(record): place for place, record in located_records(run_dir) if record.run_id in ids}
    scored_by = {record.run_id for record in sources if isinstance(record, MetricRecord)}
    return [
        f"cell: {table_name}, {row_name}, {column}: {_shown(cell)}",
        *(f"record: {places[repr(record)]} {_told(record)}" for record in sources),
        *(f"start: {places[repr(start)]} {_start_told(start, start.run_id in scored_by)}" for start in starts),
        *(f"wav: {places[repr(clip)]} {clip.audio} sha256 {clip.sha256} start {clip.run_id}" for clip in clips),
    ]


def _row_key(row_name: str, run: Run) -> tuple[float, str]:
    """Length and method's name of a row."""
    number, _, method = row_name.strip().partition(" ")
    try:
        length = float(number)
    except ValueError:
        raise ValueError(f"row {row_name!r}: give length and method, like '40.96 litefocus'") from None
    names = {label: name for name, labels in _labels(run).items() for label in labels}
    return length, names.get(method.strip(), method.strip())


def _labels(run: Run) -> dict[str, set[str]]:
    """Method -> what readers see it called, in tables of scores and of timings."""
    found = {name: {name, label} for name, label in run.labels.items()}
    for timing in run.of_kind(TimingRecord):
        for name, label in timing.labels.items():
            found.setdefault(name, {name}).add(label)
    return found


def _cell(table: ResultTable, length: float, method: str, column: str, run: Run) -> Cell:
    if column not in table.keys or column in ("duration_s", "method"):
        accepted = [key for key in table.keys if key not in ("duration_s", "method")]
        raise ValueError(f"no column {column!r} in {table.name}; accepted: {', '.join(accepted)}")
    labels = _labels(run).get(method, {method})
    rows = [dict(zip(table.keys, row, strict=True)) for row in table.rows]
    found = [row for row in rows if row.get("duration_s") == length and row.get("method") in labels]
    if not found:
        shown = [f"{row.get('duration_s')} {row.get('method')}" for row in rows]
        raise ValueError(f"no row {length:g} {method} in {table.name}; accepted: {', '.join(dict.fromkeys(shown))}")
    return found[0][column]


def _sources(run: Run, table_name: str, length: float, method: str, column: str) -> list[MetricRecord | TimingRecord]:
    """The newest record of a score, of one preset each; or the newest timing of the length."""
    baseline = table_name.removeprefix("difference_") if table_name.startswith("difference_") else ""
    newest: dict[str, MetricRecord] = {}
    for m in run.current_of(MetricRecord):
        key = (m.duration_s, m.method, m.metric, m.window)
        same_baseline = m.baseline == baseline or table_name == f"difference_{m.baseline}_{m.preset.replace('-', '_')}"
        if key == (length, method, column, -1) and same_baseline and _of_table(m.preset, table_name, run):
            newest[m.preset] = m
    if newest:
        return list(newest.values())
    if table_name != "speed":
        return []
    timings = [t for t in run.current_of(TimingRecord) if t.duration_s == length and method in t.latencies_s]
    return list(timings[-1:])


def _of_table(preset: str, table_name: str, run: Run) -> bool:
    """Whether a table shows a preset's scores: of several each has tables of its own, named after it."""
    several = len({m.preset for m in run.current_of(MetricRecord)}) > 1
    return not several or table_name.endswith(f"_{preset.replace('-', '_')}")


def _clips(run: Run, sources: Sequence[MetricRecord | TimingRecord]) -> list[ClipRecord]:
    """The clips behind some scores: of the method, and of what it is a difference to."""
    rows = {
        (m.duration_s, name) for m in sources if isinstance(m, MetricRecord) for name in (m.method, m.baseline) if name
    }
    return [clip for clip in run.current_of(ClipRecord) if (clip.duration_s, clip.method) in rows]


def _shown(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        return f"{cell.value:.6g} [{cell.low:.6g}, {cell.high:.6g}]"
    return "nothing" if cell is None else f"{cell}"


def _told(record: MetricRecord | TimingRecord) -> str:
    if isinstance(record, TimingRecord):
        rounds = max(map(len, record.latencies_s.values()))
        arms = [arm for arm in record.latencies_s if not arm.endswith(AA_SUFFIX)]
        return f"timing of {len(arms)} arms at {record.duration_s:g} s, {rounds} rounds, start {record.run_id}"
    against = f" minus {record.baseline}" if record.baseline else ""
    judges = "; ".join(f"{role}: {name}" for role, name in record.judges.items()) or "not recorded"
    version = "" if record.preset_version is None else f" version {record.preset_version}"
    return (
        f"{record.metric} of {record.method}{against}, preset {record.preset}{version}, {record.n_scored} clips, "
        f"judges {judges}, start {record.run_id}"
    )


def _start_told(start: StartRecord, scored: bool) -> str:
    stages = list(start.config.get("stages", []))
    typed = f", typed {' '.join(start.overrides)}" if start.overrides else ""
    told = f"{start.run_id} ({start.kind}) {start.started_at}, commit {commit(start)}, stages {'+'.join(stages)}{typed}"
    if scored and "score" not in stages:
        return f"{told}; it did not score: the start that did is older than records of such starts, and unknown"
    return told


def main() -> None:
    """The command line."""
    with one_line_errors():
        print_help_if_asked(sys.argv[1:], f"{__doc__}\nGive {USAGE}")
        if len(sys.argv) != 5:
            raise ValueError(f"got {len(sys.argv) - 1} arguments; give {USAGE}")
        print("\n".join(trace(Path(sys.argv[1]), *sys.argv[2:])))


if __name__ == "__main__":
    main()
