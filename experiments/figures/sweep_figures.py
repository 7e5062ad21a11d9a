"""Figures of a sweep over the share of sampled keys: what it costs in quality, what it brings in speed.

Quality is the paired difference to dense, whose interval is far narrower than that of either value.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from experiments.figures.panels import interval_line, metric_axis, panels
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
    """One metric's difference to the baseline against step speed-up; the share of sampled keys stands at each point."""
    ax.axhline(0, color="#000000", lw=0.8)
    ax.axvline(1, color="#000000", lw=0.8, ls=":")
    for name, label, members in _families([row for row in rows if row.speedup], metric):
        speeds = [row.speedup.median for row in members if row.speedup]
        interval_line(speeds, [row.metrics[metric] for row in members], name, label, [name], ax)
        for row, speed in zip(members, speeds, strict=True):
            if row.mechanisms:
                text, at = f"{row.mechanisms.sparse_ratio:g}", (speed, row.metrics[metric].value)
                ax.annotate(text, at, (4, 4), textcoords="offset points", fontsize=7, color="#555555")
    ax.set(xlabel="step speed-up over dense, times")
    return _difference_axis(rows, metric, ax)


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
