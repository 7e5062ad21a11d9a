"""The report stage: tables and figures of a run, rendered from its records and nothing else."""

import logging
from pathlib import Path

from experiments.figures import speed_figures
from experiments.provenance import provenance, where
from experiments.records import RunRecord, TimingRecord, of_kind, read_records
from experiments.tables import speed_csv, speed_markdown, speed_rows

logger = logging.getLogger(__name__)


def report(run_dir: Path) -> str:
    """Write report.md, speed.csv and figures/ into a run folder.

    Returns:
        The report as markdown.
    Raises:
        ValueError: the folder holds no records.
    """
    records = read_records(run_dir)
    runs = of_kind(records, RunRecord)
    if not runs:
        raise ValueError(f"{run_dir}: no records to report; run the generate or timing stage first")
    rows = speed_rows(records)
    text = f"# {runs[-1].config.get('name', run_dir.name)}\n\n{provenance(runs[-1])}\n\n{speed_markdown(rows)}"
    (run_dir / "report.md").write_text(text, encoding="utf-8")
    (run_dir / "speed.csv").write_text(speed_csv(rows), encoding="utf-8")
    if of_kind(records, TimingRecord):
        speed_figures(rows, run_dir / "figures", where(runs[-1]))
    return text
