"""What a cell of a run's tables was made of: the records behind it, of every kind of table.

A row is named as its table shows it, by the cells of its key columns with spaces between: "40.96 litefocus" of a table
of scores, "40.96 500 litefocus" of losses, "500 litefocus" of their change with length, "40.96 500" of attention,
"80 LiteFocus" or, where the lengths are columns, "LiteFocus" of a benchmark. A method may be named by its name or by
its label.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.records import AttentionRecord, CellRecord, MetricRecord, ProbeLossRecord, RoundRecord, TimingRecord
from experiments.records.run import Run
from experiments.tables.benchmark_tables import LEVEL_TITLES
from experiments.tables.formats import Cell, ResultTable
from experiments.tables.probe_rows import (
    BASELINE,
    FRESH_KEYS,
    LITEFOCUS,
    newest_attention,
    newest_losses,
    probe_labels,
)
from experiments.tables.probe_tables import CHANGE_TO_LITEFOCUS, TO_LITEFOCUS
from experiments.tables.run_tables import all_tables

Source = MetricRecord | TimingRecord | ProbeLossRecord | AttentionRecord | RoundRecord
ROW_KEYS = ("duration_s", "t", "method", "arm")
MADE_ELSEWHERE = ("note", "published")
BENCHMARK = re.compile(rf"(?P<level>{'|'.join(LEVEL_TITLES)})_(?P<regime>eager|compiled)(?P<by_length>_speedup)?")


@dataclass(frozen=True)
class Traced:
    """A cell and its records.

    Attributes:
        cell: as the table holds it. records: the newest of each, oldest first; a difference of scores before the two.
        method: the name of the row's method, empty for a row of none. duration_s: the row's or the column's length.
    """

    cell: Cell
    records: list[Source]
    method: str
    duration_s: float


def trace_cell(run: Run, table_name: str, row_name: str, column: str) -> Traced:
    """Find a cell and the records that it was made of.

    Args:
        table_name: a file's stem under tables/. column: a column of the table's csv.
    Raises:
        ValueError: no such table, row or column, or a cell that no record of a measurement made.
    """
    tables = all_tables(run)
    if table_name not in tables:
        raise ValueError(f"no table {table_name!r} in {run.folder}; accepted: {', '.join(sorted(tables))}")
    table = tables[table_name]
    columns = [key for key in table.keys if key not in ROW_KEYS]
    if column not in columns:
        raise ValueError(f"no column {column!r} in {table_name}; accepted: {', '.join(columns)}")
    names = _names(run)
    row = _row(table, row_name, names)
    method = names.get(str(row.get("method", row.get("arm", ""))), "")
    length = float(str(row["duration_s"])) if "duration_s" in row else _length(column)
    records = [] if column in MADE_ELSEWHERE else _records(run, table_name, row, method, length, column)
    if not records:
        raise ValueError(f"{column} of {table_name} comes of no record of a score, a loss, an attention or a timing")
    return Traced(row[column], records, method, length)


def _names(run: Run) -> dict[str, str]:
    """Every name and label under which tables show a method -> its name."""
    losses = [r.method for r in run.of_kind(ProbeLossRecord)]
    labels = {name: name for name in losses} | probe_labels(run.records)
    labels |= {} if run.of_kind(CellRecord) else run.labels  # a benchmark's cells say their own
    found = {label: name for name, label in labels.items()} | {name: name for name in labels}
    found |= {f"{label}, fresh keys": name + FRESH_KEYS for label, name in list(found.items())}
    timed: list[TimingRecord | CellRecord] = [*run.of_kind(TimingRecord), *run.of_kind(CellRecord)]
    for record in timed:
        found |= {label: name for name, label in record.labels.items()} | {name: name for name in record.labels}
    return found


def _row(table: ResultTable, row_name: str, names: Mapping[str, str]) -> dict[str, Cell]:
    """The row of a name.

    Raises:
        ValueError: none; the message lists those that there are.
    """
    rows = [dict(zip(table.keys, row, strict=True)) for row in table.rows]
    keys = [key for key in ROW_KEYS if key in table.keys]
    shown = {" ".join(_words(row, keys)): row for row in rows}
    plain = {" ".join(names.get(word, word) for word in _words(row, keys)): row for row in rows}
    found = shown.get(row_name.strip(), plain.get(row_name.strip()))
    if found is None:
        raise ValueError(f"no row {row_name!r} in {table.name}; accepted: {', '.join(shown)}")
    return found


def _words(row: Mapping[str, Cell], keys: list[str]) -> list[str]:
    return [f"{row[key]:g}" if isinstance(row[key], float | int) else str(row[key]) for key in keys]


def _length(column: str) -> float:
    """Seconds of a benchmark's column, `speedup_80s`."""
    found = re.fullmatch(r"speedup_([0-9.]+)s", column)
    return float(found[1]) if found else math.nan


def _records(
    run: Run, table_name: str, row: Mapping[str, Cell], method: str, length: float, column: str
) -> list[Source]:
    if table_name == "speed":
        return [timing for timing in run.timings.get(length, []) if method in timing.latencies_s]
    if table_name in ("denoising_loss", "denoising_loss_trend"):
        lengths = {row.get(end, length) for end in ("shortest_s", "longest_s")}
        asked = {method, BASELINE} if column.endswith("percent") or "longest_s" in row else {method}
        asked |= {LITEFOCUS} if column in (TO_LITEFOCUS, CHANGE_TO_LITEFOCUS) else set()
        losses = newest_losses(run.records)
        return [r for r in losses if r.duration_s in lengths and r.t == row["t"] and _in(r, asked)]
    if table_name == "attention":
        found = newest_attention(run.records)
        return [r for r in found if (r.duration_s, r.structure["t"]) == (length, row["t"])]
    if benchmark := BENCHMARK.fullmatch(table_name):
        key = (benchmark["level"], benchmark["regime"], length)
        rounds = [r for r in run.of_kind(RoundRecord) if (r.level, r.regime, r.duration_s) == key]
        return [r for r in rounds if method in r.latencies_s]
    return [*_scores(run, table_name, length, method, column)]


def _in(record: ProbeLossRecord, methods: set[str]) -> bool:
    return (record.method if record.key_seed is None else record.method + FRESH_KEYS) in methods


def _scores(run: Run, table_name: str, length: float, method: str, column: str) -> list[MetricRecord]:
    """The newest record of a score, of one preset each; behind a difference those whose clips give its interval."""
    baseline = table_name.removeprefix("difference_") if table_name.startswith("difference_") else ""
    scores = [m for m in run.current_of(MetricRecord) if (m.duration_s, m.metric, m.window) == (length, column, -1)]
    newest: dict[str, MetricRecord] = {}
    for m in scores:
        same_baseline = m.baseline == baseline or table_name == f"difference_{m.baseline}_{m.preset.replace('-', '_')}"
        if m.method == method and same_baseline and _of_table(m.preset, table_name, run):
            newest[m.preset] = m
    sides = {
        (m.preset, m.method): m
        for m in scores
        if not m.baseline and "per_clip" in m.details and m.preset in newest and newest[m.preset].baseline
        if m.method in (method, newest[m.preset].baseline)
    }
    return [*newest.values(), *sides.values()]


def _of_table(preset: str, table_name: str, run: Run) -> bool:
    """Whether a table shows a preset's scores: of several each has tables of its own, named after it."""
    several = len({m.preset for m in run.current_of(MetricRecord)}) > 1
    return not several or table_name.endswith(f"_{preset.replace('-', '_')}")
