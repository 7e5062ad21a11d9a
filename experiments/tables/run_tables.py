"""All tables of a run folder."""

from pathlib import Path

from experiments.records import (
    ClipRecord,
    RoundRecord,
    RunRecord,
    StartRecord,
    TimingRecord,
    of_kind,
    read_records,
)
from experiments.records.current import current
from experiments.records.provenance import provenance, settings_line, starts_of
from experiments.tables.benchmark_tables import benchmark_tables
from experiments.tables.formats import ResultTable
from experiments.tables.lever_table import has_factors, lever_table
from experiments.tables.probe_tables import probe_tables
from experiments.tables.quality_tables import result_tables
from experiments.tables.speed_rows import speed_rows
from experiments.tables.speed_table import speed_table


def tables_of(run_dir: Path) -> dict[str, ResultTable]:
    """All tables that a run's records can fill, by name.

    Raises:
        ValueError: the folder holds no records.
    """
    records = read_records(run_dir)
    runs = of_kind(records, RunRecord)
    if not of_kind(records, StartRecord):
        raise ValueError(f"{run_dir}: no records to make tables from; run the experiment or fetch its results first")
    tables = [*result_tables(records), *probe_tables(records)]
    if any(isinstance(record, ClipRecord) for record in records) and runs and has_factors(runs[-1]):
        tables.append(lever_table(records))
    if timings := of_kind(records, TimingRecord):
        notes = [*provenance(starts_of(timings, runs)).replace("`", "").splitlines(), settings_line(current(records))]
        tables.append(speed_table(speed_rows(records), runs[-1], notes))
    if of_kind(records, RoundRecord):
        tables.extend(benchmark_tables(records))
    return {table.name: table for table in tables}
