"""Figures of quality from records: against length, against dense, against speed, over time.

Every plot_* function draws into given axes; `quality_figures` writes the files that a run's records can fill.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.figures.style import RC, save, style_of
from experiments.provenance import methods_of, quality_notes, where
from experiments.records import MetricRecord, Record, RunRecord, of_kind
from experiments.tables.quality_rows import (
    ARROWS,
    Differences,
    QualityRow,
    differences,
    headline,
    metric_label,
    metric_names,
    presets,
    quality_rows,
)

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.7
MAX_COLUMNS = 3


def quality_figures(records: list[Record], folder: Path) -> list[Path]:
    """Draw every quality figure that the records can fill.

    Returns:
        The written files: quality, difference, pareto, profile (each per preset where there are several).
    """
    runs = of_kind(records, RunRecord)
    subtitle = _subtitle(runs)
    written: list[Path] = []
    found = presets(records)
    for preset in found:
        suffix = f"_{preset.replace('-', '_')}" if len(found) > 1 else ""
        rows = quality_rows(records, preset)
        metrics = headline(metric_names(record for row in rows for record in row.metrics.values()))
        durations = {row.duration_s for row in rows if row.metrics}
        written += _panels(folder / f"quality{suffix}", "Quality against length", subtitle, metrics, rows, plot_quality)
        baseline, against = against_baseline(rows, differences(records, preset))
        title = f"Difference to {baseline}: same prompts, seeds and noise, paired 95% intervals"
        shown = [metric for metric in metrics if any(metric in row.metrics for row in against)]
        written += _panels(folder / f"difference{suffix}", title, subtitle, shown, against, plot_difference)
        if _swept(rows) and any(row.speedup for row in rows):
            for duration in sorted(durations):
                here = [row for row in rows if row.duration_s == duration]
                name = folder / f"pareto_{duration:g}s{suffix}".replace(".", "p")
                title = f"Quality against speed, {duration:g} s clips"
                written += _panels(name, title, subtitle, metrics, here, plot_pareto)
        written += _profile_figure(records, preset, folder / f"profile{suffix}", subtitle)
    return written


def against_baseline(rows: Sequence[QualityRow], paired: Differences) -> tuple[str, list[QualityRow]]:
    """The first baseline's label, and the rows with paired differences to it as their metrics; empty without any.

    A difference without an interval is left out: of two clips, say, it shows nothing.
    """
    paired = {key: difference for key, difference in paired.items() if not math.isnan(difference.low)}
    baseline = next(iter(dict.fromkeys(key[2] for key in paired)), "")
    label = next((row.label for row in rows if row.method == baseline), baseline)
    against = [
        replace(row, metrics={m: paired[key] for m in row.metrics if (key := _key(row, baseline, m)) in paired})
        for row in rows
    ]
    return label, [row for row in against if row.metrics]


def _key(row: QualityRow, baseline: str, metric: str) -> tuple[float, str, str, str]:
    return row.duration_s, row.method, baseline, metric


def _subtitle(runs: Sequence[RunRecord]) -> str:
    return "\n".join([where(runs[-1]), *quality_notes(runs[-1])]) if runs else ""


def _swept(rows: Sequence[QualityRow]) -> bool:
    forms = [row.mechanisms for row in rows if row.mechanisms and row.mechanisms.cross_frequency]
    return len({form.sparse_ratio for form in forms}) > 1


def _panels(
    path: Path,
    title: str,
    subtitle: str,
    metrics: Sequence[str],
    rows: Sequence[QualityRow],
    plot: Callable[[Sequence[QualityRow], str, Axes], Axes],
) -> list[Path]:
    """One panel per metric with a shared legend below."""
    if not metrics:
        return []
    with plt.rc_context(RC):
        figure, axes = panel_grid(len(metrics))
        for metric, ax in zip(metrics, axes, strict=True):
            plot(rows, metric, ax)
        return finish(figure, axes, title, subtitle, path)


def panel_grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of up to three."""
    columns = min(count, MAX_COLUMNS)
    lines = -(-count // columns)
    size = (PANEL_WIDTH * max(columns, 2 if count > 1 else 1.6), PANEL_HEIGHT * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    axes = [ax for line in grid for ax in line]
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def finish(figure: Figure, axes: Sequence[Axes], title: str, subtitle: str, path: Path) -> list[Path]:
    """Title, subtitle and one legend for all axes, then save."""
    entries = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        columns = min(len(entries), 4 if figure.get_figwidth() > 6 else 3)
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8)
    _head(figure, title, subtitle)
    return save(figure, path)


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """A bold title with small lines under it, in room added above the panels."""
    width, height = figure.get_size_inches()
    lines = [part for line in subtitle.splitlines() for part in textwrap.wrap(line, int(width * 19))]
    room = 0.34 + 0.13 * len(lines)
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, height / (height + room)))
    figure.text(0.01, 1, title, fontweight="bold", fontsize=12, va="top")
    below = 1 - 0.24 / (height + room)
    figure.text(0.01, below, "\n".join(lines), fontsize=7, color="#555555", va="top")


