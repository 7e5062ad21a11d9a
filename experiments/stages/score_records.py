"""A metric record from what `evaluation` found: the value, and what has to be equal for another to compare with it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.presets import PRESETS
from evaluation.results.result import DRIFT, SLOPE, WHOLE, MetricResult
from evaluation.scoring.registry import METRICS, role_of
from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import Condition
from experiments.records import MetricRecord

HASH_DIGITS = 16


def material_of(prompts: Sequence[Prompt], seeds: Sequence[int]) -> str:
    """Hash of what is scored, in whatever order: prompts, captions and seeds."""
    asked = [*sorted((prompt.id, prompt.text) for prompt in prompts), sorted(seeds)]
    return _hash(asked)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:HASH_DIGITS]


def with_provenance(record: MetricRecord, provenance: Mapping[str, Any], asked_for: str = "") -> MetricRecord:
    """The record with the judge, protocol and material behind it, and the environment of a judge that ran in another.

    A value of the best of several clips says of how many, and names the one that was kept in place of its prompt.
    """
    details = dict(record.details)
    base = record.metric.removesuffix(DRIFT).removesuffix(SLOPE)
    role = str(role_of(base) or "levels") if base in METRICS else ""
    heard = [role] if role in provenance["embedders"] else sorted(provenance["embedders"])
    if environment := provenance["environments"].get(role):
        details["environment"] = environment
    if chosen := provenance["candidates"]:
        details["candidates"] = PRESETS[record.preset].candidates
        if "per_clip" in details:
            details["per_clip"] = {chosen[prompt]: value for prompt, value in details["per_clip"].items()}
    sides = {side: text for side, text in provenance["preprocessing"].items() if side.split(" ")[1] in heard}
    protocol = [record.preset, record.preset_version, provenance["protocol"], provenance["seed"], sides]
    return replace(
        record,
        details=details,
        judges={name: provenance["embedders"][name] for name in heard},
        protocol=_hash(protocol),
        material=_hash([asked_for, provenance["references"]]),
    )


def to_record(
    result: MetricResult,
    condition: Condition,
    baseline: str,
    run_id: str,
    per_clip: Mapping[str, Mapping[str, float]] | None = None,
    against: str = "",
) -> MetricRecord:
    """One result as a record.

    Args:
        baseline: the method that a paired difference is against; empty for a plain value.
        per_clip: clip id -> metric -> value; a headline keeps its own clips' values, for the listening page.
        against: the baseline's condition, so that a table can tell whether it is the one that it shows.
    """
    details: dict[str, Any] = dict(result.details)
    values = {clip: scores[result.metric] for clip, scores in (per_clip or {}).items() if result.metric in scores}
    if values and result.window == WHOLE:
        details["per_clip"] = values
    if against:
        details["baseline_condition"] = against
    return MetricRecord(
        run_id=run_id,
        condition=condition.id,
        method=condition.method.name,
        duration_s=condition.duration_s,
        preset=result.preset,
        metric=result.metric,
        value=result.value,
        low=result.low,
        high=result.high,
        n_scored=result.n_scored,
        n_failed=result.n_failed,
        unit=result.unit,
        higher_is_better=result.higher_is_better,
        baseline=baseline,
        window=result.window,
        details=details,
        preset_version=result.preset_version,
        n_references=result.n_references,
    )
