"""Figures of the gate, from its record only: the probe against training steps, and attention by offset.

python -m experiments.testbed.gate_figures record=results/testbed/gate.jsonl out=results/testbed
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.testbed.gate import DELETION_SHARE, ENTROPY_GAP_NAT, MASS_RATIO, TOKEN_FRAMES_PER_SECOND
from experiments.testbed.settings import parse_settings


@dataclass(frozen=True)
class FigureSettings:
    """`record` is what gate.py appended; the figures go to `out`."""

    record: str = "results/testbed/gate.jsonl"
    out: str = "results/testbed"


def read_record(path: Path) -> list[dict[str, Any]]:
    """The readings, one per line; of readings with the same label, step and length the last one counts.

    Raises:
        FileNotFoundError: no record yet.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run python -m experiments.testbed.gate first")
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
        for label in dict.fromkeys(r["label"] for r in readings):
            points = sorted((r["step"], value(r)) for r in readings if r["label"] == label and r["length"] == 1)
            ax.plot(*zip(*points, strict=True), marker="o", label=label)
        ax.axhline(threshold, color="grey", linestyle=":", label="gate")
        ax.set_xlabel("training step")
        ax.set_title(title, fontsize=9)
        ax.legend(fontsize=7)


def plot_offsets(readings: list[dict[str, Any]], axes: list[Axes]) -> None:
    """Attention by frequency and time offset over that of uniform attention, newest reading of each length."""
    newest = {(r["label"], r["length"]): r for r in sorted(readings, key=lambda r: r["step"])}
    for (label, length), reading in newest.items():
        name = f"{label} {length}x, step {reading['step']}"
        axes[0].plot(range(len(reading["frequency_mass"])), reading["frequency_mass"], marker="o", label=name)
        seconds = [0.0, *(2.0**k / TOKEN_FRAMES_PER_SECOND for k in range(len(reading["time_mass"]) - 1))]
        axes[1].plot(seconds, reading["time_mass"], marker="o", label=name)
    axes[0].set_xlabel("|frequency offset| (bins)")
    axes[1].set_xlabel("|time offset| (s, octaves)")
    axes[1].set_xscale("symlog", linthresh=1 / TOKEN_FRAMES_PER_SECOND)
    for ax in axes:
        ax.axhline(1.0, color="grey", linestyle=":")
        ax.set_ylabel("attention mass / uniform")
        ax.legend(fontsize=7)


def draw(settings: FigureSettings) -> list[Path]:
    """Writes gate_steps.png and gate_offsets.png."""
    readings = read_record(Path(settings.record))
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    steps, offsets = Figure(figsize=(12, 3.5), layout="constrained"), Figure(figsize=(9, 3.5), layout="constrained")
    plot_steps(readings, list(steps.subplots(1, 3)))
    plot_offsets(readings, list(offsets.subplots(1, 2)))
    paths = [out / "gate_steps.png", out / "gate_offsets.png"]
    for figure, path in zip((steps, offsets), paths, strict=True):
        figure.savefig(path, dpi=110)
    return paths


if __name__ == "__main__":
    print(*draw(parse_settings(FigureSettings, sys.argv[1:])))