def plot_quality(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric against clip length with 95% intervals, one line per method."""
    names = list(dict.fromkeys(row.method for row in rows))
    for index, name in enumerate(names):
        arm = [row for row in rows if row.method == name and metric in row.metrics]
        if arm:
            shift = 1 + 0.025 * (index - (len(names) - 1) / 2)
            points = [row.metrics[metric] for row in arm]
            _interval_line([row.duration_s * shift for row in arm], points, name, arm[0].label, names, ax)
    durations = sorted({row.duration_s for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(durations, [f"{duration:g}" for duration in durations])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="clip length (s)")
    return _metric_axis(rows, metric, ax)


def plot_difference(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric's paired difference to the baseline against clip length; an interval clear of zero is a finding."""
    ax.axhline(0, color="#000000", lw=0.8)
    plot_quality(rows, metric, ax)
    ax.set_ylabel(f"Δ {ax.get_ylabel()}")
    return ax


def _interval_line(
    x: Sequence[float], points: Sequence[MetricRecord], name: str, label: str, names: Sequence[str], ax: Axes
) -> None:
    colour, marker = style_of(name, names)
    values = [point.value for point in points]
    below = [max(0.0, point.value - point.low) for point in points]
    above = [max(0.0, point.high - point.value) for point in points]
    style: Any = {"color": colour, "marker": marker, "ms": 5, "lw": 1.4, "elinewidth": 1, "capsize": 2}
    ax.errorbar(x, values, yerr=[below, above], label=label, **style)


def _metric_axis(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    better = next((row.metrics[metric].higher_is_better for row in rows if metric in row.metrics), None)
    ax.set_ylabel(f"{metric_label(metric)} {ARROWS[better]}".strip())
    return ax


def plot_pareto(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric against step speed-up at one length; a line per family, the share of sampled keys at each point."""
    families: dict[str, list[QualityRow]] = {}
    for row in rows:
        if metric in row.metrics and row.speedup:
            families.setdefault(_family(row), []).append(row)
    for family, members in families.items():
        members.sort(key=lambda row: row.mechanisms.sparse_ratio if row.mechanisms else 0.0)
        speeds = [row.speedup.median for row in members if row.speedup]
        points = [row.metrics[metric] for row in members]
        name = {"LiteFocus": "litefocus", "Compensation only": "compensation_only"}.get(family, members[0].method)
        _interval_line(speeds, points, name, family, [name], ax)
        for row, speed in zip(members, speeds, strict=True):
            if row.mechanisms:
                at = (speed, row.metrics[metric].value)
                text = f"{row.mechanisms.sparse_ratio:g}"
                offset = (4, -9) if row.mechanisms.same_frequency else (4, 4)
                ax.annotate(text, at, offset, textcoords="offset points", fontsize=7, color="#555555")
    ax.axvline(1, color="#000000", lw=0.8, ls=":")
    ax.set(xlabel="step speed-up over dense, times")
    return _metric_axis(rows, metric, ax)


def _family(row: QualityRow) -> str:
    if row.mechanisms is None:
        return row.label
    return "LiteFocus" if row.mechanisms.same_frequency else "Compensation only"


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
    ax.set(xlabel="position in the clip (s)", ylabel=f"{metric_label(records[0].metric)}")
    ax.set_xlim(left=0)
    return ax


def _profile_figure(records: list[Record], preset: str, path: Path, subtitle: str) -> list[Path]:
    """The longest length's curve over time of every metric that has one."""
    curves = [m for m in of_kind(records, MetricRecord) if m.preset == preset and m.window >= 0 and not m.baseline]
    runs = of_kind(records, RunRecord)
    if not curves or not runs:
        return []
    longest = max(record.duration_s for record in curves)
    here = [record for record in curves if record.duration_s == longest]
    metrics = headline(dict.fromkeys(record.metric for record in here))
    window_s = longest / (max(record.window for record in here) + 1)
    labels = {node["name"]: node["label"] for run in runs for node in methods_of(run)}
    with plt.rc_context(RC):
        figure, axes = panel_grid(len(metrics))
        for metric, ax in zip(metrics, axes, strict=True):
            plot_profile([record for record in here if record.metric == metric], window_s, labels, ax)
        return finish(figure, axes, f"Quality over time within {longest:g} s clips", subtitle, path)
