"""Figures of what needs no metric: where attention looks, what a method costs in denoising loss, how clips look.

Attention comes from `experiments.probes.attention_structure`, losses from `losses_by_method`, spectrograms from a run
folder's audio.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from experiments.figures import RC, style_of
from experiments.listen_data import Arm, Cell, Grid, gather
from experiments.listen_spectrograms import (
    CEILING_DB,
    COLORMAP,
    FLOOR_DB,
    MEL_ROWS,
    mel_frequencies,
    mel_spectrogram_db,
    read_recorded,
)
from experiments.probes import SiteStructure
from experiments.quality_figures import finish, panel_grid
from experiments.records import read_records

# length (s) -> method -> loss per clip; equal index means the same clip and noise.
Losses = Mapping[float, Mapping[str, Sequence[float]]]


def attention_ratio(structures: Sequence[SiteStructure], axis: str) -> np.ndarray:
    """Attention mass by |offset| over that of uniform attention, mean over the given sites and noise levels.

    Args:
        axis: "frequency" (offset in bins) or "time" (offset in token frames).
    Raises:
        ValueError: no structures, an unknown axis, or structures of different grids.
    """
    if axis not in ("frequency", "time"):
        raise ValueError(f"axis {axis!r}: accepted are 'frequency' and 'time'")
    mass = [getattr(structure, f"{axis}_mass") for structure in structures]
    if len({len(row) for row in mass}) != 1:
        lengths = sorted({len(row) for row in mass})
        raise ValueError(f"attention structures of one grid are needed, got {axis} lengths {lengths}")
    uniform = [getattr(structure, f"{axis}_uniform") for structure in structures]
    return np.mean(np.asarray(mass) / np.asarray(uniform), axis=0)


def plot_attention(structures: Sequence[SiteStructure], axis: str, ax: Axes, label: str = "") -> Axes:
    """Attention over uniform by |offset|; a ridge at offset 0 on the frequency axis is what LiteFocus assumes."""
    ratio = attention_ratio(structures, axis)
    ax.plot(range(len(ratio)), ratio, marker="o" if len(ratio) < 40 else None, ms=4, lw=1.4, label=label or None)
    ax.axhline(1, color="#000000", lw=0.8, ls=":")
    ax.set(xlabel=f"|{axis} offset| ({'bins' if axis == 'frequency' else 'token frames'})")
    ax.set(ylabel="attention over uniform, times", ylim=(0, None))
    return ax


def plot_site_map(structures: Sequence[SiteStructure], axis: str, ax: Axes) -> Axes:
    """One row per site: attention over uniform by |offset|, on a logarithmic colour scale centred at uniform."""
    sites = list(dict.fromkeys(structure.site for structure in structures))
    rows = np.stack([attention_ratio([s for s in structures if s.site == site], axis) for site in sites])
    picture = ax.imshow(np.log2(rows), aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
    ax.grid(visible=False)
    ax.set(xlabel=f"|{axis} offset| ({'bins' if axis == 'frequency' else 'token frames'})", ylabel="attention site")
    ax.set_yticks(range(len(sites)), [str(number + 1) for number in range(len(sites))], fontsize=6)
    bar = ax.figure.colorbar(picture, ax=ax, label="attention over uniform")
    bar.set_ticks([-3, 0, 3], labels=["1/8", "1", "8"])
    return ax


def attention_figure(structures: Sequence[SiteStructure], path: Path, subtitle: str) -> list[Path]:
    """Where attention looks: curves over all sites above, one row per site below."""
    with plt.rc_context(RC):
        figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.6), layout="constrained")
        for column, axis in enumerate(("frequency", "time")):
            plot_attention(structures, axis, grid[0, column])
            plot_site_map(structures, axis, grid[1, column])
        return finish(figure, [ax for line in grid for ax in line], "Where self-attention looks", subtitle, path)


def loss_difference(losses: Mapping[str, Sequence[float]], method: str, baseline: str) -> tuple[float, float]:
    """Mean paired difference of a method's loss to the baseline's in per cent of the baseline, and 1.96 s.e. of it.

    The standard error is nan with one clip.
    """
    base = np.asarray(losses[baseline], dtype=np.float64)
    difference = np.asarray(losses[method], dtype=np.float64) - base
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return 100 * float(difference.mean() / base.mean()), 100 * float(1.96 * error / base.mean())


def plot_loss_difference(losses: Losses, ax: Axes, baseline: str = "dense") -> Axes:
    """Denoising loss against dense by clip length, in per cent, with 95% intervals over clips."""
    names = list(dict.fromkeys(name for by_method in losses.values() for name in by_method if name != baseline))
    for index, name in enumerate(names):
        durations = sorted(duration for duration, by_method in losses.items() if name in by_method)
        points = [loss_difference(losses[duration], name, baseline) for duration in durations]
        shift = 1 + 0.025 * (index - (len(names) - 1) / 2)
        colour, marker = style_of(name, names)
        values, errors = zip(*points, strict=True)
        x = [duration * shift for duration in durations]
        ax.errorbar(
            x, values, errors, color=colour, marker=marker, ms=5, lw=1.4, capsize=2, label=name.replace("_", " ")
        )
    ax.axhline(0, color="#000000", lw=0.8, ls=":")
    ax.set(xscale="log", xlabel="clip length (s)", ylabel=f"loss minus {baseline} (%) ↓")
    ax.set_xticks(sorted(losses), [f"{duration:g}" for duration in sorted(losses)])
    ax.set_xticks([], minor=True)
    return ax


def loss_figure(by_level: Mapping[int, Losses], path: Path, subtitle: str) -> list[Path]:
    """One panel per noise level of `plot_loss_difference`."""
    with plt.rc_context(RC):
        figure, axes = panel_grid(len(by_level))
        for (level, losses), ax in zip(sorted(by_level.items()), axes, strict=True):
            plot_loss_difference(losses, ax)
            ax.set_title(f"noise level t = {level}", fontsize=9)
        return finish(figure, axes, "Denoising loss under each method", subtitle, path)


def spectrogram_figure(run_dir: Path, path: Path, prompt_id: str | None = None) -> list[Path]:
    """Mel spectrograms of one prompt and seed under each method at the longest length, one scale for all.

    Args:
        prompt_id: None takes the first prompt that has the most methods to show.
    Returns:
        The written files; none where the run folder holds no audio.
    """
    grid = gather(read_records(run_dir), run_dir)
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
            samples, sample_rate = read_recorded(run_dir, grid.clips[cell])
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
