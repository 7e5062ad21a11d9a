"""Kernel audio distance: an unbiased squared maximum mean discrepancy, times 100.

Y. Chung et al., "KAD: No More FAD!" (arXiv 2502.15602), with A. Gretton et al., JMLR 13 (2012), eq. 3:

    100 * ( mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j) )

The bandwidth is the median distance between pairs of *reference* rows: one number per reference set, the same for
everything scored against it. The estimate has no bias at any N and may be negative. Where several rows (windows)
come from one clip, i and j run over rows of different clips: rows of one clip are alike, and counting their pairs
would raise the distance of clips with more windows.

Shapes: m reference rows, n generated rows, d embedding size, G jackknife groups, P permutations.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import (
    JACKKNIFE_GROUPS,
    Array,
    Interval,
    Seed,
    deal_groups,
    jackknife_bounds,
)
from evaluation.fad import check_embeddings
from evaluation.kernels import (
    SCALE,
    ClipSet,
    Kernel,
    clip_sets,
    group_sums,
    kernel_blocks,
    kernel_values,
    labelled_distances,
    leave_out,
    numbered,
    squared_distances,
    unbiased,
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
    number = np.arange(len(rows))
    return np.concatenate(
        [squared[number > start + np.arange(len(squared))[:, None]] for start, squared in squared_distances(rows, rows)]
    )


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
    value, replicates = leave_out(*group_sums(sets, dealt, width, kernel))
    bounds = jackknife_bounds(value, replicates, confidence)
    return KernelDistance(Interval(value, *bounds, n_clips[1], "clip"), width, kernel)


def kernel_audio_distance_p_value(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    seed: Seed,
    bandwidth: float | None = None,
    kernel: Kernel = "gaussian",
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    permutations: int = 999,
) -> float:
    """Permutation p-value of equal distributions: clips change sets, the bandwidth stays.

    Returns (1 + hits) / (1 + permutations), or nan with fewer than two clips on a side. The kernel matrix of the
    pooled rows is built in blocks, once for all permutations.
    """
    first, second = clip_sets(reference, generated, reference_clips, generated_clips)
    if min(first.n_clips, second.n_clips) < 2:
        return np.nan
    width = resolve_bandwidth(reference, generated, bandwidth, None)
    pooled = ClipSet(
        np.concatenate([first.rows, second.rows]), np.concatenate([first.clip, second.clip + first.n_clips])
    )
    labels = np.zeros((pooled.n_clips, permutations + 1))
    labels[: first.n_clips] = 1
    generator = np.random.default_rng(seed)
    for column in range(1, permutations + 1):
        generator.shuffle(labels[:, column])
    distances = labelled_distances(pooled, labels, width, kernel)
    # A permutation that only swaps like with like sums the same numbers in another order.
    hits = int(np.sum(distances[1:] >= distances[0] - 1e-12 * SCALE))
    return (1 + hits) / (1 + permutations)


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

    def _mean_within(self, pairs: Array | None) -> float:
        """Mean kernel between different rows, out of their squared distances where they are held."""
        m = len(self._set.rows)
        if pairs is not None:
            return float(kernel_values(pairs, self.bandwidth, "gaussian").mean())
        total = sum(block.sum() for _, block in kernel_blocks(self._set, self._set, self.bandwidth, "gaussian"))
        return float(total / (m * (m - 1))) if m > 1 else np.nan

    def distance(self, generated: ArrayLike, generated_clips: ArrayLike | None = None) -> float:
        """As :func:`kernel_audio_distance` of (n, d) embeddings; nan where a set has fewer than two clips."""
        pairs, counts, across, sizes = self._sums(generated, generated_clips, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(unbiased(self._within, pairs.sum() / counts.sum(), across.sum() / sizes.sum()))

    def without_groups(self, generated: ArrayLike, groups: Array, generated_clips: ArrayLike | None = None) -> Array:
        """(G,) distances of the generated rows without each group, from one pass over the kernel.

        Args:
            generated: (n, d) embeddings.
            groups: (n,) number of each row's group, from 0; a clip lies in one.
            generated_clips: (n,) clip id of every row; None means each row is a clip.
        """
        pairs, counts, across, sizes = self._sums(generated, generated_clips, np.asarray(groups))
        kept = [x.sum() - x.sum(axis=0) - x.sum(axis=1) + np.diag(x) for x in (pairs, counts)]
        with np.errstate(divide="ignore", invalid="ignore"):
            yy, xy = kept[0] / kept[1], (across.sum() - across) / (sizes.sum() - sizes)
            return np.asarray(unbiased(self._within, yy, xy))

    def _sums(
        self, generated: ArrayLike, clips: ArrayLike | None, groups: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        """Between groups (G, G): the kernel's sum and the pairs; to the reference (G,): the kernel's sum and pairs."""
        rows = check_embeddings(generated, "generated", len(self._mean)).astype(np.float64)
        found = numbered(rows - self._mean, clips)
        group = np.zeros(len(rows), np.int64) if groups is None else groups
        members = np.eye(int(group.max()) + 1)[group]
        pairs, across = np.zeros((members.shape[1],) * 2), np.zeros(members.shape[1])
        for block, values in kernel_blocks(found, found, self.bandwidth, "gaussian"):
            pairs += members[block].T @ (values @ members)
        for block, values in kernel_blocks(found, self._set, self.bandwidth, "gaussian"):
            across += members[block].T @ values.sum(axis=1)
        sizes = members.sum(axis=0)
        per_clip = np.bincount(found.clip)
        group_of_clip = np.zeros(found.n_clips, np.int64)
        group_of_clip[found.clip] = group
        counts = np.outer(sizes, sizes) - np.diag(np.bincount(group_of_clip, per_clip**2, len(sizes)))
        return pairs, counts, across, sizes * len(self._set.rows)
