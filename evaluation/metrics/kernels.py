"""Kernel matrices of sets of embeddings, in blocks: sums over pairs of rows that belong to different clips.

Shapes: m, n rows, d embedding size, b rows of a block, G jackknife groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.metrics.fad import check_embeddings
from evaluation.statistics.bootstrap import Array, rows_by_clip

SCALE = 100.0
_BLOCK_ROWS = 1024

Kernel = Literal["gaussian", "inverse_quadratic", "inverse_multiquadric"]


class ClipSet(NamedTuple):
    """Centred rows and the clips they belong to."""

    rows: Array
    """(n, d) float64."""
    clip: Array
    """(n,) clip number of every row, from 0."""

    @property
    def n_clips(self) -> int:
        """Number of clips."""
        return int(self.clip.max()) + 1


def clip_sets(
    reference: ArrayLike, generated: ArrayLike, reference_clips: ArrayLike | None, generated_clips: ArrayLike | None
) -> tuple[ClipSet, ClipSet]:
    """Both sets in float64 around their common mean: distances by expansion cancel badly far from the origin."""
    first = check_embeddings(reference, "reference").astype(np.float64)
    second = check_embeddings(generated, "generated", first.shape[1]).astype(np.float64)
    mean = (first.sum(axis=0) + second.sum(axis=0)) / (len(first) + len(second))
    return numbered(first - mean, reference_clips), numbered(second - mean, generated_clips)


def numbered(rows: Array, clips: ArrayLike | None) -> ClipSet:
    """(n, d) rows with their (n,) clip ids as numbers; None means each row is a clip."""
    number = np.empty(len(rows), np.int64)
    for clip, members in enumerate(rows_by_clip(clips, len(rows))):
        number[members] = clip
    return ClipSet(rows, number)


def squared_distances(first: Array, second: Array) -> Iterator[tuple[int, Array]]:
    """Blocks (start row, (b, n) squared distances), never negative."""
    norms = np.sum(second**2, axis=1)
    for start in range(0, len(first), _BLOCK_ROWS):
        yield start, _squared(first[start : start + _BLOCK_ROWS], second, norms)


def distances_from(rows: Array) -> Iterator[tuple[int, Array]]:
    """Blocks (start row, (b, n - start) squared distances to the rows from there on): every pair, hardly one twice."""
    norms = np.sum(rows**2, axis=1)
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield start, _squared(rows[start : start + _BLOCK_ROWS], rows[start:], norms[start:])


def _squared(block: Array, rows: Array, norms: Array) -> Array:
    squared = block @ rows.T
    squared *= -2
    squared += norms
    squared += np.sum(block**2, axis=1)[:, None]
    return np.asarray(np.maximum(squared, 0, out=squared))


def kernel_values(squared: Array, bandwidth: float, kernel: Kernel) -> Array:
    """The kernel of squared distances. ValueError for an unknown one."""
    ratio = squared / (2 * bandwidth**2)
    if kernel == "gaussian":
        return np.asarray(np.exp(np.negative(ratio, out=ratio), out=ratio))
    if kernel == "inverse_quadratic":
        return 1 / (1 + ratio)
    if kernel == "inverse_multiquadric":
        return 1 / np.sqrt(1 + ratio)
    raise ValueError(f"kernel={kernel!r}; give 'gaussian', 'inverse_quadratic' or 'inverse_multiquadric'")


def kernel_blocks(a: ClipSet, b: ClipSet, bandwidth: float, kernel: Kernel) -> Iterator[tuple[slice, Array]]:
    """Blocks of the kernel matrix; within a set, pairs of the same clip (and so the diagonal) are 0."""
    for start, squared in squared_distances(a.rows, b.rows):
        values = kernel_values(squared, bandwidth, kernel)
        block = slice(start, start + len(values))
        if a is b:
            values[a.clip[block][:, None] == a.clip] = 0
        yield block, values


def pair_sums(
    a: ClipSet, b: ClipSet, dealt: tuple[Array, Array], counts: tuple[int, int], bandwidth: float, kernel: Kernel
) -> tuple[Array, Array]:
    """Sum of the kernel, and number of pairs, between groups of clips of two sets: (G, G') each.

    Args:
        dealt: the group of each clip of either set. counts: G and G'.
    """
    first, second = (np.eye(n)[group[s.clip]] for s, group, n in zip((a, b), dealt, counts, strict=True))
    total = np.zeros(counts)
    for rows, values in kernel_blocks(a, b, bandwidth, kernel):
        total += first[rows].T @ (values @ second)
    pairs = np.outer(first.sum(axis=0), second.sum(axis=0))
    if a is b:
        pairs -= np.diag(np.bincount(dealt[0], np.bincount(a.clip) ** 2, counts[0]))
    return total, pairs


def row_sums(a: ClipSet, b: ClipSet, bandwidth: float, kernel: Kernel) -> Array:
    """Sum of each row of the kernel matrix of :func:`kernel_blocks`; within a set out of half of the matrix."""
    sums = np.zeros(len(a.rows))
    if a is not b:
        for block, values in kernel_blocks(a, b, bandwidth, kernel):
            sums[block] = values.sum(axis=1)
        return sums
    for start, squared in distances_from(a.rows):
        values = kernel_values(squared, bandwidth, kernel)
        stop = start + len(values)
        values[a.clip[start:stop, None] == a.clip[start:]] = 0
        sums[start:stop] += values.sum(axis=1)
        sums[stop:] += values[:, len(values) :].sum(axis=0)
    return sums


def without_each(sums: Array) -> Array:
    """(G,) what is left of the sum of (G, G) ``sums`` without one group."""
    return np.asarray(sums.sum() - sums.sum(axis=0) - sums.sum(axis=1) + np.diag(sums))


def unbiased(xx: Array | float, yy: Array | float, xy: Array | float) -> Array | float:
    """The distance out of the mean kernel within either set and between them."""
    return SCALE * (xx + yy - 2 * xy)
