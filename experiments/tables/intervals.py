"""Which intervals a table may print, and which differences it may call better or worse.

Intervals of means over clips are Student's t over prompts, out of the values of single clips: `results/coverage` holds
how often each kind of interval covers. Below FEWEST clips none is printed, as its coverage was measured under 93%
for some of the values that occur. Verdicts follow p-values that are adjusted for the number of comparisons (S. Holm,
Scandinavian Journal of Statistics 6, 1979).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from evaluation.results.interval_floors import FEWEST, REFUSED, Kind, floor_of, kind_of
from evaluation.results.result import DRIFT, SLOPE
from evaluation.statistics.bootstrap import JACKKNIFE_GROUPS
from evaluation.statistics.student import student_interval
from experiments.records import ClipRecord, MetricRecord, Record, of_kind
from experiments.records.run import Run

CONFIDENCE = 0.95
LEVEL = 0.05
# Of a record's details, as `Intervals.of` sets it: enough prompts, and every clip said the same.
ALL_EQUAL = "all_equal"
STUDENT = "student t"  # what `details["interval"]` says of bounds that `evaluation.scoring.intervals` computed so
PERCENTILE = (
    "No interval of a drift or slope whose record holds a percentile bootstrap only: it covers under 93%; scoring the "
    "clips again gives one."
)

MEANS = "Student's t over prompts for means over clips, widened where a few prompts make up the variance;"
DISTANCES = "for distances between sets a jackknife by prompt, the references fixed."
SAME_PROMPTS = (
    "KAD: where references are of the same prompts as the clips, equal distributions give less than 0, by more the "
    "fewer prompts; differences between methods share this."
)


class Intervals:
    """Bounds as they may be printed, for the records of one preset.

    Args:
        records: all of a run folder that its tables show.
        preset: the protocol.
    """

    def __init__(self, records: Sequence[Record], preset: str) -> None:
        plain = [m for m in of_kind(list(records), MetricRecord) if m.preset == preset and m.window < 0]
        self._values: dict[tuple[str, str], Mapping[str, float]] = {
            (m.condition, m.metric): m.details["per_clip"] for m in plain if not m.baseline and "per_clip" in m.details
        }
        self._conditions = {(m.duration_s, m.method): m.condition for m in plain}
        self._prompts: dict[tuple[float, str], set[str]] = {}
        for clip in of_kind(list(records), ClipRecord):
            self._prompts.setdefault((clip.duration_s, clip.method), set()).add(clip.prompt_id)

    def of(self, record: MetricRecord) -> MetricRecord:
        """The record with bounds that may be printed, else nan; details get ALL_EQUAL, a difference's p and degrees."""
        values = self.per_clip(record)
        if values:
            names = sorted(values)
            interval = student_interval([values[name] for name in names], clips=[prompt_of(name) for name in names])
            low, high, n = interval.low, interval.high, interval.n
            degrees = n - 1
        else:
            low, high, n = record.low, record.high, self._units(record)
            degrees = (n if self._is_student(record) else min(n, JACKKNIFE_GROUPS)) - 1
            if not self._is_student(record) and kind_of(record.metric) != "distance":
                low = high = math.nan  # a percentile bootstrap
        equal = (bool(values) and math.isnan(low) and all(map(math.isfinite, values.values()))) or _is_point(record)
        enough = floor_of(record.metric, record.baseline).reached(n, record.n_scored)
        if not enough or equal:
            low = high = math.nan
        details = {**record.details, ALL_EQUAL: equal and enough}
        if record.baseline:
            details |= {"p": p_value(record.value, (high - low) / 2, degrees), "degrees": degrees}
        return replace(record, low=low, high=high, details=details)

    def _is_student(self, record: MetricRecord) -> bool:
        return record.details.get("interval") == STUDENT

    def per_clip(self, record: MetricRecord) -> Mapping[str, float]:
        """Clip -> value, or paired difference; empty where the records do not hold them all, as those of a window."""
        if record.window >= 0:
            return {}
        own = self._values.get((record.condition, record.metric), {})
        if not record.baseline:
            return own if len(own) == record.n_scored else {}
        other = self._values.get((self._baseline(record), record.metric), {})
        both = own.keys() & other.keys()
        return {clip: own[clip] - other[clip] for clip in both} if len(both) == record.n_scored else {}

    def _baseline(self, record: MetricRecord) -> str:
        named = record.details.get("baseline_condition")
        return str(named or self._conditions.get((record.duration_s, record.baseline), ""))

    def _units(self, record: MetricRecord) -> int:
        if record.unit == "prompt":
            return len(self._prompts.get((record.duration_s, record.method), ())) or record.n_scored
        return record.n_scored


