"""A run folder as tidy pandas frames: one row an observation, numbers as numbers, missing values as NaN.

They hold what the tables show: of each length and method the newest condition, of each value the newest record.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.records import (
    CellRecord,
    ClipRecord,
    FailureRecord,
    MetricRecord,
    RoundRecord,
    TimingRecord,
    of_kind,
)
from experiments.records.run import Run
from experiments.tables.quality_rows import differences, presets, readings

CONDITION = ("duration_s", "method", "label")
CLIP = (*CONDITION, "steps", "guidance", "prompt_id", "caption", "seed")
METRIC = ("preset", "metric", *CONDITION)
VALUE = ("value", "low", "high", "n_scored", "n_failed", "unit", "higher_is_better")
COLUMNS = {
    "clips": (*CLIP, "latency_s", "step_s", "decode_s", "sample_rate", "samples", "audio", "sha256", "condition"),
    "scores": (*METRIC, "prompt_id", "seed", "value"),
    "metrics": (*METRIC, *VALUE),
    "windows": (*METRIC, "window", *VALUE),
    "differences": (*METRIC, "baseline", *VALUE),
    "timings": ("level", "regime", *CONDITION, "run_id", "round", "latency_s", "peak_memory_gib"),
    "failures": ("stage", *CONDITION, "prompt_id", "seed", "reason"),
}


class Frames(NamedTuple):
    """The frames of a run; one without rows has its columns all the same. Names are those of the records.

    Attributes:
        clips: a generated clip a row: its times in seconds, its wav relative to the run folder.
        scores: a clip's own value of a metric a row, where the metric has one.
        metrics: a metric of a method at a length a row, with the 95% interval that the tables print, if they do.
        windows: the same by position in the clip, `window` from 0.
        differences: a metric's paired difference, method minus baseline, a row.
        timings: a method in a round of a start (`run_id`) a row: seconds of a denoising step, or of a benchmark's level
            and regime.
        failures: a clip or a method without a number a row, and why.
    """

    clips: pd.DataFrame
    scores: pd.DataFrame
    metrics: pd.DataFrame
    windows: pd.DataFrame
    differences: pd.DataFrame
    timings: pd.DataFrame
    failures: pd.DataFrame


def frames_of(run: Run) -> Frames:
    """As `experiments.frames`, of a run that is loaded already."""
    if not run.records:
        raise ValueError(f"{run.folder}: no records; give the folder of a run, the one with its records.jsonl")
    records, rounds = run.current, run.of_kind(RoundRecord)
    cells = {arm: label for cell in run.of_kind(CellRecord) for arm, label in cell.labels.items()}
    labels = cells if rounds else run.labels
    shown = [record for preset in presets(run) for record in readings(run, preset)]
    whole = [record for record in shown if record.window < 0]
    paired = [record for preset in presets(run) for record in differences(run, preset).values()]
    clips = of_kind(records, ClipRecord)
    rows: dict[str, Iterable[dict[str, Any]]] = {
        "clips": map(vars, clips),
        "scores": _scores(whole, clips),
        "metrics": map(vars, whole),
        "windows": (vars(record) for record in shown if record.window >= 0),
        "differences": map(vars, paired),
        "timings": [*_timings(of_kind(records, TimingRecord)), *_rounds(rounds)],
        "failures": map(vars, of_kind(records, FailureRecord)),
    }
    return Frames(**{name: _frame(found, labels, COLUMNS[name]) for name, found in rows.items()})


def _frame(rows: Iterable[dict[str, Any]], labels: dict[str, str], columns: Sequence[str]) -> pd.DataFrame:
    labelled = [{"label": labels.get(row["method"], row["method"]), **row} for row in rows]
    return pd.DataFrame(labelled, columns=list(columns))


def _scores(metrics: Iterable[MetricRecord], clips: Sequence[ClipRecord]) -> Iterator[dict[str, Any]]:
    by_wav = {(clip.condition, Path(clip.audio).stem): clip for clip in clips}
    for record in metrics:
        for stem, value in (record.details.get("per_clip") or {}).items():
            if clip := by_wav.get((record.condition, stem)):
                yield {**vars(record), "prompt_id": clip.prompt_id, "seed": clip.seed, "value": value}


def _timings(timings: Iterable[TimingRecord]) -> Iterator[dict[str, Any]]:
    """The rounds of every timing that counts, numbered within their start."""
    for timing in timings:
        for arm, latencies in timing.latencies_s.items():
            what = {"level": "step", "regime": "eager", "duration_s": timing.duration_s, "method": arm}
            peak = {"label": timing.labels.get(arm, arm), "peak_memory_gib": timing.peak_memory_gib.get(arm)}
            for number, latency in enumerate(latencies):
                yield {**what, **peak, "run_id": timing.run_id, "round": number, "latency_s": latency}


def _rounds(rounds: Iterable[RoundRecord]) -> Iterator[dict[str, Any]]:
    """A benchmark's rounds, numbered within their cell; their memory is beyond what was resident before the call."""
    numbers: Counter[tuple[str, str, float]] = Counter()
    for record in rounds:
        cell = (record.level, record.regime, record.duration_s)
        for arm, latency in record.latencies_s.items():
            yield {**vars(record), "method": arm, "round": numbers[cell], "latency_s": latency}
        numbers[cell] += 1
