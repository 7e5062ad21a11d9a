"""Figures of the gate, from the readings of a folder's gate.jsonl only: against training steps, attention by offset."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from experiments.figures.panels import finish, panel_grid
from experiments.figures.style import RC, SPARE_COLOURS
from experiments.records.gate_criteria import DELETION_SHARE, ENTROPY_GAP_NAT, MASS_RATIO, TOKEN_FRAMES_PER_SECOND

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", *SPARE_COLOURS)
LENGTH_STYLES = {1: "-", 2: "--", 4: "-.", 8: ":"}


def coloured(runs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each run with its colour, in order of appearance; colours start again after 19 runs, no run is left out."""
    return zip(runs, itertools.cycle(COLOURS), strict=False)


def read_record(path: Path) -> list[dict[str, Any]]:
    """The readings, one per line; of readings with the same label, step and length the last one counts.

    Raises:
        FileNotFoundError: no record yet.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run python -m experiments.testbed.assessment.gate first")
    readings = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    unique = {(r["label"], r["step"], r["length"]): r for r in readings}
    return list(unique.values())


def plot_steps(readings: list[dict[str, Any]], axes: list[Axes]) -> None:
    """Same-frequency mass, distance from uniform and deletion cost at 1x against training steps, by label."""
    panels = (
        ("same-frequency mass / uniform", lambda r: r["same_frequency_ratio"], MASS_RATIO),
        ("ln N - H (nat)", lambda r: r["entropy_gap_nat"], ENTROPY_GAP_NAT),
        ("deletion cost, worst of t = 500, 700 (%)", lambda r: 100 * min(r["deletion_share"].values()),
         100 * DELETION_SHARE),
    )  # fmt: skip
    for ax, (title, value, threshold) in zip(axes, panels, strict=True):
        for label, colour in coloured(dict.fromkeys(r["label"] for r in readings)):
            points = sorted((r["step"], value(r)) for r in readings if r["label"] == label and r["length"] == 1)
            ax.plot(*zip(*points, strict=True), color=colour, marker="o", ms=5, label=label.replace("_", " "))
        ax.axhline(threshold, color="#000000", lw=0.8, ls=":", label="gate")
        ax.set_xlabel("training step")
        ax.set_title(title, fontsize=9)
    axes[-1].legend(fontsize=7, loc="center right")


def plot_offsets(readings: list[dict[str, Any]], axes: list[Axes]) -> None:
    """Attention by frequency and time offset over that of uniform attention: a colour per run, a line style per length.

    Of a run its newest reading of each length counts; runs read at one length only are left out.
    """
    newest = {(r["label"], r["length"]): r for r in sorted(readings, key=lambda r: r["step"])}
    lengths = sorted({length for _, length in newest})
    runs = [run for run in dict.fromkeys(label for label, _ in newest) if sum(run == key[0] for key in newest) > 1]
    for run, colour in coloured(runs):
        for number, reading in enumerate(newest[run, length] for length in lengths if (run, length) in newest):
            label = f"{run.replace('_', ' ')}, step {reading['step']}" if number == 0 else None
            look: Any = {"color": colour, "ls": LENGTH_STYLES.get(reading["length"], "-"), "marker": "o", "ms": 3}
            axes[0].plot(range(len(reading["frequency_mass"])), reading["frequency_mass"], label=label, **look)
            seconds = [0.0, *(2.0**k / TOKEN_FRAMES_PER_SECOND for k in range(len(reading["time_mass"]) - 1))]
            axes[1].plot(seconds, reading["time_mass"], **look)
    for length in lengths:
        axes[0].plot([], [], color="#666666", ls=LENGTH_STYLES.get(length, "-"), label=f"{length}x")
    axes[0].set_xlabel("frequency offset (bins)")
    axes[1].set_xlabel("time offset (s, octaves)")
    axes[1].set_xscale("symlog", linthresh=1 / TOKEN_FRAMES_PER_SECOND)
    for ax in axes:
        ax.axhline(1.0, color="#000000", lw=0.8, ls=":")
        ax.set_ylabel("attention over uniform")


def gate_figure(folder: Path, path: Path) -> list[Path]:
    """Where each run that the gate was read on looks.

    Returns:
        The written files; none where the folder holds no readings at several lengths.
    """
    record = folder / "gate.jsonl"
    readings = read_record(record) if record.exists() else []
    if len({reading["length"] for reading in readings}) < 2:
        return []
    with plt.rc_context(RC):
        figure, axes = panel_grid(2)
        plot_offsets(readings, axes)
        return finish(figure, axes, "Where self-attention looks, mean over the 12 sites", "", path)
