"""Speed by duration and method as rows.

Every ratio is the mean of ratios taken within a timing round (geometric of times, arithmetic of shares) with Student's
95% interval, of the logarithm where the mean is geometric: over the rounds of a single start, or, where several starts
timed a length, over the starts, each the mean of its rounds.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from experiments.records import ClipRecord, FailureRecord, TimingRecord
from experiments.records.run import Run
from experiments.tables.intervals import mean_interval

NAIVE = "naive"


class Ratio(NamedTuple):
    """Mean of paired ratios and its 95% interval, nan from a single pair or from pairs that all say the same."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedRow:
    """One arm at one duration. None where nothing was measured; `note` says why.

    Attributes:
        step_s: median seconds per UNet step, of all rounds. clip_s: median seconds per clip, text to wave.
        real_time_factor: clip_s over the clip's duration (below 1 is faster than real time).
        speedup: against the baseline, times. speedup_naive: against materialised dense attention.
        share_of_limit: (baseline - arm) / (baseline - attention removed); 1 is all that these sites can give.
    """

    duration_s: float
    method: str
    label: str
    step_s: float | None
    clip_s: float | None
    real_time_factor: float | None
    peak_memory_gib: float | None
    speedup: Ratio | None
    speedup_naive: Ratio | None
    share_of_limit: Ratio | None
    note: str = ""


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Geometric mean of numerator / denominator, pair by pair, with the interval of its logarithm.

    Raises:
        ValueError: sequences of different length or empty.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(
            f"paired ratio: got {len(numerator)} and {len(denominator)} values, need as many, at least one"
        )
    logs = np.log(np.asarray(numerator, float)) - np.log(np.asarray(denominator, float))
    return Ratio(*map(math.exp, mean_interval(logs)))


def timed_ratio(timings: Sequence[TimingRecord], numerator: str, denominator: str) -> Ratio:
    """How many times the seconds of one arm are those of another: over rounds of one timing, over several timings."""
    return paired_ratio(*timed_pairs(timings, numerator, denominator))


def timed_pairs(timings: Sequence[TimingRecord], *arms: str) -> tuple[list[float], ...]:
    """Seconds of arms, paired: each round's of a single timing, each timing's geometric mean over rounds of several."""
    if len(timings) == 1:
        return tuple(timings[0].latencies_s[arm] for arm in arms)
    return tuple([statistics.geometric_mean(timing.latencies_s[arm]) for timing in timings] for arm in arms)


def share_of_limit(baseline: Sequence[float], arm: Sequence[float], limit: Sequence[float]) -> Ratio | None:
    """(baseline - arm) / (baseline - limit), pair by pair; None where removing the attention saved nothing."""
    gaps = [b - stop for b, stop in zip(baseline, limit, strict=True)]
    if min(gaps) <= 0:
        return None
    shares = [(b - a) / gap for b, a, gap in zip(baseline, arm, gaps, strict=True)]
    return Ratio(*mean_interval(np.array(shares)))


def speed_rows(run: Run) -> list[SpeedRow]:
    """One row per duration and arm; the newest timing of a duration counts, or as many as its start pools."""
    timings = run.timings
    clips, failures = run.current_of(ClipRecord), run.current_of(FailureRecord)
    durations = sorted(set(timings) | {clip.duration_s for clip in clips} | {f.duration_s for f in failures})
    rows = [row for d in durations for row in _duration_rows(d, timings.get(d, []), clips, failures)]
    # A timing says its own labels; an arm that it left out has the configuration's.
    rows = [replace(row, label=run.labels.get(row.method, row.label)) if row.step_s is None else row for row in rows]
    return [
        replace(row, note="; ".join(filter(None, [row.note, run.left_out.get((row.duration_s, row.method))])))
        for row in rows
    ]


def _duration_rows(
    duration: float, timings: list[TimingRecord], clips: list[ClipRecord], failures: list[FailureRecord]
) -> list[SpeedRow]:
    here = [clip for clip in clips if clip.duration_s == duration]
    reasons = _failure_reasons([failure for failure in failures if failure.duration_s == duration])
    timed = list(timings[-1].latencies_s) if timings else []
    names = list(dict.fromkeys([*timed, *(clip.method for clip in here), *reasons]))
    return [_speed_row(duration, name, timings, here, reasons.get(name, "")) for name in names]


def _failure_reasons(failures: list[FailureRecord]) -> dict[str, str]:
    """method -> the failures in words, with their number."""
    texts: dict[str, list[str]] = {}
    for failure in failures:
        texts.setdefault(failure.method, []).append(f"{failure.stage}: {failure.reason}")
    return {
        method: reasons[-1] if len(reasons) == 1 else f"{len(reasons)} failures, the last: {reasons[-1]}"
        for method, reasons in texts.items()
    }


def _speed_row(duration: float, name: str, timings: list[TimingRecord], clips: list[ClipRecord], note: str) -> SpeedRow:
    newest = timings[-1] if timings else None
    arms = set(newest.latencies_s) if newest else set()
    baseline, limit = (newest.baseline, newest.limit) if newest else ("", "")
    bounded = {name, baseline, limit} <= arms and name != NAIVE
    seconds = [latency for timing in timings for latency in timing.latencies_s.get(name, [])]
    clip_latencies = [clip.latency_s for clip in clips if clip.method == name]
    clip_s = statistics.median(clip_latencies) if clip_latencies else None
    return SpeedRow(
        duration_s=duration,
        method=name,
        label=newest.labels.get(name, name) if newest else name,
        step_s=statistics.median(seconds) if seconds else None,
        clip_s=clip_s,
        real_time_factor=clip_s / duration if clip_s is not None else None,
        peak_memory_gib=newest.peak_memory_gib.get(name) if newest else None,
        speedup=timed_ratio(timings, baseline, name) if {name, baseline} <= arms else None,
        speedup_naive=timed_ratio(timings, NAIVE, name) if {name, NAIVE} <= arms else None,
        share_of_limit=share_of_limit(*timed_pairs(timings, baseline, name, limit)) if bounded else None,
        note=note,
    )
