"""Figures of what needs no audio: where attention looks, and what a method costs in denoising loss.

Both come from the records of `experiments.probe`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, SymmetricalLogLocator

from experiments.figures.panels import finish
from experiments.figures.style import RC, length_axis, style_of
from experiments.records import AttentionRecord, ProbeLossRecord, ProbeRunRecord, Record, of_kind
from experiments.records.provenance import places, quality_notes
from experiments.records.site_structure import SiteStructure, octaves
from experiments.tables.probe_rows import LossRow, loss_rows, structures_by_length

OFFSET_LABELS = {"frequency": "|frequency offset| (bins)", "time": "|time offset| (token frames)"}
CURVE_COLOURS = ("#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#000000")


def probe_figures(records: list[Record], folder: Path) -> list[Path]:
    """Draw the figures that the probes' records can fill: attention.* and denoising_loss.*."""
    starts = of_kind(records, ProbeRunRecord)
    if not starts:
        return []
    notes = quality_notes(starts)
    written = []
    if structures := structures_by_length(records):
        subtitle = "\n".join([places(of_kind(records, AttentionRecord), starts), *notes])
        written += attention_figure(structures, folder / "attention", subtitle)
    if rows := loss_rows(records):
        subtitle = "\n".join([places(of_kind(records, ProbeLossRecord), starts), *notes])
        written += loss_figure(rows, folder / "denoising_loss", subtitle)
    return written


def attention_ratio(structures: Sequence[SiteStructure], axis: str) -> np.ndarray:
    """Attention mass by |offset| over that of uniform attention, mean over the given sites and noise levels.

    Args:
        axis: "frequency" (offset in bins) or "time" (offset in token frames).
    Raises:
        ValueError: no structures, an unknown axis, or structures of different grids.
    """
    if axis not in OFFSET_LABELS:
        raise ValueError(f"axis {axis!r}: accepted are 'frequency' and 'time'")
    mass = [getattr(structure, f"{axis}_mass") for structure in structures]
    if len({len(row) for row in mass}) != 1:
        lengths = sorted({len(row) for row in mass})
        raise ValueError(f"attention structures of one grid are needed, got {axis} lengths {lengths}")
    uniform = [getattr(structure, f"{axis}_uniform") for structure in structures]
    return np.mean(np.asarray(mass) / np.asarray(uniform), axis=0)


def plot_frequency(by_length: Mapping[float, Sequence[SiteStructure]], ax: Axes) -> Axes:
    """Attention over uniform by |frequency offset|; a peak at 0 is the ridge that LiteFocus assumes."""
    for colour, (duration, structures) in zip(cycle(CURVE_COLOURS), by_length.items(), strict=False):
        ratio = attention_ratio(structures, "frequency")
        ax.plot(range(len(ratio)), ratio, marker="o", ms=4, lw=1.4, color=colour, label=f"{duration:g} s clips")
    return _uniform_line(ax, "frequency")


def plot_time(by_length: Mapping[float, Sequence[SiteStructure]], ax: Axes) -> Axes:
    """Attention over uniform by |time offset| in octaves, in seconds where the token rate is known."""
    for colour, (duration, structures) in zip(cycle(CURVE_COLOURS), by_length.items(), strict=False):
        mass, uniform = (
            np.mean([getattr(s, f"time_{kind}") for s in structures], axis=0) for kind in ("mass", "uniform")
        )
        groups = octaves(structures[0].frames)
        ratio = [mass[group].sum() / uniform[group].sum() for group in groups]
        rate = structures[0].frames_per_second or 1.0
        middles = [np.sqrt(group[0] * group[-1]) / rate for group in groups]
        ax.plot(middles, ratio, marker="o", ms=4, lw=1.4, color=colour, label=f"{duration:g} s clips")
    first = next(iter(by_length.values()))[0]
    _uniform_line(ax, "time").set_xscale("symlog", linthresh=1 / (first.frames_per_second or 1.0))
    if first.frames_per_second:
        ax.set(xlabel="|time offset| (s), means of octaves")
        ax.set_xticks([0, 0.2, 1, 5, 20], ["0", "0.2", "1", "5", "20"])
        ax.set_xticks([], minor=True)
    ax.set_xlim(left=-0.3 / (first.frames_per_second or 1.0))
    return ax


def _uniform_line(ax: Axes, axis: str) -> Axes:
    ax.axhline(1, color="#000000", lw=0.8, ls=":")
    ax.set(xlabel=OFFSET_LABELS[axis], ylabel="attention over uniform, times", ylim=(0, None))
    return ax


