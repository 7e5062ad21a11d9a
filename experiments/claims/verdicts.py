"""Effects of claims from records, and what may be said of them.

An effect is a difference of scores (its interval and p as `tables.intervals` makes them), a difference of losses
(Student's t over clips), a ratio of times (the geometric mean over rounds or starts, Student's t on its logarithm) or
a ratio of attention mass (the same over sites).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.claims.claim import Claim, Measured
from experiments.claims.sources import Traced, trace_cell
from experiments.records import AttentionRecord, CellRecord, MetricRecord, ProbeLossRecord, RoundRecord, TimingRecord
from experiments.records.run import Run
from experiments.tables.formats import Estimate
from experiments.tables.intervals import LEVEL, Interval, holm, mean_interval, p_value
from experiments.tables.probe_tables import CHANGE, CHANGE_TO_LITEFOCUS, TO_LITEFOCUS
from experiments.tables.speed_rows import timed_pairs

SUPPORTED, REFUTED, BOUNDED, NOT_TESTABLE = "supported", "refuted", "bounded", "not testable here"
LOSS_COLUMNS = {
    "difference_percent": "% of dense",
    TO_LITEFOCUS: "% of dense",
    CHANGE: "points of % of dense",
    CHANGE_TO_LITEFOCUS: "points of % of dense",
}
DIGITS = 5


def measure_claims(claims: Sequence[Claim], results: Path) -> list[Claim]:
    """The claims with their effects, p adjusted over all of their family, and verdicts.

    Args:
        results: the folder with the runs that the endpoints name.
    Raises:
        ValueError: an endpoint that is not there, or whose cell holds no effect.
    """
    runs: dict[str, Run] = {}
    effects = []
    for claim in claims:
        run = runs.setdefault(claim.endpoint.run, Run.load(results / claim.endpoint.run))
        try:
            effects.append(effect(claim, run))
        except ValueError as error:
            raise ValueError(f"claim {claim.id}: {error}") from None
    adjusted = [math.nan] * len(claims)
    for family in dict.fromkeys(claim.family for claim in claims):
        # A claim that cannot be tested here adds no comparison.
        members = [n for n, claim in enumerate(claims) if claim.family == family and not claim.not_testable]
        for n, p in zip(members, holm([_number(effects[n].p) for n in members]), strict=True):
            adjusted[n] = p
    return [
        replace(claim, measured=replace(found, p_adjusted=_rounded(p), verdict=verdict(claim, found, p)))
        for claim, found, p in zip(claims, effects, adjusted, strict=True)
    ]


def verdict(claim: Claim, found: Measured, p_adjusted: float) -> str:
    """What may be said.

    Supported: the effect lies on the claimed side of the threshold, with an adjusted p under 0.05. Refuted: on the
    other side, likewise. Bounded: neither; the interval says how large the effect may be.
    """
    if claim.not_testable:
        return NOT_TESTABLE
    if not p_adjusted < LEVEL:
        return BOUNDED
    claimed = found.value > claim.threshold if claim.above is not None else found.value < claim.threshold
    return SUPPORTED if claimed else REFUTED


def effect(claim: Claim, run: Run) -> Measured:
    """The effect at a claim's endpoint, without a verdict.

    Raises:
        ValueError: no such cell, or one that holds no difference and no ratio.
    """
    place = claim.endpoint
    traced = trace_cell(run, place.table, place.row, place.column)
    starts = sorted({record.run_id for record in traced.records})
    first = traced.records[0]
    if isinstance(first, MetricRecord) and first.baseline:
        return _score(claim, traced, first, starts)
    if isinstance(first, ProbeLossRecord) and place.column in LOSS_COLUMNS:
        cell = _estimate(traced)
        clips = len(set.intersection(*(set(r.clip_ids) for r in traced.records if isinstance(r, ProbeLossRecord))))
        p = p_value(cell.value - claim.threshold, (cell.high - cell.low) / 2, clips - 1)
        return _measured(cell, LOSS_COLUMNS[place.column], clips, "clips", p, starts)
    if isinstance(first, AttentionRecord) and place.column == "own_bin_over_uniform":
        return _ratio(claim, [_own_bin(r) for r in traced.records if isinstance(r, AttentionRecord)], "sites", starts)
    if isinstance(first, TimingRecord | RoundRecord) and place.column.startswith("speedup"):
        return _ratio(claim, *_ratios(run, traced), starts)
    raise ValueError(f"{place.column} of {place.table} is no difference of scores or losses and no ratio")


def _score(claim: Claim, traced: Traced, record: MetricRecord, starts: list[str]) -> Measured:
    cell = _estimate(traced)
    p = p_value(cell.value - claim.threshold, (cell.high - cell.low) / 2, cell.degrees or 0)
    return _measured(cell, record.metric, record.n_scored, "clips", p, starts)


def _own_bin(record: AttentionRecord) -> float:
    """A site's attention mass on its own frequency bin over what uniform attention would give."""
    return float(record.structure["same_frequency"] / record.structure["uniform_same_frequency"])


def _ratios(run: Run, traced: Traced) -> tuple[list[float], str]:
    """Baseline over method and what they are of: rounds, or starts where several timed the length."""
    if timings := [record for record in traced.records if isinstance(record, TimingRecord)]:
        pairs = timed_pairs(timings, timings[-1].baseline, traced.method)
        found = [one / other for one, other in zip(*pairs, strict=True)]
        return found, "starts" if len(timings) > 1 else "rounds"
    cells = {(c.level, c.duration_s, c.regime): c.baseline for c in reversed(run.of_kind(CellRecord))}
    found = []
    for record in (record for record in traced.records if isinstance(record, RoundRecord)):
        baseline = cells[record.level, record.duration_s, record.regime]
        if baseline in record.latencies_s:
            found.append(record.latencies_s[baseline] / record.latencies_s[traced.method])
    return found, "rounds"


def _ratio(claim: Claim, ratios: Sequence[float], of: str, starts: list[str]) -> Measured:
    """The geometric mean of ratios (n,) with Student's t interval of its logarithm; no interval of one.

    Raises:
        ValueError: a threshold that no ratio can have.
    """
    if claim.threshold <= 0:
        raise ValueError(f"its threshold is {claim.threshold:g}; that of a ratio is above 0")
    logs = mean_interval(np.log(ratios))
    p = p_value(logs.value - math.log(claim.threshold), (logs.high - logs.low) / 2, len(ratios) - 1)
    return _measured(Interval(*map(math.exp, logs)), "times", len(ratios), of, p, starts)


def _estimate(traced: Traced) -> Estimate:
    if not isinstance(traced.cell, Estimate):
        raise ValueError("the cell is empty")
    return traced.cell


def _measured(found: Interval | Estimate, unit: str, n: int, of: str, p: float, starts: list[str]) -> Measured:
    value = float(f"{found.value:.{DIGITS}g}")
    return Measured(value, _rounded(found.low), _rounded(found.high), unit, n, of, _rounded(p), None, BOUNDED, starts)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def _number(value: float | None) -> float:
    return math.nan if value is None else value
