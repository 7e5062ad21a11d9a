"""A run to send: one html file with report, figures and audio, or a zip of the folder where that would be too large.

    python -m experiments.share runs/durations
    python -m experiments.share runs/paper prompts=8 most_mb=100

The html opens anywhere by itself, its audio as FLAC. The zip is unpacked first; its listen.html shows the same.
"""

import base64
import html
import io
import logging
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from experiments.listen.data import Grid, gather
from experiments.listen.page import PAGE, page_data, render_page, sounds
from experiments.listen.spectrograms import Sound, image_name
from experiments.records.provenance import starts_of
from experiments.records.run import Run
from experiments.records.store import record_files
from experiments.report import DETAIL, report_of
from experiments.system.audio_files import check_content
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import whole_file, write_whole
from experiments.system.settings import parse_settings
from experiments.tables.formats import to_html
from experiments.tables.run_tables import all_tables

logger = logging.getLogger(__name__)

MB = 10**6
READ_ME = (
    "Unpack the whole zip, then open listen.html: tables, figures and clips. report.md and tables/ hold the numbers.\n"
)


@dataclass(frozen=True)
class Options:
    """What to send.

    Attributes:
        most_mb: of a single html; a larger one becomes a zip.
        prompts: the clips of the first so many; 0 for all.
    """

    most_mb: float = 32.0
    prompts: int = 0


def share(run_dir: Path, most_mb: float = Options.most_mb, prompts: int = Options.prompts) -> Path:
    """Draw the report anew and write it with its clips into one file in the run folder.

    Returns:
        The file: NAME.html, or NAME.zip where the html would be larger than `most_mb`.
    Raises:
        ValueError: options out of range, no run in the folder, or audio that is not what was recorded.
    """
    if not most_mb > 0 or prompts < 0:
        raise ValueError(f"got most_mb={most_mb:g} prompts={prompts}; accepted are above 0, and from 0 (all prompts)")
    run = Run.load(run_dir)
    if not run.runs:
        raise ValueError(f"{run_dir}: no run to share; give a folder of experiments.run")
    report_of(run)
    grid = _of_prompts(gather(run), prompts)
    data = page_data(grid, starts_of(list(grid.clips.values()), run.runs), run_dir.name)
    shown = report_html(run)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", data["name"])[:64] or "run"
    embedded = _embedded(grid, run_dir, most_mb * MB - len(shown))
    if embedded is not None:
        entries = iter(embedded)
        clips = [entry if "gap" in entry else entry | next(entries) for entry in data["clips"]]
        page = render_page({**data, "clips": clips}, shown, embedded=True).encode()
        if len(page) <= most_mb * MB:
            path = run_dir / f"{name}.html"
            write_whole(path, page)
            return path
    path = run_dir / f"{name}.zip"
    _write_zip(path, name, render_page(data, shown), sounds(grid), run_dir)
    return path


def _of_prompts(grid: Grid, count: int) -> Grid:
    """The grid of its first prompts; 0 keeps all."""
    if not count:
        return grid
    kept = dict(list(grid.captions.items())[:count])
    clips = {cell: clip for cell, clip in grid.clips.items() if cell.prompt_id in kept}
    references = {place: found for place, found in grid.references.items() if place[0] in kept}
    gaps = {cell: reason for cell, reason in grid.gaps.items() if cell.prompt_id in kept}
    return replace(grid, captions=kept, clips=clips, gaps=gaps, references=references)


def report_html(run: Run) -> str:
    """Tables and figures of a run as html that asks for no other file."""
    tables = [to_html(table) for name, table in all_tables(run).items() if not name.startswith(DETAIL)]
    figures = [
        f'<figure><img alt="{html.escape(path.stem)}" src="{_data_url("image/png", path.read_bytes())}"></figure>'
        for path in sorted((run.folder / "figures").glob("*.png"))
    ]
    return f'<details class="report" open><summary>Tables and figures</summary>{"".join(tables + figures)}</details>'


def _embedded(grid: Grid, run_dir: Path, room: float) -> list[dict[str, str]] | None:
    """Audio and picture of every clip as addresses that hold them; None once they take more than `room` characters."""
    found, taken = [], 0
    heard: list[Sound] = [*grid.clips.values(), *grid.references.values()]  # in the order of the page's entries
    for clip in heard:
        flac = io.BytesIO()
        check_content(run_dir, clip.audio, clip.sha256)
        samples, rate = soundfile.read(run_dir / clip.audio, dtype="int16")
        soundfile.write(flac, samples, rate, format="FLAC", subtype="PCM_16")
        image = (run_dir / image_name(clip)).read_bytes()
        inside = {"audio": _data_url("audio/flac", flac.getvalue()), "image": _data_url("image/webp", image)}
        found.append({**inside, "file": clip.audio})  # by which votes name the clip
        taken += sum(map(len, found[-1].values()))
        if taken > room:
            return None
    return found


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _write_zip(path: Path, name: str, page: str, clips: Sequence[Sound], run_dir: Path) -> None:
    """A folder of the given name: page, report, tables, figures, records, and what the page plays and shows."""
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/READ_ME.txt", READ_ME)
        archive.writestr(f"{name}/{PAGE}", page)
        for source in _files(clips, run_dir):
            archive.write(source, f"{name}/{source.relative_to(run_dir).as_posix()}")


def _files(clips: Sequence[Sound], run_dir: Path) -> Iterator[Path]:
    yield run_dir / "report.md"
    yield from record_files(run_dir)
    for folder in ("tables", "figures"):
        yield from sorted((run_dir / folder).glob("*.*"))
    for clip in clips:
        yield run_dir / clip.audio
    yield from dict.fromkeys(run_dir / image_name(clip) for clip in clips)


def main() -> None:
    """The command line: one run folder, then settings."""
    with one_line_errors():
        words = sys.argv[1:]
        options = [word for word in words if "=" in word and not Path(word).is_dir()]
        run_dir = one_folder([word for word in words if word not in options], "runs/durations", __doc__)
        path = share(run_dir, **vars(parse_settings(Options, options)))
        size_mb = path.stat().st_size / MB
        zipped = "; to be unpacked, prompts=8 takes the clips of the first eight alone" if path.suffix == ".zip" else ""
        print(f"{path} ({size_mb:.1f} MB{zipped})")


if __name__ == "__main__":
    main()
