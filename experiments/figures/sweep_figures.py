"""Figures of a sweep over the share of sampled keys: what it costs in quality, what it brings in speed.

Quality is the paired difference to dense, whose interval is far narrower than that of either value.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from experiments.figures.panels import interval_line, metric_axis, panels
from experiments.figures.style import style_of
from experiments.records import MetricRecord
from experiments.tables.quality_rows import QualityRow

FAMILIES = {True: ("litefocus", "With the own frequency bin"), False: ("compensation_only", "Sampled keys alone")}


def is_sweep(rows: Sequence[QualityRow]) -> bool:
    """Whether the rows hold several shares of sampled keys."""
    forms = [row.mechanisms for row in rows if row.mechanisms and row.mechanisms.cross_frequency]
    return len({form.sparse_ratio for form in forms}) > 1


def sweep_figures(
    folder: Path, suffix: str, subtitle: str, baseline: str, metrics: Sequence[str], rows: Sequence[QualityRow]
) -> list[Path]:
    """Per length: the differences `rows` to `baseline` against the share of sampled keys and, where timed, speed."""
    written: list[Path] = []
    for duration in sorted({row.duration_s for row in rows}):
        here = [row for row in rows if row.duration_s == duration]
        place = f"{duration:g}s{suffix}".replace(".", "p")
        versus = f"{duration:g} s clips: paired difference to {baseline}, 95% intervals"
        title = f"Share of sampled keys, {versus}"
        written += panels(folder / f"sparsity_{place}", title, subtitle, metrics, here, plot_sparsity)
        if any(row.speedup for row in here):
            title = f"Quality against speed, {versus}"
            written += panels(folder / f"pareto_{place}", title, subtitle, metrics, here, plot_pareto)
    return written


def plot_sparsity(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric's difference to the baseline against the share of sampled keys, with and without the own bin."""
    ax.axhline(0, color="#000000", lw=0.8)
    for index, (name, label, members) in enumerate(_families(rows, metric)):
        # Side by side, or the intervals of the two families would hide each other.
        shift = 0.004 * (2 * index - 1)
        shares = [row.mechanisms.sparse_ratio + shift for row in members if row.mechanisms]
        interval_line(shares, [row.metrics[metric] for row in members], name, label, [name], ax)
    ax.set(xlabel="share of sampled keys, r")
    return _difference_axis(rows, metric, ax)


def plot_pareto(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    """One metric's difference to the baseline against step speed-up; the share of sampled keys stands at each point.

    No line joins them: speeds that differ by less than they were measured to would make it turn back and forth.
    """
    ax.axhline(0, color="#000000", lw=0.8)
    ax.axvline(1, color="#000000", lw=0.8, ls=":")
    for family, (name, label, members) in enumerate(_families([row for row in rows if row.speedup], metric)):
        speeds = [row.speedup.mean for row in members if row.speedup]
        interval_line(speeds, [row.metrics[metric] for row in members], name, label, [name], ax, ls="none")
        for number, (row, speed) in enumerate(zip(members, speeds, strict=True)):
            if row.mechanisms:
                above, colour = (number + family) % 2 == 0, style_of(name, [])[0]
                _annotate(row.mechanisms.sparse_ratio, row.metrics[metric], speed, above, colour, ax)
    ax.margins(y=0.12)
    ax.set(xlabel="step speed-up over dense, times")
    return _difference_axis(rows, metric, ax)


def _annotate(share: float, point: MetricRecord, speed: float, above: bool, colour: str, ax: Axes) -> None:
    """The share at an end of its interval, above and below in turn: shares of almost one speed stay apart."""
    end, offset = (point.high, 3) if above else (point.low, -9)
    at = (speed, point.value if math.isnan(end) else end)
    ax.annotate(f"{share:g}", at, (0, offset), textcoords="offset points", fontsize=7, color=colour, ha="center")


def _families(rows: Sequence[QualityRow], metric: str) -> list[tuple[str, str, list[QualityRow]]]:
    """(style, label, rows in the order of their share) with and without the own bin, where there are any."""
    found = []
    for focused, (name, label) in FAMILIES.items():
        members = [r for r in rows if r.mechanisms and r.mechanisms.same_frequency == focused and metric in r.metrics]
        if members:
            found.append((name, label, sorted(members, key=lambda row: row.mechanisms.sparse_ratio)))  # type: ignore[union-attr]
    return found


def _difference_axis(rows: Sequence[QualityRow], metric: str, ax: Axes) -> Axes:
    metric_axis(rows, metric, ax).set_ylabel(f"Δ {ax.get_ylabel()}")
    return ax
