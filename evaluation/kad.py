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

from collections.abc import Iterator
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
    n_groups,
    rows_by_clip,
)
from evaluation.fad import check_embeddings

SCALE = 100.0
_BLOCK_ROWS = 1024
_MAX_PAIRS = 2_000_000

Kernel = Literal["gaussian", "inverse_quadratic", "inverse_multiquadric"]
Compat = Literal["kadtk"]


class KernelDistance(NamedTuple):
    """KAD with its interval and the bandwidth that defines it."""

    interval: Interval
    bandwidth: float
    """Kernel width s, in embedding units; values at different s do not compare."""
    kernel: Kernel


def median_bandwidth(embeddings: ArrayLike, *, seed: Seed = 0) -> float:
    """Median Euclidean distance between different rows of (m, d) ``embeddings``.

    All pairs up to m = 2000, two million pairs drawn with ``seed`` beyond. Raises ValueError for fewer than two rows
    or a median of zero (duplicated clips, a collapsed embedder).
    """
    rows = check_embeddings(embeddings, "reference").astype(np.float64)
    if len(rows) < 2:
        raise ValueError("a bandwidth needs at least two reference rows; pass bandwidth=")
    rows -= rows.mean(axis=0)
    if len(rows) * (len(rows) - 1) // 2 <= _MAX_PAIRS:
        upper = [
            np.sqrt(squared[np.arange(len(rows)) > start + np.arange(len(squared))[:, None]])
            for start, squared in _squared_distances(rows, rows)
        ]
        bandwidth = float(np.median(np.concatenate(upper)))
    else:
        bandwidth = float(np.median(_random_pair_distances(rows, np.random.default_rng(seed))))
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
        reference_clips, generated_clips: clip id of every row; None means each row is a clip.

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
    sets = _clip_sets(reference, generated, reference_clips, generated_clips)
    n_clips = [s.n_clips for s in sets]
    if min(n_clips) < 2:
        none = Interval(np.nan, np.nan, np.nan, n_clips[1], "clip")
        return KernelDistance(none, np.nan if bandwidth is None else float(bandwidth), kernel)
    width = resolve_bandwidth(reference, generated, bandwidth, compat)
    dealt = deal_groups(n_clips, groups, seed)
    value, replicates = _leave_out(*_group_sums(sets, dealt, width, kernel))
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
    first, second = _clip_sets(reference, generated, reference_clips, generated_clips)
    if min(first.n_clips, second.n_clips) < 2:
        return np.nan
    width = resolve_bandwidth(reference, generated, bandwidth, None)
    pooled = _ClipSet(
        np.concatenate([first.rows, second.rows]), np.concatenate([first.clip, second.clip + first.n_clips])
    )
    labels = np.zeros((pooled.n_clips, permutations + 1))
    labels[: first.n_clips] = 1
    generator = np.random.default_rng(seed)
    for column in range(1, permutations + 1):
        generator.shuffle(labels[:, column])
    distances = _labelled_distances(pooled, labels, width, kernel)
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


class _ClipSet(NamedTuple):
    rows: Array
    clip: Array
    """(n,) clip number of every row, from 0."""

    @property
    def n_clips(self) -> int:
        return int(self.clip.max()) + 1


def _clip_sets(
    reference: ArrayLike, generated: ArrayLike, reference_clips: ArrayLike | None, generated_clips: ArrayLike | None
) -> tuple[_ClipSet, _ClipSet]:
    """Both sets in float64 around their common mean: distances by expansion cancel badly far from the origin."""
    first = check_embeddings(reference, "reference").astype(np.float64)
    second = check_embeddings(generated, "generated", first.shape[1]).astype(np.float64)
    mean = (first.sum(axis=0) + second.sum(axis=0)) / (len(first) + len(second))
    sets = []
    for rows, clips in ((first, reference_clips), (second, generated_clips)):
        number = np.empty(len(rows), np.int64)
        for clip, members in enumerate(rows_by_clip(clips, len(rows))):
            number[members] = clip
        sets.append(_ClipSet(rows - mean, number))
    return sets[0], sets[1]


def _squared_distances(first: Array, second: Array) -> Iterator[tuple[int, Array]]:
    """Blocks (start row, (b, n) squared distances), never negative."""
    norms = np.sum(second**2, axis=1)
    for start in range(0, len(first), _BLOCK_ROWS):
        block = first[start : start + _BLOCK_ROWS]
        squared = np.sum(block**2, axis=1)[:, None] + norms - 2 * block @ second.T
        yield start, np.maximum(squared, 0, out=squared)


