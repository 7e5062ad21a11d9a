"""What stands beside every table, figure and page: where its numbers came from and what they cannot say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from experiments.records import ClipRecord, Record, RunRecord, StartRecord, of_kind

Start = TypeVar("Start", bound=StartRecord)
TESTBED_NOTE = "Testbed: evidence about the method on this small model only, never about AudioLDM2."
NO_READING = "no reading, so no claim about quality can be made there"
OTHER_CAPTIONS = "The gate was read on the testbed's own captions, not on these."


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
    """Those of `starts` that made some of `records`; all of them where there are no records.

    Raises:
        ValueError: none of them did: another start's commit and machine would stand beside the numbers.
    """
    if not records:
        return list(starts)
    made = {record.run_id for record in records}
    found = [start for start in starts if start.run_id in made]
    if not found:
        raise ValueError(
            f"no record of the start {', '.join(sorted(made))}, which made these numbers; restore the folder's record "
            "files, or take such records out"
        )
    return found


def places(records: Sequence[Any], starts: Sequence[StartRecord]) -> str:
    """Where some records were made, each place once."""
    return "; ".join(dict.fromkeys(where(start) for start in starts_of(records, starts)))


def where(run: StartRecord) -> str:
    """Pipeline, device, threads, dtype and torch version of a run."""
    environment = run.environment
    threads = environment["threads"]
    return (
        f"{pipeline_name(run)}, {environment['device']} ({threads} thread{'s' * (threads != 1)}), "
        f"{environment['dtype']}, torch {environment['packages']['torch']}"
    )


def pipeline_name(run: StartRecord) -> str:
    """The pipeline with the size of its UNet, because one name may be built in several sizes."""
    parameters = run.pipeline.get("unet_parameters")
    return str(run.pipeline["name"]) + (f" (UNet of {parameters / 1e6:.3g} M parameters)" if parameters else "")


def settings_line(records: Sequence[Record], preset: str = "") -> str:
    """One line: pipeline, prompts, seeds, steps, guidance, preset of the clips; without clips, what was asked for."""
    runs, clips = of_kind(list(records), RunRecord), of_kind(list(records), ClipRecord)
    config = runs[-1].config
    if clips:
        by_length = [{c.prompt_id for c in clips if c.duration_s == d} for d in {c.duration_s for c in clips}]
        prompts, seeds = {len(ids) for ids in by_length}, len({clip.seed for clip in clips})
        steps, guidances = {clip.steps for clip in clips}, {clip.guidance for clip in clips}
    else:
        prompts, seeds = {len(runs[-1].prompt_ids)}, len(config.get("seeds", []))
        steps = {config[key] for key in ("steps",) if key in config}
        guidances = {config[key] for key in ("guidance",) if key in config}
    parts = [
        pipeline_name(runs[-1]),
        _count(prompts, "prompt") + " by length" * (len(prompts) > 1),
        _count({seeds}, "seed"),
        _count(steps, "step"),
        f"guidance {_listed(guidances)}" if guidances else "",
        f"preset {preset}" if preset else "",
    ]
    return f"Settings: {', '.join(filter(None, parts))}."


def _count(numbers: Iterable[Any], noun: str) -> str:
    found = set(numbers)
    return f"{_listed(found)} {noun}{'s' * (found != {1})}" if found else ""


def _listed(numbers: Iterable[Any]) -> str:
    return " or ".join(f"{number:g}" for number in sorted(numbers))


def commit(run: StartRecord) -> str:
    """The commit's first twelve digits, with -dirty for a changed tree."""
    digits = run.environment["commit"]
    return "unknown (no git checkout)" if digits is None else digits[:12] + "-dirty" * bool(run.environment["dirty"])


def quality_notes(runs: Sequence[StartRecord]) -> list[str]:
    """The lines that stand beside every quality table and figure of a run: what the model is, and its gate.

    Only readings at the lengths that the starts asked for are named, and lengths without one are said. They come from
    `pipeline["gate"]`, as the testbed's gate writes them: `length` (multiples of the training length) and `verdicts`
    (criterion -> passed).
    """
    if not runs or not str(runs[-1].pipeline["name"]).startswith("testbed"):
        return []
    readings = runs[-1].pipeline.get("gate") or []
    if not readings:
        return [TESTBED_NOTE, "Gate: no reading for these weights is recorded, so no claim about quality can be made."]
    asked = _multiples(runs) or [float(reading["length"]) for reading in readings]
    verdicts = {float(reading["length"]): gate_verdict(reading["verdicts"]) for reading in readings}
    lengths: dict[str, list[str]] = {}
    for length in asked:
        lengths.setdefault(verdicts.get(length, NO_READING), []).append(f"{length:.4g}x")
    notes = [f"Gate at {', '.join(found)}: {verdict}." for verdict, found in lengths.items()]
    return [TESTBED_NOTE, *notes, *([OTHER_CAPTIONS] if any(map(_has_other_captions, runs)) else [])]


def _multiples(runs: Sequence[StartRecord]) -> list[float]:
    """The lengths that the starts asked for, in training lengths."""
    training_s = runs[-1].pipeline.get("training_length_s")
    durations = {float(duration) for run in runs for duration in run.config.get("durations", [])}
    return sorted(round(duration / training_s, 6) for duration in durations) if training_s else []


def _has_other_captions(run: StartRecord) -> bool:
    target = str((run.config.get("data") or {}).get("_target_", ""))
    return bool(target) and not target.startswith("experiments.testbed.")


def gate_verdict(verdicts: Mapping[str, bool]) -> str:
    """A reading of the gate in words: passed, or which criteria failed and what follows."""
    failed = [name.replace("_", " ") for name, passed in verdicts.items() if not passed]
    if not failed:
        return f"passed ({len(verdicts)} of {len(verdicts)} criteria)"
    return f"FAILED ({', '.join(failed)}): the method's effect on quality is not testable on this checkpoint there"


def methods_of(run: RunRecord) -> list[dict[str, Any]]:
    """The method nodes of a run's configuration, those that it only timed left out."""
    config = run.config
    nodes = list((config.get("methods") or {}).values()) or [config[key] for key in ("method",) if key in config]
    return [node for node in nodes if not node["timing_only"]]


def method_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Method name -> the label that readers see."""
    return {node["name"]: node["label"] for run in runs for node in methods_of(run)}
