"""Which of a folder's conditions its tables show: of each length and method, the one that the newest start asked for.

A folder may hold clips of several steps or guidance scales. Mixed in one row they would be neither's number, so the
earlier ones are left out, and the row's note says so; running again with their settings shows them.
"""

from typing import Any, NamedTuple

from experiments.records import ClipRecord, FailureRecord, MetricRecord, Record, RunRecord, TimingRecord, of_kind
from experiments.records.provenance import methods_of
from experiments.records.timings import without_superseded_timings

# (length, method): a row of a table.
Key = tuple[float, str]


class Asked(NamedTuple):
    """What a start asked for in one row."""

    steps: int
    guidance: float
    condition: str


def asked_conditions(run: RunRecord) -> dict[Key, Asked]:
    """Every condition that a start was to generate; a benchmark asks for none."""
    config = run.config
    if "generate" not in config.get("stages", ["generate"]):
        return {}
    rows = [(float(d), str(node["name"]), node) for d in config.get("durations", []) for node in methods_of(run)]
    return {
        (duration, name): _asked(duration, name, _steps(node, config), _guidance(node, config))
        for duration, name, node in rows
    }


def _asked(duration: float, name: str, steps: int, guidance: float) -> Asked:
    return Asked(steps, guidance, condition_id(name, duration, steps, guidance))


def _steps(node: dict[str, Any], config: dict[str, Any]) -> int:
    return int(node.get("steps") or config["steps"])


def _guidance(node: dict[str, Any], config: dict[str, Any]) -> float:
    own = node.get("guidance")
    return float(config["guidance"] if own is None else own)


def newest_conditions(records: list[Record]) -> dict[Key, Asked]:
    """Of each row the condition that the newest start asked for."""
    return {key: asked for run in of_kind(records, RunRecord) for key, asked in asked_conditions(run).items()}


def current(records: list[Record]) -> list[Record]:
    """The records without those about earlier conditions, differences to one, and failures that were overcome.

    And without values that were scored otherwise than the newest of their kind, and timings that do not count.
    """
    records = without_superseded_timings(_without_overcome(without_other_scorings(records)))
    gone = {asked.condition for superseded in _superseded(records).values() for asked in superseded}
    starts = {run.run_id: run for run in of_kind(records, RunRecord)} if gone else {}
    return [r for r in records if getattr(r, "condition", "") not in gone and _baseline_of(r, starts) not in gone]


def without_other_scorings(records: list[Record]) -> list[Record]:
    """The records without those of `scored_otherwise`."""
    apart = set(map(id, scored_otherwise(records)))
    return [record for record in records if id(record) not in apart]


def scored_otherwise(records: list[Record]) -> list[MetricRecord]:
    """The metric records that must not stand beside the newest of their preset.

    That is those whose judge of some role is another, at whatever length: tables show lengths beside each other. And of
    their length those of other prompts, seeds or references, or of another protocol, in both of which the length is.
    """
    scored = of_kind(records, MetricRecord)
    material = {(m.duration_s, m.preset): m.material for m in scored}
    protocol = {(m.duration_s, m.preset, *m.judges): m.protocol for m in scored}
    judge = {(m.preset, role): name for m in scored for role, name in m.judges.items()}
    return [
        m
        for m in scored
        if material[m.duration_s, m.preset] != m.material
        or protocol[m.duration_s, m.preset, *m.judges] != m.protocol
        or any(judge[m.preset, role] != name for role, name in m.judges.items())
    ]


def scored_apart(records: list[Record]) -> dict[Key, str]:
    """Row -> that values of another scoring are left out, in words."""
    keys = [(m.duration_s, m.method) for m in scored_otherwise(records) if not m.baseline]
    return dict.fromkeys(
        keys, "values by other judges, or of other prompts or references, left out: stages=[score] scores anew"
    )


def _without_overcome(records: list[Record]) -> list[Record]:
    """Without failures of an arm that was timed or failed later, or of a condition that was made or scored later.

    A clip that failed and was made later is dropped where records are read.
    """
    done: set[tuple[str, float | str]] = set()
    kept: list[Record] = []
    for record in reversed(records):
        if isinstance(record, TimingRecord):
            done |= {(arm, record.duration_s) for arm in record.latencies_s}
        elif isinstance(record, ClipRecord | MetricRecord):
            done.add(("score", record.condition))
        elif isinstance(record, FailureRecord):
            what = ("score", record.condition) if record.stage == "score" else (record.method, record.duration_s)
            if record.stage != "generate" and what in done:
                continue
            if record.stage == "timing":  # The newest says it; every start says it again.
                done.add(what)
        kept.append(record)
    return kept[::-1]


def _superseded(records: list[Record]) -> dict[Key, set[Asked]]:
    newest = newest_conditions(records)
    found: dict[Key, set[Asked]] = {}
    for run in of_kind(records, RunRecord):
        for key, asked in asked_conditions(run).items():
            if asked.condition != newest[key].condition:
                found.setdefault(key, set()).add(asked)
    return found


def _baseline_of(record: Record, starts: dict[str, RunRecord]) -> str:
    """The condition that a paired difference is against; records of before that was kept: what their start asked."""
    if not isinstance(record, MetricRecord) or not record.baseline:
        return ""
    if "baseline_condition" in record.details:
        return str(record.details["baseline_condition"])
    asked = asked_conditions(starts[record.run_id]) if record.run_id in starts else {}
    found = asked.get((record.duration_s, record.baseline))
    return found.condition if found else ""


def left_out(records: list[Record]) -> dict[Key, str]:
    """Row -> which clips of earlier settings it leaves out, in words."""
    made = {clip.condition for clip in of_kind(records, ClipRecord)}
    texts = {}
    for key, superseded in _superseded(records).items():
        if settings := [f"{a.steps} steps, guidance {a.guidance:g}" for a in sorted(superseded) if a.condition in made]:
            texts[key] = f"clips of {' and of '.join(settings)} left out: run again with those settings to show them"
    return texts


def condition_id(method: str, duration_s: float, steps: int, guidance: float) -> str:
    """The folder name of a condition."""
    return f"{method}_{duration_s:g}s_{steps}steps_g{guidance:g}"
