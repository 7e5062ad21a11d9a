"""Which of a folder's timings count together: of each length the newest, or as many as its start pools.

Two starts differ by more than the rounds of one do: other work on the machine, another layout of memory. With
`timing.starts=n` the newest n timings of a length that were taken alike are pooled, and intervals are over starts.
"""

from collections.abc import Mapping
from typing import Any

from experiments.records.store import of_kind
from experiments.records.types import Record, RunRecord, TimingRecord


def without_superseded_timings(records: list[Record]) -> list[Record]:
    """The records without the timings of a length that do not count beside its newest."""
    starts = {start.run_id: start for start in of_kind(records, RunRecord)}
    newest = {timing.duration_s: timing for timing in of_kind(records, TimingRecord)}
    kept: set[int] = set()
    for length, timing in newest.items():
        start = starts.get(timing.run_id)
        kept |= {id(t) for t in newest_alike(records, length, pooled_starts(start.config) if start else 1)}
    return [record for record in records if not isinstance(record, TimingRecord) or id(record) in kept]


def pooled_starts(config: Mapping[str, Any]) -> int:
    """How many starts' timings a configuration pools; records of before that was a setting say nothing: one."""
    return int(config.get("timing", {}).get("starts", 1))


def newest_alike(records: list[Record], duration_s: float, count: int) -> list[TimingRecord]:
    """At most `count` timings of a length, oldest first: the newest, and those that were taken as it was.

    That is with the same arms, rounds, settings of memory and place; the commit may be another. Of a start its newest:
    two timings of one process are no two starts.
    """
    starts = {start.run_id: start for start in of_kind(records, RunRecord)}
    own = [timing for timing in of_kind(records, TimingRecord) if timing.duration_s == duration_s]
    timings = list({timing.run_id: timing for timing in own}.values())
    if not timings:
        return []
    taken = [_taken(timing, starts.get(timing.run_id)) for timing in timings]
    return [timing for timing, how in zip(timings, taken, strict=True) if how == taken[-1]][-count:]


def timing_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides how a length is timed."""
    timing = {key: value for key, value in config.get("timing", {}).items() if key != "starts"}
    return {"timing": timing, "keep_freed_memory": config.get("keep_freed_memory")}


def _taken(timing: TimingRecord, start: RunRecord | None) -> Any:
    """What two timings must share; one without its start is like no other."""
    if start is None:
        return timing.run_id
    place = {key: value for key, value in start.environment.items() if key not in ("commit", "dirty")}
    return set(timing.latencies_s), timing_settings(start.config), place, start.pipeline
