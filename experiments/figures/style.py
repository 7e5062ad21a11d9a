"""The house style of all figures: colour-blind safe, a fixed look per method, equal bytes for equal rows."""

import logging
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib

from experiments.figures.fonts import with_fonts, without_boxes
from experiments.system.files import whole_file

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with any colour vision. A method keeps its colour and marker in every figure.
STYLES = {
    "dense": ("#000000", "o"),
    "naive": ("#999999", "s"),
    "authors": ("#CC79A7", "D"),
    "litefocus": ("#0072B2", "^"),
    "focus_only": ("#009E73", "v"),
    "compensation_only": ("#E69F00", "P"),
    "no_attention": ("#D55E00", "x"),
    "no_attention_optimized": ("#D55E00", "+"),
    "dense_optimized": ("#666666", "o"),
    "litefocus_optimized": ("#56B4E9", "<"),
    "litefocus_linear": ("#7F3C8D", "*"),
    "litefocus_linear_narrow": ("#F0E442", "h"),
    "litefocus_linear_optimized": ("#CC79A7", "p"),
    "litefocus_linear_narrow_optimized": ("#E69F00", "H"),
    "deleted": ("#663333", "X"),
    "uniform": ("#999999", "d"),
    "litefocus_fresh_keys": ("#56B4E9", "<"),
}
# For methods without a look of their own: far from the colours above and, the first of them most, from each other.
SPARE_COLOURS = (
    "#332288", "#66A61E", "#661100", "#E7298A", "#F97B72", "#DDCC77", "#222255", "#882255", "#008695", "#A6761D",
    "#B2182B", "#44AA99", "#999933", "#228833",
)  # fmt: skip
SPARE_MARKERS = "sDvP^X><h8*pd"
RC: Any = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "litefocus",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # journals refuse type 3 fonts
}

# Embedding a font logs a line for each of its tables.
logging.getLogger("fontTools").setLevel(logging.WARNING)


def style_of(method: str, names: Sequence[str]) -> tuple[str, str]:
    """(colour, marker) of a method; methods without a fixed style take spare ones in order of appearance.

    Colours start again after 14 methods, with other markers.
    """
    if method in STYLES:
        return STYLES[method]
    number = [name for name in names if name not in STYLES].index(method)
    return SPARE_COLOURS[number % len(SPARE_COLOURS)], SPARE_MARKERS[number % len(SPARE_MARKERS)]


def length_axis(durations_s: Iterable[float], ax: Axes) -> None:
    """Clip lengths on a logarithmic axis, with room beside the outermost marks: to be called once they are drawn."""
    lengths = sorted(set(durations_s))
    ax.set(xscale="log", xlabel="clip length (s)")
    ax.set_xticks(lengths, [f"{length:g}" for length in lengths])
    ax.set_xticks([], minor=True)
    low, high = min(lengths[0], ax.dataLim.x0), max(lengths[-1], ax.dataLim.x1)
    room = 1.04 * (high / low) ** 0.04
    ax.set_xlim(low / room, high * room)


def titled(ax: Axes, title: str, subtitle: str) -> None:
    """A title above the axes with small lines under it, one or more."""
    ax.set_title(title + "\n" * (1 + subtitle.count("\n")), loc="left", fontweight="bold")
    ax.text(0, 1.02, subtitle, transform=ax.transAxes, fontsize=7.5, color="#555555", va="bottom")


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as svg, png and pdf without a date, so that equal rows give equal bytes.

    The svg keeps its text as text, which its viewer's fonts show; in the others fonts of this machine do.
    """
    written = []
    with_fonts(figure)
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        drawn = nullcontext() if suffix == ".svg" else without_boxes(figure)
        with whole_file(path.with_suffix(suffix)) as file, drawn, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # in the svg's layout alone
            figure.savefig(file, format=suffix[1:], bbox_inches="tight", metadata=metadata)
        written.append(path.with_suffix(suffix))
    plt.close(figure)
    return written
