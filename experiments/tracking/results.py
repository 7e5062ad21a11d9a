"""What a run folder has to show at its end, as W&B takes it: curves, a summary, tables, figures and clips."""

import csv
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments.listen.data import Cell, Grid, gather
from experiments.records import TimingRecord
from experiments.records.run import Run
from experiments.tables.escaping import safe_cell
from experiments.tables.quality_rows import by_metric, differences, headline, main_baseline, presets, readings
from experiments.tables.speed_rows import speed_rows


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
        values = {"step_s": row.step_s, "clip_s": row.clip_s, "speedup": row.speedup and row.speedup.mean}
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


def media(recorded: Run, audio_prompts: int, wandb: Any) -> dict[str, Any]:
    """Tables from csv files, figures from png files, the timing rounds, and clips to hear."""
    run_dir, grid = recorded.folder, gather(recorded)
    found: dict[str, Any] = {}
    for path in sorted([*run_dir.glob("*.csv"), *run_dir.glob("tables/*.csv")]):
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        found[f"tables/{path.stem}"] = wandb.Table(columns=header, data=typed(rows))
    for path in sorted(run_dir.glob("figures/*.png")):
        found[f"figures/{path.stem}"] = wandb.Image(str(path))
    found["timing_rounds"] = _timing_table(recorded.current_of(TimingRecord), wandb)
    found["clips"] = _clip_table(grid, wandb)
    first = set(list(grid.captions)[:audio_prompts])
    for cell, clip in grid.clips.items():
        if cell.prompt_id in first:
            audio = wandb.Audio(str(run_dir / clip.audio), caption=" · ".join(map(str, _place(cell, grid))))
            found.setdefault(f"audio/{cell.duration_s:g}s", []).append(audio)
    return found


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
        [timing.duration_s, arm, timing.run_id, index, latency]
        for timing in timings
        for arm, latencies in timing.latencies_s.items()
        for index, latency in enumerate(latencies)
    ]
    return wandb.Table(columns=["duration_s", "arm", "start", "round", "step_s"], data=rows)


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
