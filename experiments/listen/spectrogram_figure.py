"""The figure of how clips look: one prompt and seed under each method, from a run folder's audio."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from experiments.figures.panels import finish
from experiments.figures.style import RC
from experiments.listen.data import Arm, Cell, Grid, gather
from experiments.listen.spectrograms import (
    CEILING_DB,
    COLORMAP,
    FLOOR_DB,
    MEL_ROWS,
    mel_frequencies,
    mel_spectrogram_db,
    read_recorded,
)
from experiments.records.run import Run


def spectrogram_figure(run: Run, path: Path, prompt_id: str | None = None) -> list[Path]:
    """Mel spectrograms of one prompt and seed under each method at the longest length, one scale for all.

    Args:
        prompt_id: None takes the first prompt that has the most methods to show.
    Returns:
        The written files; none where its folder holds no audio.
    """
    grid = gather(run)
    cells = _cells_to_show(grid, prompt_id)
    if not cells:
        return []
    with plt.rc_context(RC):
        height = 1.15 * len(cells) + 0.5
        figure, column = plt.subplots(
            len(cells), 1, figsize=(7.6, height), sharex=True, squeeze=False, layout="constrained"
        )
        axes = [line[0] for line in column]
        for cell, ax in zip(cells, axes, strict=True):
            samples, sample_rate = read_recorded(run.folder, grid.clips[cell])
            picture = plot_spectrogram(samples, sample_rate, ax)
            ax.set_title(grid.labels[cell.arm], loc="left", fontsize=8.5)
        axes[-1].set_xlabel("time (s)")
        figure.colorbar(picture, ax=axes, label="level (dB of full scale)", fraction=0.03)
        caption = " ".join(grid.captions[cells[0].prompt_id].split())[:160].replace("$", r"\$")
        return finish(figure, axes, "One prompt, one seed, every method", f"“{caption}”, seed {cells[0].seed}", path)


def plot_spectrogram(samples: np.ndarray, sample_rate: int, ax: Axes) -> AxesImage:
    """A clip's mel spectrogram; returns the image for a colour bar."""
    level = mel_spectrogram_db(samples, sample_rate)
    extent = (0, len(samples) / sample_rate, 0, MEL_ROWS)
    picture = ax.imshow(
        level, origin="lower", aspect="auto", extent=extent, cmap=COLORMAP, vmin=FLOOR_DB, vmax=CEILING_DB
    )
    ax.grid(visible=False)
    rows = [0, MEL_ROWS // 2, MEL_ROWS - 1]
    centres = mel_frequencies(sample_rate / 2)
    ax.set_yticks([row + 0.5 for row in rows], [f"{centres[row] / 1000:.1f}" for row in rows], fontsize=7)
    ax.set_ylabel("kHz", fontsize=8)
    return picture


def _cells_to_show(grid: Grid, prompt_id: str | None) -> list[Cell]:
    groups: dict[tuple[str, int], list[Cell]] = {}
    longest = max((cell.duration_s for cell in grid.clips), default=0.0)
    for cell in grid.clips:
        if cell.duration_s == longest and prompt_id in (None, cell.prompt_id):
            groups.setdefault((cell.prompt_id, cell.seed), []).append(cell)
    arms: list[Arm] = list(grid.labels)
    best = max(groups.values(), key=len, default=[])
    return sorted(best, key=lambda cell: arms.index(cell.arm))
