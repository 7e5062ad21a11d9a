"""Figures of speed from table rows."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.figures.style import RC, length_axis, save, style_of, titled
from experiments.records import AA_SUFFIX
from experiments.tables.speed_rows import SpeedRow

Points = dict[str, list[tuple[float, float | None]]]


def plot_latency(rows: Sequence[SpeedRow], ax: Axes) -> Axes:
    """Seconds per denoising step against clip length, one line per arm, both axes logarithmic."""
    arms = _by_method(rows, "step_s")
    places = _places(arms)
    points: Points = {name: [(r.duration_s * places[name], r.step_s) for r in arm] for name, arm in arms.items()}
    _lines(points, rows, ax)
    ax.set(yscale="log", ylabel="time per denoising step (s)")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    length_axis([row.duration_s for row in rows], ax)
    return ax


def plot_speedup(rows: Sequence[SpeedRow], ax: Axes) -> Axes:
    """Speed-up over dense attention against clip length: geometric mean of paired ratios, bars their 95% intervals."""
    arms = {name: arm for name, arm in _by_method(rows, "speedup").items() if name != "dense"}
    places = _places(arms)
    points: Points = {
        name: [(r.duration_s * places[name], r.speedup and r.speedup.mean) for r in arm] for name, arm in arms.items()
    }
    _lines(points, rows, ax)
    for name, arm in arms.items():
        for row in arm:
            if row.speedup:
                ax.plot([row.duration_s * places[name]] * 2, row.speedup[1:], color=style_of(name, list(arms))[0], lw=1)
    ax.axhline(1, color="#000000", lw=0.8, ls=":")
    ax.set(ylabel="speed-up over dense (SDPA), times")
    length_axis([row.duration_s for row in rows], ax)
    return ax


def _places(arms: dict[str, list[SpeedRow]]) -> dict[str, float]:
    """A factor on the length per arm: they stand side by side, so that no interval hides another."""
    return {name: 1 + 0.02 * (index - (len(arms) - 1) / 2) for index, name in enumerate(arms)}


def _by_method(rows: Sequence[SpeedRow], value: str) -> dict[str, list[SpeedRow]]:
    arms: dict[str, list[SpeedRow]] = {}
    for row in rows:
        if getattr(row, value) is not None and not row.method.endswith(AA_SUFFIX):
            arms.setdefault(row.method, []).append(row)
    return arms


def _lines(points: Points, rows: Sequence[SpeedRow], ax: Axes) -> None:
    labels = {row.method: row.label for row in rows}
    for name, series in points.items():
        colour, marker = style_of(name, list(points))
        ax.plot(*zip(*series, strict=True), color=colour, marker=marker, ms=5, lw=1.5, label=labels[name])
    if points:
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def speed_figures(rows: Sequence[SpeedRow], folder: Path, subtitle: str) -> list[Path]:
    """Draw latency.* and speedup.* into a folder.

    Args:
        subtitle: what was measured and where (pipeline, device, threads), printed under the title.
    """
    written = []
    bars = any(row.speedup and row.speedup.low < row.speedup.high for row in rows)
    means = "geometric means over rounds, and over starts where several timed a length"
    marks = f"Marks: {means}{'; bars: 95% intervals' if bars else ''}."
    for name, title, plot, said in (
        ("latency", "Time per denoising step", plot_latency, "Marks: medians of rounds."),
        ("speedup", "Speed-up of a denoising step", plot_speedup, marks),
    ):
        with plt.rc_context(RC):
            figure, ax = plt.subplots()
            plot(rows, ax)
            titled(ax, title, f"{subtitle}\n{said}")
            written += save(figure, folder / name)
    return written
