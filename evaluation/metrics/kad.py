"""Kernel audio distance: an unbiased squared maximum mean discrepancy, times 100.

Y. Chung et al., "KAD: No More FAD!" (arXiv 2502.15602), with A. Gretton et al., JMLR 13 (2012), eq. 3:

    100 * ( mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j) )

The bandwidth is the median distance between pairs of *reference* rows: one number per reference set, the same for
everything scored against it. The estimate has no bias at any N and may be negative. Where several rows (windows)
come from one clip, i and j run over rows of different clips: rows of one clip are alike, and counting their pairs
would raise the distance of clips with more windows.

Shapes: m reference rows, n generated rows, d embedding size, G jackknife groups.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.metrics.fad import check_embeddings
from evaluation.metrics.kernels import (
    ClipSet,
    Kernel,
    clip_sets,
    distances_from,
    kernel_values,
    numbered,
    pair_sums,
    row_sums,
    unbiased,
    without_each,
)
from evaluation.statistics.bootstrap import (
    JACKKNIFE_GROUPS,
    Array,
    Interval,
    Seed,
    deal_groups,
    jackknife_bounds,
    n_groups,
)

_MAX_ROWS = 6000
"""Of a bandwidth: 18 million pairs."""

Compat = Literal["kadtk"]


class KernelDistance(NamedTuple):
    """KAD with its interval and the bandwidth that defines it."""

    interval: Interval
    bandwidth: float
    """Kernel width s, in embedding units; values at different s do not compare."""
    kernel: Kernel


def median_bandwidth(embeddings: ArrayLike, *, seed: Seed = 0) -> float:
    """Median Euclidean distance between different rows of (m, d) ``embeddings``.

    All pairs, up to m = 6000; all pairs of 6000 rows drawn with ``seed`` beyond. Raises ValueError for fewer than two
    rows or a median of zero (duplicated clips, a collapsed embedder).
    """
    rows = check_embeddings(embeddings, "reference").astype(np.float64)
    if len(rows) < 2:
        raise ValueError("a bandwidth needs at least two reference rows; pass bandwidth=")
    if len(rows) > _MAX_ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), _MAX_ROWS, replace=False))]
    return _median_distance(_pairs(rows - rows.mean(axis=0)))


def _pairs(rows: Array) -> Array:
    """(m (m - 1) / 2,) squared distances between different rows of centred (m, d) rows."""
    parts = [
        squared[np.arange(squared.shape[1]) > np.arange(len(squared))[:, None]] for _, squared in distances_from(rows)
    ]
    return np.concatenate(parts)


def _median_distance(squared: Array) -> float:
    bandwidth = float(np.median(np.sqrt(squared), overwrite_input=True))
    if bandwidth == 0:
        raise ValueError("the median distance between reference rows is 0; look for duplicates or pass bandwidth=")
    return bandwidth


def kernel_audio_distance(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    bandwidth: float | None = None,
    kernel: Kernel = "gaussian",
    compat: Compat | None = None,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
) -> float:
    """KAD of (m, d) reference and (n, d) generated embeddings, one row per clip (or per window).

    Args:
        reference: (m, d) embeddings.
        generated: (n, d) embeddings.
        bandwidth: s of the kernel; None takes :func:`median_bandwidth` of the reference.
        kernel: k of the squared distance D: exp(-D / 2s²), 1 / (1 + D / 2s²) or its square root.
        compat: "kadtk" takes the bandwidth from the generated set, as that tool does against its own paper.
        reference_clips: clip id of every row; None means each row is a clip.
        generated_clips: the same of the generated rows.

    Returns:
        100 times the unbiased squared MMD: 0 in expectation for equal distributions, so often negative there;
        nan where a set has fewer than two clips.

    Raises:
        ValueError: shapes, values or options that do not fit.
    """
    result = kernel_audio_distance_interval(
        reference, generated, seed=0, bandwidth=bandwidth, kernel=kernel, compat=compat,
        reference_clips=reference_clips, generated_clips=generated_clips,
    )  # fmt: skip
    return result.interval.value


def kernel_audio_distance_interval(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    seed: Seed,
    bandwidth: float | None = None,
    kernel: Kernel = "gaussian",
    compat: Compat | None = None,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    groups: int = JACKKNIFE_GROUPS,
    confidence: float = 0.95,
) -> KernelDistance:
    """:func:`kernel_audio_distance` with a delete-group jackknife interval over clips, at a fixed bandwidth.

    Clips leave both sets, paired where the sets have the same number of clips.
    """
    sets = clip_sets(reference, generated, reference_clips, generated_clips)
    n_clips = [s.n_clips for s in sets]
    if min(n_clips) < 2:
        none = Interval(np.nan, np.nan, np.nan, n_clips[1], "clip")
        return KernelDistance(none, np.nan if bandwidth is None else float(bandwidth), kernel)
    width = resolve_bandwidth(reference, generated, bandwidth, compat)
    dealt = deal_groups(n_clips, groups, seed)
    counts = (n_groups(dealt),) * 2
    of_pairs = [
        pair_sums(sets[a], sets[b], (dealt[a], dealt[b]), counts, width, kernel) for a, b in ((0, 0), (1, 1), (0, 1))
    ]
    value = float(unbiased(*(total.sum() / pairs.sum() for total, pairs in of_pairs)))
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = unbiased(*(without_each(total) / without_each(pairs) for total, pairs in of_pairs))
    bounds = jackknife_bounds(value, replicates, confidence)
    return KernelDistance(Interval(value, *bounds, n_clips[1], "clip"), width, kernel)


def resolve_bandwidth(
    reference: ArrayLike, generated: ArrayLike, bandwidth: float | None, compat: Compat | None
) -> float:
    """The bandwidth that the options stand for: the number itself, the reference's, or the generated set's."""
    if compat not in (None, "kadtk"):
        raise ValueError(f"compat={compat!r}; give None or 'kadtk'")
    if bandwidth is None:
        return median_bandwidth(generated if compat == "kadtk" else reference)
    if compat is not None:
        raise ValueError("give bandwidth or compat, not both")
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth={bandwidth}; give a positive number")
    return float(bandwidth)


class FixedReference:
    """A reference set that many sets are held against: its bandwidth and its own pairs are computed once.

    Args:
        reference: (m, d) embeddings, each row a clip.
        bandwidth: s of the kernel; None takes the median distance of the reference.

    Raises:
        ValueError: as :func:`median_bandwidth`.
    """

    def __init__(self, reference: ArrayLike, bandwidth: float | None = None) -> None:
        rows = check_embeddings(reference, "reference").astype(np.float64)
        self._mean = rows.mean(axis=0)
        self._set = numbered(rows - self._mean, None)
        few = 1 < len(rows) <= _MAX_ROWS
        pairs = _pairs(self._set.rows) if few else None
        if bandwidth is None and pairs is not None:
            self.bandwidth = _median_distance(pairs)
        else:
            self.bandwidth = resolve_bandwidth(rows, rows, bandwidth, None)
        self._within = self._mean_within(pairs)
        self._sums: dict[bytes, tuple[Array, Array]] = {}

    def _mean_within(self, pairs: Array | None) -> float:
        """Mean kernel between different rows, out of their squared distances where they are held."""
        m = len(self._set.rows)
        if pairs is not None:
            return float(kernel_values(pairs, self.bandwidth, "gaussian").mean())
        return float(self._row_sums(self._set, self._set).sum() / (m * (m - 1))) if m > 1 else np.nan

    def distance(self, generated: ArrayLike, generated_clips: ArrayLike | None = None) -> float:
        """As :func:`kernel_audio_distance` of (n, d) embeddings; nan where a set has fewer than two clips."""
        rows, within, across = self._of(generated, generated_clips)
        n, per_clip = len(rows.rows), np.bincount(rows.clip)
        with np.errstate(divide="ignore", invalid="ignore"):
            yy = within.sum() / (n**2 - per_clip @ per_clip)
            return float(unbiased(self._within, yy, across.sum() / (n * len(self._set.rows))))

    def without_groups(self, generated: ArrayLike, groups: Array, generated_clips: ArrayLike | None = None) -> Array:
        """(G,) distances of the generated rows without each group, from one pass over the kernel.

        Args:
            generated: (n, d) embeddings.
            groups: (n,) number of each row's group, from 0; a clip lies in one.
            generated_clips: (n,) clip id of every row; None means each row is a clip.
        """
        rows, within, across = self._of(generated, generated_clips)
        members = np.eye(int(np.max(groups)) + 1)[groups]
        per_clip = np.bincount(rows.clip)
        group_of_clip = np.zeros(rows.n_clips, np.int64)
        group_of_clip[rows.clip] = groups
        sizes = members.sum(axis=0)
        squares = np.bincount(group_of_clip, per_clip**2, len(sizes))
        # What leaves with a group: its pairs with everything, of which those inside the group were counted twice.
        inside = np.empty(len(sizes))
        for group in range(len(sizes)):
            own = ClipSet(rows.rows[groups == group], rows.clip[groups == group])
            inside[group] = self._row_sums(own, own).sum()
        pairs = within.sum() - 2 * within @ members + inside
        n = len(rows.rows)
        counts = n**2 - per_clip @ per_clip - 2 * (n * sizes - squares) + sizes**2 - squares
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = (across.sum() - across @ members) / ((n - sizes) * len(self._set.rows))
            return np.asarray(unbiased(self._within, pairs / counts, xy))

    def _of(self, generated: ArrayLike, clips: ArrayLike | None) -> tuple[ClipSet, Array, Array]:
        """The rows, and the sums of their kernels with each other and with the reference: computed once for a set."""
        rows = check_embeddings(generated, "generated", len(self._mean)).astype(np.float64)
        found = numbered(rows - self._mean, clips)
        key = hashlib.blake2b(found.rows.data).digest() + hashlib.blake2b(found.clip.data).digest()
        if key not in self._sums:
            self._sums[key] = self._row_sums(found, found), self._row_sums(found, self._set)
        return found, *self._sums[key]

    def _row_sums(self, a: ClipSet, b: ClipSet) -> Array:
        return row_sums(a, b, self.bandwidth, "gaussian")
