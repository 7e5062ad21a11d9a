"""The report stage: tables and figures of a run, rendered from its records and nothing else."""

import logging
from pathlib import Path

from experiments.figures import speed_figures
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
        speed_figures(rows, run_dir / "figures", _where(runs[-1]))
    return text


def provenance(run: RunRecord) -> str:
    """What was measured, where, and what it cannot say."""
    lines = [f"Measured on {_where(run)}, commit {_commit(run)}, started {run.started_at}."]
    if not run.pipeline["trained"]:
        lines.append(
            f"`{run.pipeline['name']}` has random weights: its speed is that of the published architecture, its audio "
            "is noise, and no quality metric applies."
        )
    return "\n".join(lines)


def _where(run: RunRecord) -> str:
    environment = run.environment
    return (
        f"{run.pipeline['name']}, {environment['device']} ({environment['threads']} threads), "
        f"{environment['dtype']}, torch {environment['packages']['torch']}"
    )


def _commit(run: RunRecord) -> str:
    commit = run.environment["commit"]
    return (
        "unknown (no git checkout)" if commit is None else commit[:12] + ("-dirty" if run.environment["dirty"] else "")
    )
