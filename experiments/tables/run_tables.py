"""All tables of a run folder, and those of several runs as one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.records import ClipRecord, RoundRecord, StartRecord, TimingRecord
from experiments.records.provenance import places, provenance, starts_of
from experiments.records.run import Run
from experiments.tables.benchmark_tables import benchmark_tables
from experiments.tables.formats import Cell, ResultTable
from experiments.tables.lever_table import has_factors, lever_table
from experiments.tables.probe_tables import probe_tables
from experiments.tables.quality_tables import result_tables
from experiments.tables.speed_rows import speed_rows
from experiments.tables.speed_table import speed_table


def tables_of(run_dir: Path) -> dict[str, ResultTable]:
    """All tables that a run folder's records can fill, by name.

    Raises:
        ValueError: the folder holds no records.
    """
    return all_tables(Run.load(run_dir))


WITHIN = "Intervals, bold and better or worse are of each run by itself; nothing here tests one run against another."


def joined_tables(runs: Mapping[str, Mapping[str, ResultTable]]) -> dict[str, ResultTable]:
    """The tables of several runs by name, each run's rows under its name; a column that a run lacks stays empty there.

    Args:
        runs: run -> its tables.
    """
    joined = {}
    for name in dict.fromkeys(name for tables in runs.values() for name in tables):
        found = {run: tables[name] for run, tables in runs.items() if name in tables}
        columns = {key: text for table in found.values() for key, text in zip(table.keys, table.header, strict=True)}
        rows: list[list[Cell]] = []
        for run, table in found.items():
            cells = (dict(zip(table.keys, row, strict=True)) for row in table.rows)
            rows += [[run, *(row.get(key) for key in columns)] for row in cells]
        notes = {
            note: [run for run, table in found.items() if note in table.notes]
            for table in found.values()
            for note in table.notes
        }
        told = [note if len(of) == len(found) else f"{', '.join(of)}: {note}" for note, of in notes.items()]
        first = next(iter(found.values()))
        header, keys = ["run", *columns.values()], ["run", *columns]
        joined[name] = replace(first, header=header, keys=keys, rows=rows, notes=[WITHIN, *told])
    return joined


def all_tables(run: Run) -> dict[str, ResultTable]:
    """All tables that a run's records can fill, by name; raises as `tables_of`."""
    if not run.of_kind(StartRecord):
        raise ValueError(f"{run.folder}: no records to make tables from; run the experiment or fetch its results first")
    tables = [*result_tables(run), *probe_tables(run.records)]
    if run.of_kind(ClipRecord) and run.runs and has_factors(run.runs[-1]):
        tables.append(lever_table(run))
    if timings := run.current_of(TimingRecord):
        notes = [*provenance(starts_of(timings, run.runs)).replace("`", "").splitlines(), run.settings()]
        tables.append(
            speed_table(speed_rows(run), run.runs[-1], [*_starts_note(run), *_clips_note(run, timings), *notes])
        )
    if run.of_kind(RoundRecord):
        tables.extend(benchmark_tables(run.records))
    return {table.name: table for table in tables}


def _clips_note(run: Run, timings: list[TimingRecord]) -> list[str]:
    """Where the clips were made, unless as the steps were timed and by one process: their seconds are of there."""
    clips = run.current_of(ClipRecord)
    if not clips:
        return []
    where, made = places(clips, run.runs), starts_of(clips, run.runs)
    shards = max(start.config.get("shard", {}).get("count", 1) for start in made)
    if where == places(timings, run.runs) and shards == 1:
        return []
    beside = f", {shards} processes side by side" if shards > 1 else ""
    return [f"s/clip and real-time factor: of the clips as they were generated, on {where}{beside}."]


def _starts_note(run: Run) -> list[str]:
    """How many starts timed each length, where several did."""
    counts = {len(timings) for timings in run.timings.values()}
    rounds = {len(seconds) for timings in run.timings.values() for t in timings for seconds in t.latencies_s.values()}
    if max(counts) == 1:
        return []
    return [f"Timed by {_spread(counts)} starts, {_spread(rounds)} rounds each."]


def _spread(counts: set[int]) -> str:
    """One number, or the range of several."""
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
