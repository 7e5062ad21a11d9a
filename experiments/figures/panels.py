"""Grids of panels with a shared head and legend, and the marks that panels of quality have in common."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.figures.style import RC, save, style_of
from experiments.records import MetricRecord
from experiments.tables.quality_rows import QualityRow, heading, metric_label

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.7
MAX_COLUMNS = 3


def panels(
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


def interval_line(
    x: Sequence[float],
    points: Sequence[MetricRecord],
    name: str,
    label: str,
    names: Sequence[str],
    ax: Axes,
    ls: str = "-",
) -> None:
    colour, marker = style_of(name, names)
    values = [point.value for point in points]
    below = [max(0.0, point.value - point.low) for point in points]
    above = [max(0.0, point.high - point.value) for point in points]
    style: Any = {"color": colour, "marker": marker, "ms": 5, "lw": 1.4, "ls": ls, "elinewidth": 1, "capsize": 2}
    ax.errorbar(x, values, yerr=[below, above], label=label, **style)


def metric_axis(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    record = next((row.metrics[metric] for row in rows if metric in row.metrics), None)
    ax.set_ylabel(metric_label(metric) if record is None else heading(metric, record))
    return ax
