"""The training figure: every stage's loss and the gate against steps, from the training records of a folder.

A record is `training_<name>.jsonl`, one JSON object per line, `step` and `loss` in those that are points; the gate's
readings are `gate.jsonl` (see `experiments.figures.gate_figures`).
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments.figures.gate_figures import coloured, plot_steps, read_record
from experiments.figures.panels import MAX_COLUMNS, finish, panel_grid
from experiments.figures.style import RC

SMOOTHED_FROM, SMOOTHING_POINTS = 50, 9


def training_points(folder: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Stage name -> (steps, losses), stages sorted; after a restart a step's newest loss counts."""
    found = {}
    for path in sorted(folder.glob("training_*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        points = {int(line["step"]): float(line["loss"]) for line in lines if "step" in line and "loss" in line}
        if points:
            found[path.stem.removeprefix("training_")] = ([*sorted(points)], [points[s] for s in sorted(points)])
    return found


def families(stages: list[str]) -> dict[str, list[str]]:
    """Stages that share a panel: those whose names begin alike, as `unet`, `unet_untied`."""
    groups: dict[str, list[str]] = {}
    for stage in stages:
        groups.setdefault(stage.split("_")[0], []).append(stage)
    return groups


def plot_losses(points: dict[str, tuple[list[int], list[float]]], ax: Axes) -> Axes:
    """Losses against steps; with many points the single values are faint and their centred mean lies on top."""
    for number, (stage, colour) in enumerate(coloured(points)):
        steps, losses = points[stage]
        window = SMOOTHING_POINTS if len(losses) >= SMOOTHED_FROM else 1
        half = window // 2
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        # Runs that continue one another coincide at first: the later is drawn thinner, on top.
        width = 2.4 / (number + 1) + 0.6
        ax.plot(steps, losses, color=colour, lw=0.5, alpha=0.3)
        ax.plot(steps[half : len(steps) - half], smooth, color=colour, lw=width, label=stage.replace("_", " "))
    ax.set(xlabel="training step", ylabel="training loss")
    ax.legend(fontsize=7)
    return ax


def training_figure(folder: Path, path: Path) -> list[Path]:
    """One panel per stage and, where the gate was read, its numbers against steps.

    Returns:
        The written files; none where the folder holds no training record.
    """
    points = training_points(folder)
    if not points:
        return []
    groups = families(list(points))
    gate = folder / "gate.jsonl"
    with plt.rc_context(RC):
        losses = -(-len(groups) // MAX_COLUMNS) * MAX_COLUMNS if gate.exists() else len(groups)
        figure, axes = panel_grid(losses + 3 * gate.exists())
        for (family, stages), ax in zip(groups.items(), axes, strict=False):
            plot_losses({stage: points[stage] for stage in stages}, ax).set_title(family, fontsize=9)
        for ax in axes[len(groups) : losses]:
            ax.remove()
        if gate.exists():
            plot_steps(read_record(gate), axes[losses:])
        return finish(figure, [], "Training of the testbed", "", path)
