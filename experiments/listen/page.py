"""The listening page of a run: one static html file beside its audio. No server, no outside request.

    python -m experiments.listen.page runs/durations

It also takes blind votes; `python -m evaluation votes=FILE scores=runs/durations/listen_scores.csv` reads them, with
the scores of single clips that stand beside the page.

Captions, ids and reasons come from outside: they enter the page as JSON text and are shown as text only, and a
content security policy forbids every script and address but the page's own.
"""

import base64
import csv
import hashlib
import io
import json
import logging
import math
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from experiments.figures.style import style_of
from experiments.listen.data import Grid, gather
from experiments.listen.spectrograms import Sound, image_name, write_spectrograms
from experiments.records import ClipRecord, RunRecord
from experiments.records.provenance import provenance, quality_notes, settings_line, starts_of
from experiments.records.run import Run
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import write_whole
from experiments.tables.quality_rows import metric_label

logger = logging.getLogger(__name__)

PAGE = "listen.html"
SCORES = "listen_scores.csv"
REFERENCE_COLOUR = "#808080"
_SCRIPTS = ("player.js", "grid.js", "votes.js", "main.js")


def write_listening_page(run: Run) -> Path:
    """Write listen.html, its spectrograms and the scores of its clips (listen_scores.csv) into a run's folder.

    Its audio stays where it is and is loaded by the page when played.

    Returns:
        The page's path.
    Raises:
        ValueError: the folder holds no records, or audio that is not what was recorded.
    """
    run_dir = run.folder
    if not run.runs:
        raise ValueError(f"{run_dir}: no records to show; run the generate stage first")
    grid = gather(run)
    write_spectrograms(run_dir, sounds(grid))
    path = run_dir / PAGE
    write_whole(path, render_page(page_data(grid, starts_of(run.of_kind(ClipRecord), run.runs), run_dir.name)))
    write_whole(run_dir / SCORES, scores_csv(grid))
    logger.info("%s: %d clips, %d gaps", path, len(grid.clips), len(grid.gaps))
    return path


def sounds(grid: Grid) -> list[Sound]:
    """All that the page plays: clips, then references, each file once."""
    return [*grid.clips.values(), *dict.fromkeys(grid.references.values())]


def page_data(grid: Grid, runs: Sequence[RunRecord], name: str) -> dict[str, Any]:
    """The grid as plain data for the page's script; positions in lists instead of names keep it small."""
    methods = list(dict.fromkeys(arm.method for arm in grid.labels))
    arms: list[dict[str, Any]] = [
        {"label": label, "colour": style_of(arm.method, methods)[0]} for arm, label in grid.labels.items()
    ]
    if grid.references:
        arms.append({"label": "Reference", "colour": REFERENCE_COLOUR, "reference": True})
    return {
        "name": str(runs[-1].config.get("name", name)),
        "material": material(grid),
        "notes": [
            *provenance(runs).replace("`", "").splitlines(),
            settings_line([*runs, *grid.clips.values()]),
            *quality_notes(runs),
        ],
        "prompts": [{"id": prompt_id, "caption": caption} for prompt_id, caption in grid.captions.items()],
        "durations": grid.durations_s,
        "arms": arms,
        "seeds": grid.seeds,
        "metrics": [
            {"name": metric_label(metric, record), "higher": record.higher_is_better}
            for metric, record in grid.metrics.items()
        ],
        "clips": _clips(grid),
    }


def material(grid: Grid) -> str:
    """What there is to hear, as one short hash: votes on other clips, or on clips of other labels, have another one."""
    heard = sorted((grid.labels[cell.arm], clip.audio, clip.sha256) for cell, clip in grid.clips.items())
    return hashlib.sha256(json.dumps(heard).encode()).hexdigest()[:16]


def _clips(grid: Grid) -> list[dict[str, Any]]:
    """One entry per cell: its place, then what to play and show, or the gap's reason; then one per reference."""
    axes = (grid.captions, grid.durations_s, grid.labels, grid.seeds)
    places = [{value: index for index, value in enumerate(axis)} for axis in axes]
    entries = []
    for cell in [*grid.clips, *grid.gaps]:
        entry: dict[str, Any] = {"at": [place[value] for place, value in zip(places, cell, strict=True)]}
        if clip := grid.clips.get(cell):
            entry |= _to_play(clip)
            if scores := grid.scores.get(cell):
                entry["scores"] = [_finite(scores.get(metric)) for metric in grid.metrics]
        else:
            entry["gap"] = grid.gaps[cell]
        entries.append(entry)
    # Of every seed: the script shows it under each.
    for (prompt_id, duration_s), found in grid.references.items():
        place = [places[0][prompt_id], places[1][duration_s], len(grid.labels), None]
        entries.append({"at": place, **_to_play(found), "seconds": round(found.seconds, 3)})
    return entries


def _to_play(sound: Sound) -> dict[str, Any]:
    return {"audio": quote(sound.audio), "image": image_name(sound)}


def scores_csv(grid: Grid) -> str:
    """One row for each clip and metric that has a number for it: the clip's path, as votes name it, and its score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("clip", "metric", "higher_is_better", "value"))
    for cell, scores in grid.scores.items():
        for metric, value in scores.items():
            if math.isfinite(value):
                better = grid.metrics[metric].higher_is_better
                writer.writerow((grid.clips[cell].audio, metric, "" if better is None else str(better).lower(), value))
    return text.getvalue()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def render_page(data: dict[str, Any], report: str = "", embedded: bool = False) -> str:
    """The html: data, style and script in one file, the policy naming their hashes.

    Args:
        report: html to stand above the clips, its pictures inside it.
        embedded: audio and pictures are in the page itself, and no other file may be asked for.
    """
    folder = resources.files("experiments.listen") / "assets"
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    beside = "" if embedded else " 'self' file:"
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        policy=(
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
            f"img-src{beside} data:; media-src{beside} data:; base-uri 'none'; form-action 'none'"
        ),
        data=json_for_html(data),
        report=report,
        style=style,
        script=script,
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def json_for_html(data: Any) -> str:
    """JSON that may stand inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def main() -> None:
    """The command line: one run folder."""
    with one_line_errors():
        print(write_listening_page(Run.load(one_folder(sys.argv[1:], "runs/durations", __doc__))))


if __name__ == "__main__":
    main()
