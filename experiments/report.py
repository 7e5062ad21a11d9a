"""The report of a run: tables, figures and the listening page, rendered from its records and nothing else.

python -m experiments.report runs/durations
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.figures.gate_figures import gate_figure
from experiments.figures.probe_figures import probe_figures
from experiments.figures.quality_figures import quality_figures
from experiments.figures.speed_figures import speed_figures
from experiments.figures.step_time_figure import step_time_figure
from experiments.figures.training_figures import training_figure
from experiments.listen.page import write_listening_page
from experiments.listen.spectrogram_figure import spectrogram_figure
from experiments.records import (
    ClipRecord,
    MetricRecord,
    ProbeRunRecord,
    Record,
    RunRecord,
    StartRecord,
    TimingRecord,
    of_kind,
    read_records,
)
from experiments.records.current import current
from experiments.records.provenance import places, provenance, settings_line
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import write_whole
from experiments.tables.escaping import plain_line
from experiments.tables.formats import to_markdown
from experiments.tables.quality_tables import write_tables
from experiments.tables.run_tables import tables_of
from experiments.tables.speed_rows import speed_rows

logger = logging.getLogger(__name__)

# Tables that are written as files but not shown in the report.
DETAIL = "all_metrics"
QUALITY_FIGURES = ("quality", "difference", "sparsity", "pareto", "profile")
RENDERED = (".md", ".csv", ".tex", ".svg", ".png", ".pdf")


def report(run_dir: Path) -> str:
    """Write report.md, tables/, figures/ and listen.html into a run folder.

    Returns:
        The report as markdown.
    Raises:
        ValueError: the folder holds no records.
        OSError: naming the folder that cannot be written.
    """
    try:
        return _write_report(run_dir)
    except OSError as error:
        if error.errno is None:  # ours, and it names its file
            raise
        where = error.filename or run_dir
        raise OSError(
            f"{where}: {error.strerror} while writing the report; clips and scores are kept, free some space and run "
            f"python -m experiments.report {run_dir}"
        ) from error


def _write_report(run_dir: Path) -> str:
    records = read_records(run_dir)
    starts = _starts(records)
    if not starts:
        raise ValueError(f"{run_dir}: no records to report; run the generate or timing stage first")
    tables = tables_of(run_dir)
    _drop_stale(run_dir / "tables", write_tables(tables.values(), run_dir / "tables"), "")
    title = starts[-1].config.get("name", run_dir.name)
    shown = [to_markdown(table) for name, table in tables.items() if not name.startswith(DETAIL)]
    shown = shown or [plain_line(line) for line in provenance(starts).splitlines()]
    text = "\n".join([f"# {plain_line(str(title))}\n", *not_scored(records), *shown])
    write_whole(run_dir / "report.md", text)
    _drop_stale(run_dir / "figures", draw_figures(run_dir, run_dir / "figures"), QUALITY_FIGURES)
    if has_audio(run_dir, records):
        write_listening_page(run_dir)
    return text


def draw_figures(run_dir: Path, folder: Path) -> list[Path]:
    """Every figure that a run's records can fill, written into a folder as svg, png and pdf; returns their paths."""
    records = read_records(run_dir)
    starts = _starts(records)
    written: list[Path] = []
    if timings := of_kind(records, TimingRecord):
        subtitle = f"{places(timings, starts)}\n{settings_line(current(records))}"
        written += speed_figures(speed_rows(records), folder, subtitle)
    written += step_time_figure(records, folder / "step_time")
    written += quality_figures(records, folder)
    written += probe_figures(records, folder)
    written += training_figure(run_dir, folder / "training")
    written += gate_figure(run_dir, folder / "gate")
    if has_audio(run_dir, records):
        written += spectrogram_figure(run_dir, folder / "spectrograms")
    return written


def _starts(records: list[Record]) -> list[StartRecord]:
    return [*of_kind(records, RunRecord)] or [*of_kind(records, ProbeRunRecord)]


def has_audio(run_dir: Path, records: list[Record]) -> bool:
    """Whether some of the clips are here to hear; committed results leave theirs out."""
    return any((run_dir / clip.audio).exists() for clip in of_kind(records, ClipRecord))


def not_scored(records: list[Record]) -> list[str]:
    """A line for a reader who looks for quality where the score stage ran without metrics; nothing elsewhere."""
    starts = of_kind(records, RunRecord)
    if not starts or of_kind(records, MetricRecord):
        return []
    config = starts[-1].config
    if "score" not in config.get("stages", ()) or (config.get("metrics") or {}).get("preset") is not None:
        return []
    return ["Not scored: no metrics were chosen; the same command with `metrics=strict` scores these clips.\n"]


def _drop_stale(folder: Path, written: Sequence[Path], names: str | tuple[str, ...]) -> None:
    """Remove what an earlier report wrote under some names and this one did not: its records say otherwise by now."""
    for path in folder.glob("*"):
        if path.stem.startswith(names) and path.suffix in RENDERED and path not in written:
            path.unlink()


def main() -> None:
    """The command line: redraw the report of a run folder."""
    with one_line_errors():
        run_dir = one_folder(sys.argv[1:], "runs/durations", __doc__)
        print(f"{report(run_dir)}\nresults: {run_dir}")


if __name__ == "__main__":
    main()
