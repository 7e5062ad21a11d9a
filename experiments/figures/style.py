"""The house style of all figures: colour-blind safe, a fixed look per method, equal bytes for equal rows."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

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
    "litefocus_linear": ("#009E73", "*"),
    "litefocus_linear_narrow": ("#F0E442", "h"),
    "litefocus_linear_optimized": ("#CC79A7", "p"),
    "litefocus_linear_narrow_optimized": ("#E69F00", "H"),
    "deleted": ("#D55E00", "X"),
    "uniform": ("#999999", "d"),
    "litefocus_fresh_keys": ("#56B4E9", "<"),
}
SPARE_STYLES = (
    ("#56B4E9", ">"), ("#F0E442", "s"), ("#0072B2", "h"), ("#009E73", "D"), ("#CC79A7", "X"),
    ("#D55E00", "v"), ("#E69F00", "8"), ("#000000", "^"), ("#999999", "P"), ("#0072B2", "*"),
)  # fmt: skip
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
    """(colour, marker) of a method; methods without a fixed style take spare ones in order of appearance."""
    if method in STYLES:
        return STYLES[method]
    others = [name for name in names if name not in STYLES]
    return SPARE_STYLES[others.index(method) % len(SPARE_STYLES)]


def titled(ax: Axes, title: str, subtitle: str) -> None:
    """A title above the axes with small lines under it, one or more."""
    ax.set_title(title + "\n" * (1 + subtitle.count("\n")), loc="left", fontweight="bold")
    ax.text(0, 1.02, subtitle, transform=ax.transAxes, fontsize=7.5, color="#555555", va="bottom")


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as svg, png and pdf without a date, so that equal rows give equal bytes."""
    written = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        with whole_file(path.with_suffix(suffix)) as file:
            figure.savefig(file, format=suffix[1:], bbox_inches="tight", metadata=metadata)
        written.append(path.with_suffix(suffix))
    plt.close(figure)
    return written
