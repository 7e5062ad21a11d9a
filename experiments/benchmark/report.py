"""A benchmark's tables and figures, from its records alone: python -m experiments.benchmark.report FOLDER"""

import sys
from pathlib import Path

from experiments.figures.latency_figure import latency_figures
from experiments.records import RunRecord
from experiments.records.provenance import where
from experiments.records.run import Run
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import write_whole
from experiments.tables.benchmark_tables import arm_rows, benchmark_tables
from experiments.tables.formats import to_markdown_together
from experiments.tables.quality_tables import write_tables


def benchmark_report(run_dir: Path) -> str:
    """Write report.md, tables/ and figures/ into a benchmark's folder and return the report.

    Raises:
        ValueError: the folder holds no finished round, or errors of `Run.load`.
    """
    found = Run.load(run_dir)
    rows = arm_rows(found.records)
    if not any(row.rounds for row in rows):
        raise ValueError(f"{run_dir}: no finished round to report; run python -m experiments.benchmark first")
    tables = benchmark_tables(found.records)
    write_tables(tables, run_dir / "tables")
    run = found.of_kind(RunRecord)[-1]
    latency_figures(rows, run_dir / "figures", where(run))
    text = f"# {run.config.get('name', run_dir.name)}\n\n{to_markdown_together(tables)}"
    write_whole(run_dir / "report.md", text)
    return text


def main() -> None:
    """The command line: redraw a benchmark's report."""
    with one_line_errors():
        run_dir = one_folder(sys.argv[1:], "results/benchmark_cpu", __doc__)
        print(f"{benchmark_report(run_dir)}\nresults: {run_dir}")


if __name__ == "__main__":
    main()