def interval_notes(run: Run, preset: str, metrics: Collection[str] | None = None) -> list[str]:
    """How intervals were made; nothing where no metric has one.

    Args:
        metrics: those that the table shows; None for all of the preset.
    """
    of_preset = [record for record in run.current_of(MetricRecord) if record.preset == preset]
    scored = [record for record in of_preset if metrics is None or record.metric in metrics]
    if all(math.isnan(record.high - record.low) for record in scored):
        return []
    intervals = Intervals(run.current, preset)
    headlines = [record for record in scored if record.window < 0]
    shown = [intervals.of(record) for record in headlines]
    lost = [r for r, s in zip(headlines, shown, strict=True) if math.isnan(s.low) and not math.isnan(r.low)]
    over_time = [r for r in lost if r.metric.endswith((DRIFT, SLOPE)) and kind_of(r.metric) != "distance"]
    drifts = [r for r in over_time if r.details.get("interval") != STUDENT]
    kinds = {kind_of(record.metric) for record in shown if not math.isnan(record.low)}
    texts = {"mean": MEANS, "distance": DISTANCES}
    made = list(dict.fromkeys(texts[kind] for kind in texts if kind in kinds))
    notes = [f"Intervals: 95%, {' '.join(made)}"] if made else []
    notes += [REFUSED] if len(drifts) < len(lost) else []
    notes += [PERCENTILE] if drifts else []
    return notes + ([SAME_PROMPTS] if any(record.metric.startswith("kad") for record in scored) else [])


def _is_point(record: MetricRecord) -> bool:
    """Whether recorded bounds have no width, up to what rounding leaves of none."""
    return record.high - record.low <= 1e-9 * abs(record.high)


def prompt_of(clip_id: str) -> str:
    """The prompt of a clip's id, PROMPT_SEED; a clip that was the best of several has its prompt's alone."""
    prompt, _, seed = clip_id.rpartition("_")
    return prompt if prompt and seed.isdecimal() else clip_id


class Interval(NamedTuple):
    """A mean with its 95% interval; bounds are nan of one value, or of equal ones."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of independent values (n,) with Student's 95% interval; without one where they do not differ."""
    found = student_interval(values)
    return Interval(found.value, found.low, found.high)


def printed_interval(values: np.ndarray, kind: Kind) -> Interval:
    """:func:`mean_interval` of one value per prompt, (n,); without bounds below the clips that its kind takes."""
    found = mean_interval(values)
    return found if FEWEST[kind].reached(len(values), len(values)) else Interval(found.value, math.nan, math.nan)


def p_value(value: float, half_width: float, degrees: int) -> float:
    """Two-sided p of a value of 0, from a t interval's half width; nan without one."""
    if not half_width > 0 or degrees < 1:
        return math.nan
    error = half_width / float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))
    return float(2 * stdtr(degrees, -abs(value) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for all of their number by Holm's step-down; nan stays and counts for none."""
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def with_family(differences: Mapping[Any, MetricRecord]) -> dict[Any, MetricRecord]:
    """The differences with their p-values adjusted over all of them: `details["p_holm"]` and the family's size."""
    adjusted = holm([difference.details["p"] for difference in differences.values()])
    size = sum(not math.isnan(p) for p in adjusted)
    return {
        key: replace(d, details={**d.details, "p_holm": p, "family": size})
        for (key, d), p in zip(differences.items(), adjusted, strict=True)
    }


# The smallest effect that a comparison could have seen: two-sided test at 5%, power 80%, normal approximation.
POWER = 0.80
_INTERVAL = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_HALF_WIDTHS = 1 + NormalDist().inv_cdf(POWER) / _INTERVAL


def detectable_effect(low: float, high: float) -> float | None:
    """The true difference that a paired comparison with such a 95% interval finds in 80% of studies, two digits.

    1.43 times the interval's half width, 2.80 standard errors; None for an undefined interval.
    """
    return float(f"{_HALF_WIDTHS * (high - low) / 2:.2g}") if math.isfinite(high - low) else None
