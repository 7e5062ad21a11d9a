"""What stands beside every table, figure and page: where its numbers came from and what they cannot say."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from experiments.records import RunRecord, StartRecord

Start = TypeVar("Start", bound=StartRecord)
TESTBED_NOTE = "Testbed: evidence about the method on this small model only, never about AudioLDM2."


def provenance(runs: Sequence[StartRecord]) -> str:
    """What was measured, where, and what it cannot say: one markdown line per statement.

    Args:
        runs: the starts that the numbers came from, oldest first, at least one; each commit and machine is named.
    """
    commits = list(dict.fromkeys(commit(run) for run in runs))
    started = " to ".join(dict.fromkeys((runs[0].started_at, runs[-1].started_at)))
    lines = [
        f"Measured on {places([], runs)}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}, started {started}."
    ]
    run = runs[-1]
    if not run.pipeline["trained"]:
        lines.append(
            f"`{run.pipeline['name']}` has random weights: its timings are those of its architecture, its audio is "
            "noise, and no quality metric applies."
        )
    return "\n".join(lines)


def starts_of(records: Sequence[Any], starts: Sequence[Start]) -> list[Start]:
    """Those of `starts` that made some of `records`; all of them where no record says which start made it."""
    made = {record.run_id for record in records}
    return [start for start in starts if start.run_id in made] or list(starts)


def places(records: Sequence[Any], starts: Sequence[StartRecord]) -> str:
    """Where some records were made, each place once."""
    return "; ".join(dict.fromkeys(where(start) for start in starts_of(records, starts)))


def where(run: StartRecord) -> str:
    """Pipeline, device, threads, dtype and torch version of a run."""
    environment = run.environment
    threads = environment["threads"]
    return (
        f"{run.pipeline['name']}, {environment['device']} ({threads} thread{'s' * (threads != 1)}), "
        f"{environment['dtype']}, torch {environment['packages']['torch']}"
    )


def commit(run: StartRecord) -> str:
    """The commit's first twelve digits, with -dirty for a changed tree."""
    digits = run.environment["commit"]
    return "unknown (no git checkout)" if digits is None else digits[:12] + "-dirty" * bool(run.environment["dirty"])


def quality_notes(run: StartRecord) -> list[str]:
    """The lines that stand beside every quality table and figure of a run: what the model is, and its gate.

    The gate is read from `pipeline["gate"]`: readings with `length` (multiples of the training length) and `verdicts`
    (criterion -> passed), as `experiments.testbed.gate` writes them.
    """
    if not str(run.pipeline["name"]).startswith("testbed"):
        return []
    readings = run.pipeline.get("gate") or []
    if not readings:
        return [TESTBED_NOTE, "Gate: no reading for these weights is recorded, so no claim about quality can be made."]
    lengths: dict[str, list[str]] = {}
    for reading in readings:
        lengths.setdefault(gate_verdict(reading["verdicts"]), []).append(f"{reading['length']}x")
    return [TESTBED_NOTE, *(f"Gate at {', '.join(found)}: {verdict}." for verdict, found in lengths.items())]


def gate_verdict(verdicts: Mapping[str, bool]) -> str:
    """A reading of the gate in words: passed, or which criteria failed and what follows."""
    failed = [name.replace("_", " ") for name, passed in verdicts.items() if not passed]
    if not failed:
        return f"passed ({len(verdicts)} of {len(verdicts)} criteria)"
    return f"FAILED ({', '.join(failed)}): the method's effect on quality is not testable on this checkpoint there"


def methods_of(run: RunRecord) -> list[dict[str, Any]]:
    """The method nodes of a run's configuration, those that it only timed left out."""
    config = run.config
    nodes = list(config["methods"].values()) if config.get("methods") else [config["method"]]
    return [node for node in nodes if not node["timing_only"]]


def method_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Method name -> the label that readers see."""
    return {node["name"]: node["label"] for run in runs for node in methods_of(run)}