def _random_pair_distances(rows: Array, generator: np.random.Generator) -> Array:
    left = generator.integers(len(rows), size=_MAX_PAIRS)
    right = (left + generator.integers(1, len(rows), size=_MAX_PAIRS)) % len(rows)
    step = 8192
    return np.concatenate(
        [np.linalg.norm(rows[left[i : i + step]] - rows[right[i : i + step]], axis=1)
         for i in range(0, _MAX_PAIRS, step)]
    )  # fmt: skip


def _kernel_values(squared: Array, bandwidth: float, kernel: Kernel) -> Array:
    ratio = squared / (2 * bandwidth**2)
    if kernel == "gaussian":
        return np.exp(-ratio)
    if kernel == "inverse_quadratic":
        return 1 / (1 + ratio)
    if kernel == "inverse_multiquadric":
        return 1 / np.sqrt(1 + ratio)
    raise ValueError(f"kernel={kernel!r}; give 'gaussian', 'inverse_quadratic' or 'inverse_multiquadric'")


def _kernel_blocks(a: _ClipSet, b: _ClipSet, bandwidth: float, kernel: Kernel) -> Iterator[tuple[slice, Array]]:
    """Blocks of the kernel matrix; within a set, pairs of the same clip (and so the diagonal) are 0."""
    for start, squared in _squared_distances(a.rows, b.rows):
        values = _kernel_values(squared, bandwidth, kernel)
        block = slice(start, start + len(values))
        if a is b:
            values[a.clip[block][:, None] == a.clip] = 0
        yield block, values


def _group_sums(
    sets: tuple[_ClipSet, _ClipSet], dealt: list[Array], bandwidth: float, kernel: Kernel
) -> tuple[list[Array], list[Array]]:
    """Sum of the kernel and number of pairs between groups of clips, each three (G, G) arrays: xx, yy, xy."""
    groups = np.eye(n_groups(dealt))
    members = [groups[group[s.clip]] for s, group in zip(sets, dealt, strict=True)]
    sums, counts = [], []
    for a, b in ((0, 0), (1, 1), (0, 1)):
        total = np.zeros_like(groups)
        for rows, values in _kernel_blocks(sets[a], sets[b], bandwidth, kernel):
            total += members[a][rows].T @ (values @ members[b])
        pairs = np.outer(members[a].sum(axis=0), members[b].sum(axis=0))
        if a == b:
            squares = np.bincount(dealt[a], np.bincount(sets[a].clip) ** 2, len(groups))
            pairs -= np.diag(squares)
        sums.append(total)
        counts.append(pairs)
    return sums, counts


def _leave_out(sums: list[Array], counts: list[Array]) -> tuple[float, Array]:
    """The distance on everything, and the (G,) distances without one group."""
    everything = _unbiased(*(s.sum() / c.sum() for s, c in zip(sums, counts, strict=True)))
    kept = [[x.sum() - x.sum(axis=0) - x.sum(axis=1) + np.diag(x) for x in part] for part in (sums, counts)]
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = _unbiased(*(s / c for s, c in zip(*kept, strict=True)))
    return float(everything), replicates


def _unbiased(xx: Array, yy: Array, xy: Array) -> Array:
    return SCALE * (xx + yy - 2 * xy)


def _labelled_distances(pooled: _ClipSet, labels: Array, bandwidth: float, kernel: Kernel) -> Array:
    """(P,) distances for (clips, P) labels, 1 in the reference and 0 in the generated set."""
    row_labels = labels[pooled.clip]
    within, either, total = np.zeros(labels.shape[1]), np.zeros(labels.shape[1]), 0.0
    for rows, values in _kernel_blocks(pooled, pooled, bandwidth, kernel):
        within += np.einsum("bp,bp->p", row_labels[rows], values @ row_labels)
        row_sums = values.sum(axis=1)
        either += row_sums @ row_labels[rows]
        total += row_sums.sum()
    per_clip = np.bincount(pooled.clip)
    m = per_clip @ labels
    n = per_clip.sum() - m
    m_pairs, n_pairs = m**2 - per_clip**2 @ labels, n**2 - per_clip**2 @ (1 - labels)
    return _unbiased(within / m_pairs, (total - 2 * either + within) / n_pairs, (either - within) / (m * n))
