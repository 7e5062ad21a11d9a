"""A benchmark's latencies against clip length."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from experiments.figures.style import RC, length_axis, save, style_of, titled
from experiments.records import AA_SUFFIX
from experiments.tables.benchmark_tables import LEVEL_TITLES, ArmRow, by_level, comparable


def latency_figures(rows: Sequence[ArmRow], folder: Path, place: str) -> None:
    """One figure per level and regime; `place` says where it was measured."""
    for (level, regime), group in by_level(rows).items():
        with plt.rc_context(RC):
            figure, ax = plt.subplots()
            plot_latency(group, ax)
            titled(ax, f"{LEVEL_TITLES[level]}, {regime}", place)
            save(figure, folder / f"latency_{level}_{regime}")


def plot_latency(rows: Sequence[ArmRow], ax: Axes) -> Axes:
    """Seconds per call against clip length, both logarithmic; limits dashed, approximate arms dotted."""
    limits = {row.cell.limit for row in rows}
    shown = [row for row in comparable(rows) if row.latency_s is not None and not row.arm.endswith(AA_SUFFIX)]
    names = list(dict.fromkeys(row.arm for row in shown))
    for name in names:
        series = sorted((row.cell.duration_s, row.latency_s) for row in shown if row.arm == name)
        first = next(row for row in shown if row.arm == name)
        colour, marker = style_of(name, names)
        line = "--" if name in limits else ":" if name in first.cell.approximate else "-"
        ax.plot(*zip(*series, strict=True), color=colour, marker=marker, ms=5, lw=1.5, ls=line, label=first.label)
    ax.set(yscale="log", ylabel="time per call (s)")
    ax.yaxis.set_major_formatter("{x:g}")
    length_axis([row.cell.duration_s for row in shown], ax)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return ax
