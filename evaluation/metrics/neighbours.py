"""Precision, recall, density and coverage of one set of embeddings in the neighbourhoods of another.

M. F. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (arXiv 2002.09797), with precision
and recall from T. Kynkäänniemi et al. (arXiv 1904.06991). The ball of a row reaches to its k-th nearest row of its own
set. With rows x of the reference and y generated:

* precision: share of y in the ball of any x; density: number of such balls over k, mean over y (it may exceed 1);
* recall: share of x in the ball of any y; coverage: share of x whose own ball holds any y.

Shapes: m reference rows, n generated rows, d embedding size, G groups, b rows of a block.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evaluation.metrics.fad import check_embeddings
from evaluation.metrics.kernels import squared_distances
from evaluation.statistics.bootstrap import Array

NEAREST = 5
Neighbourhood = Literal["precision", "recall", "density", "coverage"]
NEIGHBOURHOODS: tuple[Neighbourhood, ...] = ("precision", "recall", "density", "coverage")


class References:
    """A reference set that many sets are held against, with the balls around its rows.

    Args:
        reference: (m, d) embeddings.
        nearest: k, the neighbour that a ball reaches to.

    Raises:
        ValueError: no more than k rows.
    """

    def __init__(self, reference: ArrayLike, nearest: int = NEAREST) -> None:
        rows = check_embeddings(reference, "reference").astype(np.float64)
        if len(rows) <= nearest:
            raise ValueError(f"reference has {len(rows)} rows; a ball to the {nearest}th neighbour takes more")
        self._mean = rows.mean(axis=0)
        self._rows = rows - self._mean
        self.nearest = nearest
        self._radii = _radii(self._rows, nearest, np.full((len(rows), 1), True))[:, 0]

    def value(self, what: Neighbourhood, generated: ArrayLike) -> float:
        """One of the four numbers of (n, d) embeddings; nan for a recall of no more than k rows."""
        rows = self._centred(generated)
        return float(self._values(what, rows, np.full((len(rows), 1), True))[0])

    def without_groups(self, what: Neighbourhood, generated: ArrayLike, groups: Array) -> Array:
        """(G,) the number without each group of generated rows; ``groups`` (n,) holds their numbers, from 0."""
        rows = self._centred(generated)
        return self._values(what, rows, np.asarray(groups)[:, None] != np.arange(int(np.max(groups)) + 1))

    def _centred(self, generated: ArrayLike) -> Array:
        return check_embeddings(generated, "generated", len(self._mean)).astype(np.float64) - self._mean

    def _values(self, what: Neighbourhood, rows: Array, kept: Array) -> Array:
        """(G,) numbers, each of the rows that a column of ``kept`` (n, G) holds."""
        if what in ("precision", "density"):
            balls = self._balls(rows)
            per_row = balls / self.nearest if what == "density" else (balls > 0).astype(np.float64)
            return np.asarray(per_row @ kept / kept.sum(axis=0))
        if what == "coverage":
            return self._share_reached(rows, kept)
        if what == "recall":
            radii = _radii(rows, self.nearest, kept)
            columns = [
                self._share_reached(rows, keep[:, None], radii=own)[0]
                for keep, own in zip(kept.T, radii.T, strict=True)
            ]
            return np.where(kept.sum(axis=0) <= self.nearest, np.nan, columns)
        raise ValueError(f"{what!r}; give one of {', '.join(NEIGHBOURHOODS)}")

    def _balls(self, rows: Array) -> Array:
        """(n,) how many balls of the reference hold each row."""
        blocks = squared_distances(rows, self._rows)
        return np.concatenate([(squared < self._radii).sum(axis=1) for _, squared in blocks]).astype(np.float64)

    def _share_reached(self, rows: Array, kept: Array, radii: Array | None = None) -> Array:
        """(G,) share of reference rows in the ball of any kept row; without ``radii``, whose own ball holds any."""
        columns = kept.astype(np.float32)
        reached = []
        for start, squared in squared_distances(self._rows, rows):
            limit = self._radii[start : start + len(squared), None] if radii is None else radii
            reached.append((squared < limit).astype(np.float32) @ columns > 0)
        return np.asarray(np.concatenate(reached).mean(axis=0))


def _radii(rows: Array, nearest: int, kept: Array) -> Array:
    """(n, G) squared distance of each row to its k-th nearest other row among those that each column keeps."""
    radii = np.zeros((len(rows), kept.shape[1]))
    for start, squared in squared_distances(rows, rows):
        own = np.arange(len(squared))
        squared[own, start + own] = np.inf
        for column, keep in enumerate(kept.T):
            others = squared[:, keep]
            if others.shape[1] >= nearest:
                radii[start : start + len(squared), column] = np.partition(others, nearest - 1)[:, nearest - 1]
    return radii
