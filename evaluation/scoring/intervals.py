"""Metrics of one folder of clips, as rows that can be resampled, and paired comparisons of two folders.

Every metric is brought to one form: rows (n, W, ...), one entry per clip and window, and a statistic of the rows at
one window position. Its headline is the mean of the statistic over positions; drift and slope follow its curve; and
two folders are compared by resampling the clips that they share.

Shapes: n clips, W windows per clip (or crop seeds), F frames, d embedding size, C classes, G jackknife groups.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from evaluation.metric import HasInfluence, LeavesOut, PositionStatistic
from evaluation.results.result import WHOLE, MetricResult, stamped
from evaluation.statistics.bootstrap import (
    JACKKNIFE_GROUPS,
    Array,
    deal_groups,
    jackknife_bounds,
    n_groups,
    rows_by_clip,
    within_range,
)
from evaluation.statistics.permutation import paired_permutation_p_value
from evaluation.statistics.student import influence_bounds, student_interval

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """One metric of one folder.

    Attributes:
        metric: its name.
        clip_ids: n ids, the same in every folder that is compared.
        units: (n,) what intervals resample: the prompt of each clip.
        rows: (n, W, ...) material; for a mean over clips the (n, W) values themselves.
        statistic: of the rows (n, ...) at one position; None for the mean over clips.
        higher_is_better: None without a direction.
        positions: whether the second axis runs along the clip; otherwise it holds crop seeds and has no drift.
        details: go into every result.
        n_references: references behind the value; None where the metric needs none.
        statistic_to: the statistic against the references of these prompts only; None where no reference is in it.
        uneven: clips differ in their number of windows, so that there is no curve.
        paired: whether a clip's reference leaves with it; otherwise the references are the same set for any clips.
        within: least and greatest value of the metric.
    """

    metric: str
    clip_ids: tuple[str, ...]
    units: tuple[str, ...]
    rows: Array
    statistic: PositionStatistic | None
    higher_is_better: bool | None
    positions: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)
    n_references: int | None = None
    statistic_to: Callable[[Collection[str]], PositionStatistic] | None = None
    uneven: bool = False
    paired: bool = True
    within: tuple[float, float] = (-np.inf, np.inf)

    @property
    def unit(self) -> str:
        """See :func:`unit_of`."""
        return unit_of(self.units)

    def curve(self, rows: Array) -> Array:
        """(W,) statistic at each position of some of the rows."""
        if self.statistic is None:
            return np.asarray(rows.mean(axis=0, dtype=np.float64))
        return np.array([self.statistic(rows[:, k], k) for k in range(rows.shape[1])])

    def take(self, clip_ids: Sequence[str]) -> Measured:
        """The rows of these clips, in this order, against the references of their prompts."""
        place = {clip: number for number, clip in enumerate(self.clip_ids)}
        index = [place[clip] for clip in clip_ids]
        units = tuple(self.units[i] for i in index)
        taken = replace(self, clip_ids=tuple(clip_ids), units=units, rows=self.rows[index])
        prompts = set(units)
        if not self.paired or self.n_references is None or prompts == set(self.units):
            return taken
        statistic = self.statistic if self.statistic_to is None else self.statistic_to(prompts)
        return replace(taken, statistic=statistic, n_references=len(prompts))


def unit_of(prompts: Sequence[str]) -> str:
    """What intervals resample: "clip" where each of the clips has its own prompt, else "prompt"."""
    return "clip" if len(set(prompts)) == len(prompts) else "prompt"


@dataclass(frozen=True)
class FolderScore:
    """All metrics of one folder.

    Attributes:
        name: of the folder or method.
        preset: name of the protocol.
        measured: metric to its rows, for comparisons.
        results: plain results.
        failures: clip id to reason.
        provenance: embedders, preprocessing and content hashes.
        failed_references: name to reason, of sets that are not paired; otherwise a clip fails with its reference.
    """

    name: str
    preset: str
    measured: Mapping[str, Measured]
    results: tuple[MetricResult, ...]
    failures: Mapping[str, str]
    provenance: Mapping[str, Any]
    failed_references: Mapping[str, str] = field(default_factory=dict)

    def per_clip(self) -> dict[str, dict[str, float]]:
        """Clip id to metric to mean over windows, for metrics that exist for one clip."""
        table: dict[str, dict[str, float]] = {}
        for name, measured in self.measured.items():
            if measured.statistic is None:
                for clip, value in zip(measured.clip_ids, measured.rows.mean(axis=1), strict=True):
                    table.setdefault(clip, {})[name] = float(value)
        return table


def summarise(measured: Measured, preset: str, n_failed: int, seed: int) -> list[MetricResult]:
    """Headline, drift, slope and curve of one metric, each with its interval by prompt.

    References stay while prompts are left out: the interval of a distance between sets is conditional on them. Bounds
    of the headline and of the curve end where the metric does.
    """
    names, values = _numbers(measured, measured.curve(measured.rows))
    if measured.statistic is None:
        per_clip = _numbers_of_means(measured.rows, measured.positions)
        bounds = [student_interval(column, clips=measured.units, confidence=CONFIDENCE)[1:3] for column in per_clip.T]
    else:
        bounds = _jackknife(measured, values, seed)
    cut = [within_range(*pair, value, measured.within) for value, pair in zip(values, bounds, strict=True)]
    bounds = [pair if suffix else ended for (suffix, _), pair, ended in zip(names, bounds, cut, strict=True)]
    details = {**measured.details, "interval": "jackknife" if measured.statistic else "student t"}
    details["units"] = len(set(measured.units))
    if not measured.positions and measured.rows.shape[1] > 1:
        curve = measured.curve(measured.rows)
        details |= {"sd_over_seeds": float(curve.std(ddof=1)), "n_seeds": len(curve)}
    shared = {"preset": preset, "n_failed": n_failed, "details": details}
    return _results(measured, zip(names, values, bounds, strict=True), shared)


def compare(baseline: FolderScore, candidate: FolderScore, *, seed: int = 0) -> list[MetricResult]:
    """Paired differences ``candidate - baseline`` on the clips that both have, metric by metric.

    Means over clips: Student's t over prompts and the p-value of a paired permutation test. Fréchet distances: the same
    of the prompts' influences, where a jackknife would be too wide (``results/coverage``). Others: a jackknife in which
    the same prompts leave both folders. The bias of a finite N, common to both, cancels.

    Raises:
        ValueError: another preset or other embedders or references, or no clip in common.
    """
    _check_comparable(baseline, candidate)
    results: list[MetricResult] = []
    for name, second in candidate.measured.items():
        if name not in baseline.measured:
            continue
        first = baseline.measured[name]
        if not (common := [clip for clip in first.clip_ids if clip in set(second.clip_ids)]):
            raise ValueError(f"{baseline.name} and {candidate.name} have no clip in common")
        n_failed = len({*first.clip_ids, *second.clip_ids, *baseline.failures, *candidate.failures}) - len(common)
        pair = first.take(common), second.take(common)
        results += _differences(*pair, baseline.name, candidate.preset, n_failed, seed)
    return stamped(results, candidate.provenance["preset_version"])


def _differences(
    first: Measured, second: Measured, baseline: str, preset: str, n_failed: int, seed: int
) -> list[MetricResult]:
    if first.uneven or second.uneven:
        first, second = _without_curve(first, second)
    if first.rows.shape != second.rows.shape:
        raise ValueError(f"{first.metric}: rows {first.rows.shape} and {second.rows.shape}; compare equal durations")
    details: dict[str, Any] = {"interval": "student t", "units": len(set(first.units))}
    headline: dict[str, float] = {}
    names, before = _numbers(first, first.curve(first.rows))
    values = _numbers(second, second.curve(second.rows))[1] - before
    if first.statistic is None:
        one, two = (_numbers_of_means(m.rows, m.positions) for m in (first, second))
        changes = (two - one).T
        bounds = [student_interval(column, clips=first.units, confidence=CONFIDENCE)[1:3] for column in changes]
        headline["p_value"] = paired_permutation_p_value(np.mean, one[:, 0], two[:, 0], seed=seed, clips=first.units)
    elif isinstance(first.statistic, HasInfluence) and isinstance(second.statistic, HasInfluence):
        bounds = influence_bounds(values, _influences(second) - _influences(first), first.units, CONFIDENCE)
    else:
        bounds = _jackknife(first, values, seed, second)
        details["interval"] = "jackknife"
    shared = {"preset": preset, "n_failed": n_failed, "details": details, "baseline": baseline}
    whole, *others = _results(first, zip(names, values, bounds, strict=True), shared)
    return [replace(whole, details=details | headline), *others]


def _results(
    measured: Measured, numbers: Iterable[tuple[tuple[str, int], float, tuple[float, float]]], shared: Mapping[str, Any]
) -> list[MetricResult]:
    """Results of (suffix, window), value and bounds, the headline first; ``shared`` is what all of them have."""
    return [
        MetricResult(
            metric=measured.metric + suffix,
            value=float(value),
            low=float(low),
            high=float(high),
            n_scored=len(measured.clip_ids),
            n_references=measured.n_references,
            unit=measured.unit,
            higher_is_better=measured.higher_is_better if suffix == "" else None,
            window=window,
            **shared,
        )
        for (suffix, window), value, (low, high) in numbers
    ]


def _without_curve(first: Measured, second: Measured) -> tuple[Measured, Measured]:
    """Both with what they can be compared in where clips differ in length: means by clip, or the first windows."""
    if first.statistic is None:
        one, two = (replace(m, rows=m.rows.mean(axis=1, keepdims=True)) for m in (first, second))
        return one, two
    windows = min(first.rows.shape[1], second.rows.shape[1])
    return replace(first, rows=first.rows[:, :windows]), replace(second, rows=second.rows[:, :windows])


def _numbers(measured: Measured, curve: Array) -> tuple[list[tuple[str, int]], Array]:
    """Names (suffix, window) and values: headline, then drift, slope and curve where there is a curve."""
    names, values = [("", WHOLE)], [curve.mean()]
    if measured.positions and len(curve) > 1:
        names += [("_drift", WHOLE), ("_slope", WHOLE), *(("", k) for k in range(len(curve)))]
        values += [curve[-1] - curve[0], np.polyfit(np.arange(len(curve)), curve, 1)[0], *curve]
    return names, np.array(values)


def _numbers_of_means(rows: Array, positions: bool) -> Array:
    """(n, K) the same numbers for every clip of (n, W) values; their means over clips are those of the folder."""
    columns = [rows.mean(axis=1)]
    if positions and rows.shape[1] > 1:
        slopes = np.polyfit(np.arange(rows.shape[1]), rows.T, 1)[0]
        columns += [rows[:, -1] - rows[:, 0], slopes, *rows.T]
    return np.stack(columns, axis=1)


def _jackknife(
    measured: Measured, values: Array, seed: int, minus: Measured | None = None
) -> list[tuple[float, float]]:
    """Bounds for each number, whole units left out; with ``minus``, of the difference ``minus - measured``."""
    members = rows_by_clip(measured.units, len(measured.units))
    dealt = deal_groups([len(members)], JACKKNIFE_GROUPS, seed)
    groups = np.full(len(measured.units), -1)
    for rows, group in zip(members, dealt[0], strict=True):
        groups[rows] = group
    curves = _curves_without(measured, groups, n_groups(dealt))
    replicates = [_numbers(measured, curve)[1] for curve in curves]
    if minus is not None:
        others = _curves_without(minus, groups, n_groups(dealt))
        replicates = [_numbers(minus, curve)[1] - left for curve, left in zip(others, replicates, strict=True)]
    columns = np.array(replicates).reshape(-1, len(values)).T
    return [jackknife_bounds(value, column, CONFIDENCE) for value, column in zip(values, columns, strict=True)]


def _influences(measured: Measured) -> Array:
    """(n, K) influence of every clip on the numbers of `_numbers`, which are linear in the curve."""
    statistic = measured.statistic
    assert isinstance(statistic, HasInfluence)
    positions = range(measured.rows.shape[1])
    of_curve = np.stack([statistic.influence(measured.rows[:, k], k) for k in positions], axis=1)
    return _numbers_of_means(of_curve, measured.positions)


def _curves_without(measured: Measured, groups: Array, count: int) -> Array:
    """(G, W) curves of the clips without each group; ``groups`` holds the (n,) group of each clip."""
    positions = range(measured.rows.shape[1])
    if isinstance(measured.statistic, LeavesOut) and count:
        statistic = measured.statistic
        return np.stack([statistic.without_groups(measured.rows[:, k], groups, k) for k in positions], axis=1)
    left_out = tqdm(range(count), desc=f"{measured.metric} jackknife", delay=2, leave=False)
    return np.array([measured.curve(measured.rows[groups != group]) for group in left_out])


def _check_comparable(baseline: FolderScore, candidate: FolderScore) -> None:
    for what in ("preset", "preset_version", "embedders", "preprocessing", "protocol", "references"):
        first, second = baseline.provenance[what], candidate.provenance[what]
        if isinstance(first, Mapping):
            # A folder whose inputs allow fewer metrics has fewer networks; those of the common metrics must agree.
            common = first.keys() & second.keys()
            first, second = ({key: side[key] for key in side if key in common} for side in (first, second))
        if first != second:
            raise ValueError(f"{baseline.name} and {candidate.name} differ in {what}: {first} and {second}")
