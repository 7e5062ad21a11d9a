"""Experiment tracking: a finished (or half-finished) run folder, sent to Weights & Biases from its records.

Nothing is imported unless `tracking=wandb` is chosen. The W&B id depends on the records alone, so that tracking the
same run again, from any machine or folder, replaces what that W&B run held: nothing is there twice.
"""

import csv
import hashlib
import logging
import math
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.listen.data import Cell, Grid, gather
from experiments.records import TimingRecord
from experiments.records.provenance import provenance
from experiments.records.run import Run
from experiments.tables.escaping import safe_cell
from experiments.tables.quality_rows import by_metric, differences, headline, main_baseline, presets, readings
from experiments.tables.speed_rows import speed_rows

logger = logging.getLogger(__name__)

MODES = ("online", "offline")
TRACKERS = ("none", "wandb")


def track(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Send a run folder's results to the configured tracker; the report stage calls it after rendering.

    Args:
        config: the run's configuration; `config["tracking"]` names the tracker and its options.
    Raises:
        ValueError: as `check_tracker`, or a folder without records.
        ImportError: as `check_tracker`.
        ConnectionError: W&B refused or was not reached.
    """
    options = config["tracking"]
    check_tracker(options)
    if options["name"] == "none":
        return
    recorded = Run.load(run_dir)
    if not recorded.runs:
        raise ValueError(f"{run_dir}: no records to track; run the generate or timing stage first")
    _send(recorded, options)


def check_tracker(options: Mapping[str, Any]) -> None:
    """Raise what would stop tracking in the end, so that a run can ask before it generates.

    Raises:
        ValueError: an unknown tracker or mode, or no API key for mode online.
        ImportError: wandb is not installed; names the extra.
    """
    if options["name"] not in TRACKERS:
        raise ValueError(f"tracking.name {options['name']!r}: accepted are {', '.join(TRACKERS)}")
    if options["name"] == "none":
        return
    if options["mode"] not in MODES:
        raise ValueError(f"tracking.mode {options['mode']!r}: accepted are {', '.join(MODES)}")
    # Looks for a key and asks nobody, neither the user nor the network.
    if options["mode"] == "online" and not _wandb().login(prompt=False, verify=False):
        raise ValueError("tracking.mode online: no W&B API key here; run wandb login, or use tracking.mode=offline")
    _wandb()


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ImportError("tracking=wandb needs wandb: pip install -e '.[wandb]'") from error
    return wandb


def _send(recorded: Run, options: Mapping[str, Any]) -> None:
    wandb = _wandb()
    try:
        _send_to(wandb, recorded, options)
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise ConnectionError(f"not tracked ({reason}); the report is written, stages=[report] tracks it") from error


def _send_to(wandb: Any, recorded: Run, options: Mapping[str, Any]) -> None:
    run_dir, newest = recorded.folder, recorded.runs[-1]
    # Neither console output, code, git state, host name nor folders are uploaded: the records hold what is needed.
    settings = wandb.Settings(
        console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True, silent=True
    )
    notes = [provenance([newest]), *recorded.quality_notes()]
    if options["mode"] == "offline":
        _drop_unsent(run_dir, tracking_id(recorded))
    with wandb.init(
        id=tracking_id(recorded),
        name=str(newest.config.get("name", run_dir.name)),
        project=options["project"],
        entity=options["entity"],
        group=options["group"],
        mode=options["mode"],
        dir=str(run_dir),
        tags=[str(tag) for tag in options.get("tags") or ()],
        # No `resume`: an id that exists is written anew. The records hold all of it, so continuing would double it.
        notes="\n".join([str(text) for text in [options.get("notes")] if text] + notes),
        config={"run": newest.config, "environment": newest.environment, "pipeline": newest.pipeline},
        settings=settings,
    ) as run:
        run.define_metric("duration_s")
        run.define_metric("*", step_metric="duration_s")
        rows = list(history(recorded))
        for name in dict.fromkeys(name for row in rows for name in row if name != "duration_s"):
            # W&B would keep the last row's value in the summary, under a name without its length.
            run.define_metric(name, step_metric="duration_s", summary="none")
        for row in rows:
            run.log(row)
        run.summary.update(summary(recorded))
        run.log(_media(recorded, int(options["audio_prompts"]), wandb))
        folder = Path(run.settings.sync_dir)
    logger.info("%s: tracked as W&B run %s", run_dir, tracking_id(recorded))
    if options["mode"] == "offline":
        print(f"to upload it: wandb sync {shlex.quote(str(folder))}")


def _drop_unsent(run_dir: Path, run_id: str) -> None:
    """Remove what earlier offline trackings of this run left: the one to come holds all that they do."""
    for folder in run_dir.glob(f"wandb/offline-run-*-{run_id}"):
        shutil.rmtree(folder)


def tracking_id(recorded: Run) -> str:
    """The W&B run id: the same for the same run whenever and wherever it is tracked, another for a fresh run."""
    first = recorded.runs[0]
    return hashlib.sha256(f"{first.config.get('name')}\0{first.run_id}".encode()).hexdigest()[:16]


class Number(NamedTuple):
    """A value at a length; `bound` is .low or .high for one of its interval. A curve is drawn against the length."""

    duration_s: float
    name: str
    value: float
    bound: str = ""
    is_curve: bool = False


def numbers(recorded: Run) -> Iterator[Number]:
    """Speed, the metrics of the main table with the bounds that it prints, and their differences to the baseline.

    The tables that are sent hold the rest. Of several presets each stands before its metrics, `strict/fad/litefocus`.
    """
    for row in speed_rows(recorded):
        values = {"step_s": row.step_s, "clip_s": row.clip_s, "speedup": row.speedup and row.speedup.median}
        for name, value in values.items():
            yield Number(row.duration_s, f"{name}/{row.method}", math.nan if value is None else value, is_curve=True)
    found = presets(recorded)
    for preset in found:
        shown = [record for record in readings(recorded, preset) if record.window < 0]
        paired = differences(recorded, preset)
        against = main_baseline(paired, recorded.baseline)
        shown += [difference for key, difference in paired.items() if key[2] == against]
        metrics = headline(by_metric(shown))
        for record in (record for record in shown if record.metric in metrics):
            arm = f"{record.method}-{record.baseline}" if record.baseline else record.method
            name = f"{f'{preset}/' * (len(found) > 1)}{record.metric}/{arm}"
            yield Number(record.duration_s, name, record.value, is_curve=not record.baseline)
            yield Number(record.duration_s, name, record.low, ".low")
            yield Number(record.duration_s, name, record.high, ".high")


def summary(recorded: Run) -> dict[str, float]:
    """Name -> number: `speedup/litefocus/10s`, `kl/litefocus/10s`, its `.low` and `.high`, `kl/litefocus-dense/10s`."""
    found = {f"{n.name}/{n.duration_s:g}s{n.bound}": n.value for n in numbers(recorded)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def history(recorded: Run) -> Iterator[dict[str, float]]:
    """One row per length, for curves against `duration_s`: values of methods, without bounds and differences."""
    rows: dict[float, dict[str, float]] = {}
    for number in numbers(recorded):
        if number.is_curve and math.isfinite(number.value):
            rows.setdefault(number.duration_s, {})[number.name] = number.value
    yield from ({"duration_s": duration, **rows[duration]} for duration in sorted(rows))


def _media(recorded: Run, audio_prompts: int, wandb: Any) -> dict[str, Any]:
    """Tables from csv files, figures from png files, the timing rounds, and clips to hear."""
    run_dir, grid = recorded.folder, gather(recorded)
    media: dict[str, Any] = {}
    for path in sorted([*run_dir.glob("*.csv"), *run_dir.glob("tables/*.csv")]):
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        media[f"tables/{path.stem}"] = wandb.Table(columns=header, data=typed(rows))
    for path in sorted(run_dir.glob("figures/*.png")):
        media[f"figures/{path.stem}"] = wandb.Image(str(path))
    media["timing_rounds"] = _timing_table(recorded.of_kind(TimingRecord), wandb)
    media["clips"] = _clip_table(grid, wandb)
    first = set(list(grid.captions)[:audio_prompts])
    for cell, clip in grid.clips.items():
        if cell.prompt_id in first:
            audio = wandb.Audio(str(run_dir / clip.audio), caption=" · ".join(map(str, _place(cell, grid))))
            media.setdefault(f"audio/{cell.duration_s:g}s", []).append(audio)
    return media


def typed(rows: Sequence[Sequence[str]]) -> list[list[str | float | None]]:
    """Cells of a csv in which a column of numbers holds numbers, and None where one is missing or is not a number."""
    columns = [_typed_column(column) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _typed_column(cells: Sequence[str]) -> list[str | float | None]:
    try:
        numbers = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return list(cells)
    if not any(cells):
        return list(cells)
    return [number if math.isfinite(number) else None for number in numbers]


def _timing_table(timings: Sequence[TimingRecord], wandb: Any) -> Any:
    rows = [
        [timing.duration_s, arm, index, latency]
        for timing in timings
        for arm, latencies in timing.latencies_s.items()
        for index, latency in enumerate(latencies)
    ]
    return wandb.Table(columns=["duration_s", "arm", "round", "step_s"], data=rows)


def _clip_table(grid: Grid, wandb: Any) -> Any:
    """Every clip with its scores, and every gap with its reason. Captions are plain cells."""
    metrics = list(grid.metrics)
    rows = [
        [*_place(cell, grid), clip.latency_s, *(grid.scores.get(cell, {}).get(metric) for metric in metrics), ""]
        for cell, clip in grid.clips.items()
    ]
    rows += [[*_place(cell, grid), None, *(None for _ in metrics), reason] for cell, reason in grid.gaps.items()]
    columns = ["prompt", "caption", "duration_s", "method", "seed", "latency_s", *metrics, "gap"]
    return wandb.Table(columns=columns, data=rows)


def _place(cell: Cell, grid: Grid) -> list[str | float]:
    caption = safe_cell(grid.captions[cell.prompt_id])
    return [safe_cell(cell.prompt_id), caption, cell.duration_s, grid.labels[cell.arm], cell.seed]
