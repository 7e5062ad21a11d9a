"""Figures of quality from records: against length, against dense, over time; a sweep's are in sweep_figures.

Every plot_* function draws into given axes; `quality_figures` writes the files that a run's records can fill.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from experiments.figures.panels import finish, interval_line, metric_axis, panel_grid, panels
from experiments.figures.style import RC, length_axis, style_of
from experiments.figures.sweep_figures import is_sweep, sweep_figures
from experiments.records import ClipRecord, MetricRecord, StartRecord
from experiments.records.provenance import places, starts_of
from experiments.records.run import Run
from experiments.tables.quality_rows import (
    Differences,
    QualityRow,
    by_metric,
    differences,
    headline,
    main_baseline,
    metric_label,
    presets,
    quality_rows,
    readings,
)

CONTROLS = ("deleted", "uniform")


def quality_figures(run: Run, folder: Path) -> list[Path]:
    """Draw every quality figure that the records can fill.

    Returns:
        The written files: quality, difference, sparsity, pareto, profile (each per preset where there are several).
    """
    made = [places(run.of_kind(ClipRecord), run.runs)] if run.runs else []
    written: list[Path] = []
    found = presets(run)
    for preset in found:
        subtitle = "\n".join([*made, *run.quality_notes(preset)])
        suffix = f"_{preset.replace('-', '_')}" if len(found) > 1 else ""
        rows = quality_rows(run, preset)
        metrics = headline(by_metric(record for row in rows for record in row.metrics.values()))
        durations = {row.duration_s for row in rows if row.metrics}
        baseline, against = against_baseline(rows, differences(run, preset), run.baseline)
        shown = [metric for metric in metrics if any(metric in row.metrics for row in against)]
        if is_sweep(rows):
            written += sweep_figures(folder, suffix, subtitle, baseline, shown, against)
        if not is_sweep(rows) or len(durations) > 1:
            title = "Quality against length" + ", 95% intervals" * any(
                _has_interval(row.metrics.values()) for row in rows
            )
            written += panels(folder / f"quality{suffix}", title, subtitle, metrics, rows, plot_quality)
            title = f"Difference to {baseline}: same prompts, seeds and noise, paired 95% intervals"
            drawn, left_out = without_controls(against)
            said = "\n".join([subtitle, *left_out])
            written += panels(folder / f"difference{suffix}", title, said, shown, drawn, plot_difference)
        written += _profile_figure(run, preset, folder / f"profile{suffix}", subtitle)
    return written


def against_baseline(
    rows: Sequence[QualityRow], paired: Differences, preferred: str = ""
) -> tuple[str, list[QualityRow]]:
    """The main baseline's label, and the rows with paired differences to it as their metrics; empty without any.

    A difference without an interval is left out: of two clips, say, it shows nothing.
    """
    paired = {key: difference for key, difference in paired.items() if not math.isnan(difference.low)}
    baseline = main_baseline(paired, preferred)
    label = next((row.label for row in rows if row.method == baseline), baseline)
    against = [
        replace(row, metrics={m: paired[key] for m in row.metrics if (key := _key(row, baseline, m)) in paired})
        for row in rows
    ]
    return label, [row for row in against if row.metrics]


def without_controls(rows: Sequence[QualityRow]) -> tuple[list[QualityRow], list[str]]:
    """Rows whose differences one scale can show, and what to say of those left out: controls dwarf all others."""
    methods = [row for row in rows if row.method not in CONTROLS]
    controls = list(dict.fromkeys(row.label for row in rows if row.method in CONTROLS))
    if not methods or not controls:
        return list(rows), []
    return methods, [f"Not drawn, for the scale, but in the table: {', '.join(controls)}."]


def _has_interval(records: Iterable[MetricRecord]) -> bool:
    return any(math.isfinite(record.high - record.low) for record in records)


def _key(row: QualityRow, baseline: str, metric: str) -> tuple[float, str, str, str]:
    return row.duration_s, row.method, baseline, metric


def plot_quality(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric against clip length with 95% intervals, one line per method."""
    names = list(dict.fromkeys(row.method for row in rows))
    for index, name in enumerate(names):
        arm = [row for row in rows if row.method == name and metric in row.metrics]
        if arm:
            shift = 1 + 0.025 * (index - (len(names) - 1) / 2)
            points = [row.metrics[metric] for row in arm]
            interval_line([row.duration_s * shift for row in arm], points, name, arm[0].label, names, ax)
    length_axis([row.duration_s for row in rows], ax)
    return metric_axis(rows, metric, ax)


def plot_difference(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric's paired difference to the baseline against clip length; an interval clear of zero is a finding."""
    ax.axhline(0, color="#000000", lw=0.8)
    plot_quality(rows, metric, ax)
    ax.set_ylabel(f"Δ {ax.get_ylabel()}")
    return ax


def plot_profile(records: Sequence[MetricRecord], window_s: float, labels: dict[str, str], ax: Axes) -> Axes:
    """One metric over the positions of a clip with 95% bands, one line per method.

    Args:
        records: of one metric and one length, `window` >= 0.
        window_s: length of a window in seconds.
    """
    names = list(dict.fromkeys(record.method for record in records))
    for name in names:
        windows = {record.window: record for record in records if record.method == name}
        points = [windows[index] for index in sorted(windows)]
        middles = [(point.window + 0.5) * window_s for point in points]
        colour, marker = style_of(name, names)
        values = [point.value for point in points]
        ax.plot(middles, values, color=colour, marker=marker, ms=4, lw=1.4, label=labels.get(name, name))
        low, high = [point.low for point in points], [point.high for point in points]
        ax.fill_between(middles, low, high, color=colour, alpha=0.12, lw=0)
    ax.set(xlabel="position in the clip (s)", ylabel=metric_label(records[0].metric, records[0]))
    ax.set_xlim(left=0)
    return ax


def _window_s(start: StartRecord, duration_s: float, windows: int) -> float:
    """Seconds of a window, from what scored; a clip may be longer than its whole windows."""
    pipeline = start.pipeline | start.config.get("pipeline", {})  # a start that only scores loads none
    own = start.config.get("metrics", {}).get("window_s") or pipeline.get("training_length_s")
    return min(float(own), duration_s) if own else duration_s / windows


def _profile_figure(run: Run, preset: str, path: Path, subtitle: str) -> list[Path]:
    """The longest length's curve over time of every metric that has one, with the bands that may be shown."""
    curves = [record for record in readings(run, preset) if record.window >= 0]
    if not curves or not run.runs:
        return []
    longest = max(record.duration_s for record in curves)
    here = [record for record in curves if record.duration_s == longest]
    metrics = headline(by_metric(here))
    start = starts_of(here, run.of_kind(StartRecord))[-1]
    window_s = _window_s(start, longest, max(record.window for record in here) + 1)
    with plt.rc_context(RC):
        figure, axes = panel_grid(len(metrics))
        for metric, ax in zip(metrics, axes, strict=True):
            plot_profile([record for record in here if record.metric == metric], window_s, run.labels, ax)
        title = f"Quality over time within {longest:g} s clips" + ", 95% bands" * _has_interval(here)
        return finish(figure, axes, title, subtitle, path)
