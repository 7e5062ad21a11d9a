"""Scores that heard other wavs than the folder holds by now: clips were made again since, and came out different."""

from typing import Any

from experiments.records.types import ClipRecord, FailureRecord, MetricRecord


def without_outdated_scores(records: list[Any]) -> list[Any]:
    """All records of a folder, in order, less the scores of earlier wavs; a condition left without any gets a failure.

    A wav that was made again bit by bit is the same wav. Differences to such a condition go, too. A clip that is new
    since makes no score outdated: it is counted as not scored yet.
    """
    newest = {record.audio: record.sha256 for record in records if isinstance(record, ClipRecord)}
    changed = {r.condition for r in records if isinstance(r, ClipRecord) and r.sha256 != newest[r.audio]}
    if not changed:
        return records
    heard: dict[str, dict[str, str]] = {}  # condition -> wav -> its content when a score was computed
    kept: list[Any] = []
    failures: dict[str, FailureRecord] = {}
    for record in records:
        if isinstance(record, ClipRecord):
            heard.setdefault(record.condition, {})[record.audio] = record.sha256
        if isinstance(record, MetricRecord):
            sides = {record.condition, str(record.details.get("baseline_condition"))} & changed
            others = {side: sum(newest[a] != sha256 for a, sha256 in heard.get(side, {}).items()) for side in sides}
            if any(others.values()):
                if others.get(record.condition):
                    failures[record.condition] = _failure(record, others[record.condition])
                continue
            failures.pop(record.condition, None)  # scored again
        kept.append(record)
    return [*kept, *failures.values()]


def _failure(score: MetricRecord, count: int) -> FailureRecord:
    clips = "1 clip was" if count == 1 else f"{count} clips were"
    reason = f"scored before {clips} made again; run stages=[score,report]"
    return FailureRecord(score.run_id, "score", score.condition, score.method, score.duration_s, reason)