def plot_site_map(structures: Sequence[SiteStructure], ax: Axes) -> Axes:
    """One row per site: attention over uniform by |frequency offset|, logarithmic colours centred at uniform."""
    sites = list(dict.fromkeys(structure.site for structure in structures))
    rows = np.stack([attention_ratio([s for s in structures if s.site == site], "frequency") for site in sites])
    _map(np.log2(rows), ax)
    ax.set(xlabel=OFFSET_LABELS["frequency"], ylabel="attention site")
    ax.set_yticks(range(len(sites)), [str(number + 1) for number in range(len(sites))], fontsize=6)
    return ax


def plot_joint_map(structures: Sequence[SiteStructure], ax: Axes) -> Axes:
    """Attention over uniform by |time offset| (columns, octaves) and |frequency offset| (rows): is there a ridge?"""
    ratio = np.mean([structure.joint_over_uniform() for structure in structures], axis=0)
    with np.errstate(divide="ignore"):
        _map(np.log2(ratio).T, ax)
    groups, rate = octaves(structures[0].frames), structures[0].frames_per_second
    starts = [f"{group[0] / rate:.2g}" if rate else f"{group[0]}" for group in groups]
    ax.set(xlabel=f"|time offset| from ({'s' if rate else 'token frames'})", ylabel=OFFSET_LABELS["frequency"])
    ax.set_xticks(range(len(starts)), starts, fontsize=7)
    return ax


def _map(log_ratio: np.ndarray, ax: Axes) -> None:
    picture = ax.imshow(log_ratio, aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
    ax.grid(visible=False)
    bar = ax.figure.colorbar(picture, ax=ax, label="attention over uniform")
    bar.set_ticks([-3, 0, 3], labels=["1/8", "1", "8"])


def attention_figure(by_length: Mapping[float, Sequence[SiteStructure]], path: Path, subtitle: str) -> list[Path]:
    """Where attention looks: curves by length above; below, the longest length by both offsets and by site."""
    longest = max(by_length)
    with plt.rc_context(RC):
        figure, grid = plt.subplots(2, 2, figsize=(8.6, 6.2), layout="constrained")
        plot_frequency(by_length, grid[0, 0])
        plot_time(by_length, grid[0, 1])
        plot_joint_map(by_length[longest], grid[1, 0]).set_title(f"{longest:g} s clips, all sites", fontsize=9)
        plot_site_map(by_length[longest], grid[1, 1]).set_title(f"{longest:g} s clips, by site", fontsize=9)
        return finish(figure, [ax for line in grid for ax in line], "Where self-attention looks", subtitle, path)


def plot_loss_difference(rows: Sequence[LossRow], ax: Axes) -> Axes:
    """Denoising loss against dense by clip length, in per cent, with 95% intervals over clips, one line per method."""
    shown = [row for row in rows if row.difference is not None]
    names = list(dict.fromkeys(row.method for row in shown))
    for index, name in enumerate(names):
        arm = [(row, row.difference) for row in shown if row.method == name and row.difference is not None]
        shift = 1 + 0.03 * (index - (len(names) - 1) / 2)
        colour, marker = style_of(name, names)
        errors = np.array([[d.value - d.low, d.high - d.value] for _, d in arm]).T
        ax.errorbar(
            [row.duration_s * shift for row, _ in arm],
            [d.value for _, d in arm],
            errors,
            color=colour,
            marker=marker,
            ms=5,
            lw=1.4,
            capsize=2,
            label=arm[0][0].label,
        )
    ax.axhline(0, color="#000000", lw=0.8, ls=":")
    # Methods differ by parts of a per cent, controls by tens: linear up to 1%, logarithmic beyond.
    ax.set_yscale("symlog", linthresh=1, linscale=0.8)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 3)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(ylabel="loss minus dense (%), symmetric log scale ↓")
    length_axis([row.duration_s for row in rows], ax)
    return ax


def loss_figure(rows: Sequence[LossRow], path: Path, subtitle: str) -> list[Path]:
    """Loss difference to dense by length, one panel per noise level."""
    levels = sorted({row.t for row in rows})
    with plt.rc_context(RC):
        figure, grid = plt.subplots(
            1, len(levels), figsize=(4.4 * max(len(levels), 1.4), 4.0), squeeze=False, layout="constrained"
        )
        for t, ax in zip(levels, grid[0], strict=True):
            plot_loss_difference([row for row in rows if row.t == t], ax).set_title(f"noise level t = {t}", fontsize=9)
        bounded = any(row.difference is not None and math.isfinite(row.difference.low) for row in rows)
        title = "Denoising loss of real audio" + (", 95% intervals over clips" if bounded else "")
        return finish(figure, list(grid[0]), title, subtitle, path)
