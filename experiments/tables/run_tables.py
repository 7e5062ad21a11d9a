"""All tables of a run folder."""

from pathlib import Path

from experiments.records import ClipRecord, RoundRecord, StartRecord, TimingRecord
from experiments.records.provenance import provenance, starts_of
from experiments.records.run import Run
from experiments.tables.benchmark_tables import benchmark_tables
from experiments.tables.formats import ResultTable
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


def all_tables(run: Run) -> dict[str, ResultTable]:
    """All tables that a run's records can fill, by name; raises as `tables_of`."""
    if not run.of_kind(StartRecord):
        raise ValueError(f"{run.folder}: no records to make tables from; run the experiment or fetch its results first")
    tables = [*result_tables(run), *probe_tables(run.records)]
    if run.of_kind(ClipRecord) and run.runs and has_factors(run.runs[-1]):
        tables.append(lever_table(run))
    if timings := run.of_kind(TimingRecord):
        notes = [*provenance(starts_of(timings, run.runs)).replace("`", "").splitlines(), run.settings()]
        tables.append(speed_table(speed_rows(run), run.runs[-1], notes))
    if run.of_kind(RoundRecord):
        tables.extend(benchmark_tables(run.records))
    return {table.name: table for table in tables}
