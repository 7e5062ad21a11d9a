"""FAD extrapolated to an infinite sample, after M. J. Chong & D. Forsyth, "Effectively Unbiased FID" (1911.07023).

FAD on n clips is biased by about slope / n. FAD is measured on nested sizes n, each drawn *without* replacement and
by whole clips, and a line over 1/n gives the value at 1/n = 0. Drawing frames with replacement, as the public
toolkits do, resamples the bias of the full set and extrapolates back to plain FAD.

Shapes: N clips, n clips drawn, d embedding size, P sizes (points), R repeats per size.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from evaluation.metrics.fad import Moments, check_embeddings, frechet_distance
from evaluation.statistics.bootstrap import Array, Interval, Seed, deal_groups, jackknife_bounds, n_groups, rows_by_clip

_SMALLEST_FRACTION = 0.25
_FRAMES_PER_DIMENSION = 5
_POINTS = 15

Variant = Literal["joint", "generated-only"]


class FadInfinity(NamedTuple):
    """FAD-infinity and the fit behind it."""

    interval: Interval
    """Intercept with its interval by clip; the bounds are nan where only the value was asked for."""
    slope: float
    """Bias times n: FAD(n) is about value + slope / n, n in clips."""
    r_squared: float
    """Share of the variance over sizes that the line explains."""
    variant: Variant
    """"joint" removes the bias of both sets, "generated-only" that of the generated set."""
    sizes: tuple[int, ...]
    """The P sizes n."""
    distances: tuple[float, ...]
    """Mean FAD over the repeats at each size."""


class _ClipSet(NamedTuple):
    rows: Array
    members: list[Array]
    """Row indices of each clip."""
    priority: Array
    """(R, P, N): the n clips of least priority form the subset of a (repeat, size)."""

    def without(self, dealt: Array, group: int) -> _ClipSet:
        keep = dealt != group
        return _ClipSet(self.rows, [m for m, k in zip(self.members, keep, strict=True) if k], self.priority[..., keep])

    def draw(self, repeat: int, point: int, n: int) -> Array:
        chosen = np.sort(np.argsort(self.priority[repeat, point], kind="stable")[:n])
        return self.rows[np.concatenate([self.members[i] for i in chosen])]


def fad_infinity(
    reference: ArrayLike | Moments,
    generated: ArrayLike,
    *,
    seed: Seed,
    joint: bool = True,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    points: int = _POINTS,
    repeats: int = 5,
) -> float:
    """Value alone of :func:`fad_infinity_interval`, about 20 times faster."""
    sets, exact = _clip_sets(reference, generated, seed, joint, [reference_clips, generated_clips], points, repeats)
    return _fit(*_curve(sets, exact, points))[0]


def fad_infinity_interval(
    reference: ArrayLike | Moments,
    generated: ArrayLike,
    *,
    seed: Seed,
    joint: bool = True,
    reference_clips: ArrayLike | None = None,
    generated_clips: ArrayLike | None = None,
    points: int = _POINTS,
    repeats: int = 5,
    groups: int = 20,
    confidence: float = 0.95,
) -> FadInfinity:
    """FAD-infinity with slope, R² and a delete-group jackknife interval over clips.

    Args:
        reference: (m, d) frames, or :class:`Moments` of an exact or fixed reference (then ``joint=False``).
        generated: (n, d) frames.
        seed: decides subsets and jackknife groups.
        joint: subsample the reference with the same n, which removes its bias too; otherwise "generated-only".
        reference_clips, generated_clips: clip id of every row; None means each row is a clip.
        points: sizes, evenly spaced in 1/n from N/4 to N clips, N the number of clips of the smaller set.
        repeats: subsets drawn per size.
        groups: jackknife groups.
        confidence: coverage aimed at.

    Raises:
        ValueError: fewer than 5 d frames at the smallest size, too few clips for ``points`` different sizes, or
            ``joint`` with a reference that has no clips.
    """
    clips = [reference_clips, generated_clips]
    sets, exact = _clip_sets(reference, generated, seed, joint, clips, points, repeats)
    sizes, distances = _curve(sets, exact, points)
    value, slope, r_squared = _fit(sizes, distances)
    dealt = deal_groups([len(s.members) for s in sets], groups, seed)
    # The subsets of every replicate follow the same priorities, so that replicates differ by the clips left out
    # and not by a fresh draw, whose noise the jackknife would multiply by the number of groups.
    replicates = [
        _fit(*_curve([s.without(d, group) for s, d in zip(sets, dealt, strict=True)], exact, points))[0]
        for group in tqdm(range(n_groups(dealt)), desc="FAD-infinity jackknife", delay=2, leave=False)
    ]
    bounds = jackknife_bounds(value, replicates, confidence)
    interval = Interval(value, *bounds, len(sets[-1].members), "clip")
    variant: Variant = "joint" if joint else "generated-only"
    return FadInfinity(interval, slope, r_squared, variant, tuple(sizes.tolist()), tuple(distances.tolist()))


def _clip_sets(
    reference: ArrayLike | Moments,
    generated: ArrayLike,
    seed: Seed,
    joint: bool,
    clips: list[ArrayLike | None],
    points: int,
    repeats: int,
) -> tuple[list[_ClipSet], Array | Moments | None]:
    """The sets to subsample, generated last, and the reference to hold fixed (None for the joint variant)."""
    named: list[tuple[str, ArrayLike, ArrayLike | None]] = [("generated", generated, clips[1])]
    exact: Array | Moments | None = None
    if not joint:
        exact = reference if isinstance(reference, Moments) else check_embeddings(reference, "reference")
    elif isinstance(reference, Moments):
        raise ValueError("reference is given as Moments and has no clips to draw; pass joint=False")
    else:
        named.insert(0, ("reference", reference, clips[0]))
    if min(points, repeats) < 1 or points < 3:
        raise ValueError(f"points={points}, repeats={repeats}; give at least 3 points and 1 repeat")
    generator = np.random.default_rng(seed)
    sets = []
    for name, data, ids in named:
        rows = check_embeddings(data, name)
        members = rows_by_clip(ids, len(rows))
        sets.append(_ClipSet(rows, members, generator.random((repeats, points, len(members)))))
    check_enough([s.members for s in sets], sets[0].rows.shape[1], points)
    return sets, exact


def check_enough(sets: list[list[Array]], dimension: int, points: int = _POINTS) -> None:
    """Raise ValueError for sets too small to extrapolate from, each given as the row numbers of its clips."""
    largest = min(map(len, sets))
    sizes = _sizes(largest, points)
    if len(np.unique(sizes)) < points:
        clips = "1 clip does" if largest == 1 else f"{largest} clips do"
        raise ValueError(f"{clips} not give {points} different sizes; add clips or lower points")
    for members in sets:
        frames = int(np.sort([len(rows) for rows in members])[: sizes[0]].sum())
        needed = _FRAMES_PER_DIMENSION * dimension
        if frames < needed:
            raise ValueError(
                f"the smallest subset ({sizes[0]} clips) may hold {frames} frames of {dimension} dimensions;"
                f" an extrapolation needs at least {needed}: add clips, or report plain FAD with its N"
            )


def _sizes(largest: int, points: int) -> Array:
    """Increasing sizes from a quarter of ``largest`` to ``largest``, evenly spaced in 1/n."""
    inverse = np.linspace(1 / (_SMALLEST_FRACTION * largest), 1 / largest, points)
    return np.rint(1 / inverse).astype(np.int64)


def _curve(sets: list[_ClipSet], exact: Array | Moments | None, points: int) -> tuple[Array, Array]:
    sizes = _sizes(min(len(s.members) for s in sets), points)
    repeats = sets[0].priority.shape[0]
    distances = np.empty((repeats, points))
    for repeat in range(repeats):
        for point, n in enumerate(sizes):
            drawn = [s.draw(repeat, point, n) for s in sets]
            distances[repeat, point] = frechet_distance(drawn[0] if exact is None else exact, drawn[-1])
    return sizes, distances.mean(axis=0)


def _fit(sizes: Array, distances: Array) -> tuple[float, float, float]:
    """Intercept, slope and R² of distances over 1 / sizes by least squares."""
    x = 1 / sizes
    slope, intercept = np.polyfit(x, distances, 1)
    total = np.sum((distances - distances.mean()) ** 2)
    residual = np.sum((distances - intercept - slope * x) ** 2)
    return float(intercept), float(slope), float(1 - residual / total) if total > 0 else np.nan
