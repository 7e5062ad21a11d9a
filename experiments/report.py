"""The report of a run: tables, figures and the listening page, rendered from its records and nothing else.

python -m experiments.report runs/durations
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from experiments.figures.gate_figures import gate_figure
from experiments.figures.probe_figures import probe_figures
from experiments.figures.quality_figures import quality_figures
from experiments.figures.speed_figures import speed_figures
from experiments.figures.step_time_figure import step_time_figure
from experiments.figures.training_figures import training_figure
from experiments.listen.page import write_listening_page
from experiments.listen.spectrogram_figure import spectrogram_figure
from experiments.records import ClipRecord, MetricRecord, TimingRecord
from experiments.records.provenance import places, provenance
from experiments.records.run import Run
from experiments.records.store import record_files
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import write_whole
from experiments.tables.escaping import plain_line
from experiments.tables.formats import ResultTable, to_markdown_together
from experiments.tables.quality_tables import write_tables
from experiments.tables.run_tables import all_tables, joined_tables, tables_of
from experiments.tables.speed_rows import speed_rows

logger = logging.getLogger(__name__)

# Tables that are written as files but not shown in the report.
DETAIL = "all_metrics"
QUALITY_FIGURES = ("quality", "difference", "sparsity", "pareto", "profile")
RENDERED = (".md", ".csv", ".tex", ".svg", ".png", ".pdf")


def report(run_dir: Path) -> str:
    """Write report.md, tables/, figures/ and listen.html into a run folder.

    A folder of runs gets their tables joined, a column naming the run, and nothing else.

    Returns:
        The report as markdown.
    Raises:
        ValueError: the folder holds no records.
        OSError: naming the folder that cannot be written.
    """
    with _saying_what_is_kept(run_dir):
        if run_dir.is_dir() and not record_files(run_dir) and (folders := run_folders(run_dir)):
            return _write_joined(run_dir, folders)
    return report_of(Run.load(run_dir))


def report_of(run: Run) -> str:
    """As `report`, of one run that is loaded already."""
    with _saying_what_is_kept(run.folder):
        return _write_report(run)


@contextmanager
def _saying_what_is_kept(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # ours, and it names its file
            raise
        where = error.filename or run_dir
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)
        remedy = "move it away" if in_the_way else "free some space"
        raise OSError(
            f"{where}: {error.strerror} while writing the report; clips and scores are kept, {remedy} and run "
            f"python -m experiments.report {run_dir}"
        ) from error


def _write_report(run: Run) -> str:
    run_dir = run.folder
    if not run.starts:
        raise ValueError(f"{run_dir}: no records to report; run the generate or timing stage first")
    tables = all_tables(run)
    _drop_stale(run_dir / "tables", write_tables(tables.values(), run_dir / "tables"), "")
    title = run.starts[-1].config.get("name", run_dir.name)
    shown = _shown(tables) or "\n".join(plain_line(line) for line in provenance(run.starts).splitlines())
    text = "\n".join([f"# {plain_line(str(title))}\n", *not_scored(run), shown])
    write_whole(run_dir / "report.md", text)
    _drop_stale(run_dir / "figures", _draw(run, run_dir / "figures"), QUALITY_FIGURES)
    if has_audio(run):
        write_listening_page(run)
    return text


def _shown(tables: Mapping[str, ResultTable]) -> str:
    return to_markdown_together([table for name, table in tables.items() if not name.startswith(DETAIL)])


def run_folders(folder: Path) -> list[Path]:
    """The runs directly below a folder, by name: those of a -m whose jobs could not share one."""
    return sorted({path.parent for path in folder.glob("*/records*.jsonl")})


def _write_joined(folder: Path, runs: Sequence[Path]) -> str:
    """The tables of several runs as one, in the folder above them; each run keeps its own report."""
    tables = joined_tables({run.name: tables_of(run) for run in runs})
    _drop_stale(folder / "tables", write_tables(tables.values(), folder / "tables"), "")
    listed = "".join(f"- [{run.name}]({run.name}/report.md)\n" for run in runs)
    text = "\n".join([f"# {plain_line(folder.name)}\n", listed, _shown(tables)])
    write_whole(folder / "report.md", text)
    return text


def draw_figures(run_dir: Path, folder: Path) -> list[Path]:
    """Every figure that a run's records can fill, written into a folder as svg, png and pdf; returns their paths."""
    return _draw(Run.load(run_dir), folder)


def _draw(run: Run, folder: Path) -> list[Path]:
    written: list[Path] = []
    if timings := run.current_of(TimingRecord):
        written += speed_figures(speed_rows(run), folder, f"{places(timings, run.starts)}\n{run.settings()}")
    written += step_time_figure(run, folder / "step_time")
    written += quality_figures(run, folder)
    written += probe_figures(run.records, folder)
    written += training_figure(run.folder, folder / "training")
    written += gate_figure(run.folder, folder / "gate")
    if has_audio(run):
        written += spectrogram_figure(run, folder / "spectrograms")
    return written


def has_audio(run: Run) -> bool:
    """Whether some of the clips are here to hear; committed results leave theirs out."""
    return any((run.folder / clip.audio).exists() for clip in run.of_kind(ClipRecord))


def not_scored(run: Run) -> list[str]:
    """A line for a reader who looks for quality where the score stage ran without metrics; nothing elsewhere."""
    if not run.runs or run.of_kind(MetricRecord):
        return []
    config = run.runs[-1].config
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
