"""The figure of where a step's time goes: the patched self-attention beside the rest, from timing records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from experiments.figures.panels import finish
from experiments.figures.style import RC
from experiments.records import AA_SUFFIX, TimingRecord
from experiments.records.provenance import places
from experiments.records.run import Run

ATTENTION_COLOUR, REST_COLOUR = "#D55E00", "#BBBBBB"


class StepShare(NamedTuple):
    """Median seconds of one arm's step in the patched self-attention and in the rest of the UNet."""

    duration_s: float
    label: str
    attention_s: float
    rest_s: float


def step_time_figure(run: Run, path: Path) -> list[Path]:
    """Draw the timed arms of every length, if the limit was timed; returns the written files."""
    shares = step_shares(run)
    if not shares:
        return []
    by_length = {s.duration_s: [other for other in shares if other.duration_s == s.duration_s] for s in shares}
    with plt.rc_context(RC):
        height = 0.32 * max(map(len, by_length.values())) + 1.0
        lines, columns = -(-len(by_length) // 2), min(2, len(by_length))
        figure, grid = plt.subplots(lines, columns, figsize=(9, height * lines), squeeze=False, layout="constrained")
        axes = [ax for line in grid for ax in line]
        for here, ax in zip(by_length.values(), axes, strict=False):
            plot_step_time(here, ax)
        for ax in axes[len(by_length) :]:
            ax.remove()
        subtitle = "\n".join([places(run.current_of(TimingRecord), run.runs), run.settings()])
        return finish(figure, axes[: len(by_length)], "Where a step's time goes", subtitle, path)


def step_shares(run: Run) -> list[StepShare]:
    """Every timed arm of each length, over the rounds of the timings that count.

    The rest is the median step with that attention removed (the timing's limit arm); without that arm, nothing.
    """
    shares = []
    for duration, timings in run.timings.items():
        for name in timings[-1].latencies_s:
            if timings[-1].limit in timings[-1].latencies_s and not name.endswith(AA_SUFFIX):
                rounds = [
                    (mine, limit)
                    for timing in timings
                    for mine, limit in zip(timing.latencies_s[name], timing.latencies_s[timing.limit], strict=True)
                ]
                attention = statistics.median(max(0.0, mine - limit) for mine, limit in rounds)
                rest = statistics.median(limit for _, limit in rounds)
                shares.append(StepShare(duration, timings[-1].labels.get(name, name), attention, rest))
    return shares


def plot_step_time(shares: Sequence[StepShare], ax: Axes) -> Axes:
    """Stacked bars of one length: the rest of the UNet, then the patched self-attention."""
    rows = range(len(shares))
    rest, attention = [share.rest_s for share in shares], [share.attention_s for share in shares]
    ax.barh(rows, rest, color=REST_COLOUR, label="rest of the UNet")
    ax.barh(rows, attention, left=rest, color=ATTENTION_COLOUR, label="self-attention that LiteFocus replaces")
    for row, (below, above) in enumerate(zip(rest, attention, strict=True)):
        ax.text(below + above, row, f" {above / (below + above):.0%}", va="center", fontsize=7.5)
    ax.set_yticks(rows, [share.label for share in shares], fontsize=8)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="time per denoising step (s)", title=f"{shares[0].duration_s:g} s clips")
    ax.margins(x=0.12)
    return ax
