"""What the listening page shows, gathered from records: prompts x durations x arms x seeds, with every gap's reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from experiments.listen.references import Reference, find_reference
from experiments.records import ClipRecord, FailureRecord, MetricRecord, RunRecord, of_kind
from experiments.records.current import without_other_scorings
from experiments.records.provenance import methods_of
from experiments.records.run import Run
from experiments.tables.quality_rows import by_metric, headline

UNFINISHED = "not generated yet: the run is unfinished"


class Arm(NamedTuple):
    """What is compared: a method at a number of steps and a guidance scale."""

    method: str
    steps: int
    guidance: float


class Cell(NamedTuple):
    """One place in the grid."""

    prompt_id: str
    duration_s: float
    arm: Arm
    seed: int


@dataclass(frozen=True)
class Grid:
    """The page's content. Every cell that was asked for is in `clips` or in `gaps`.

    Attributes:
        labels: arm -> text for readers. captions: prompt id -> caption (the id where no clip tells the caption).
        gaps: cell -> why there is nothing to hear.
        scores: cell -> metric -> value of this clip. metrics: metric -> one of its records.
        references: (prompt id, length) -> its true audio, where the run folder holds some.
    """

    labels: dict[Arm, str]
    captions: dict[str, str]
    durations_s: list[float]
    seeds: list[int]
    clips: dict[Cell, ClipRecord]
    gaps: dict[Cell, str]
    scores: dict[Cell, dict[str, float]]
    metrics: dict[str, MetricRecord]
    references: dict[tuple[str, float], Reference] = field(default_factory=dict)


def gather(run: Run) -> Grid:
    """Lay out a run's records as a grid; the newest clip record of a cell counts."""
    clips = {_cell(clip): clip for clip in run.of_kind(ClipRecord)}
    asked = list(dict.fromkeys([*(cell for start in run.runs for cell in asked_cells(start)), *clips]))
    captions = {clip.prompt_id: clip.caption for clip in clips.values()}
    unheard = {cell: reason for cell, clip in clips.items() if (reason := _unheard(clip, run.folder))}
    playable = {cell: clip for cell, clip in clips.items() if cell not in unheard}
    failures = run.of_kind(FailureRecord)
    gaps = {cell: unheard.get(cell) or gap_reason(cell, failures) for cell in asked if cell not in playable}
    scores, metrics = clip_scores(run, playable)
    heard = dict.fromkeys((cell.prompt_id, cell.duration_s) for cell in asked)
    references = {place: found for place in heard if (found := find_reference(run.folder, *place))}
    return Grid(
        labels=_labels(run.labels, [cell.arm for cell in asked]),
        captions={cell.prompt_id: captions.get(cell.prompt_id, cell.prompt_id) for cell in asked},
        durations_s=sorted({cell.duration_s for cell in asked}),
        seeds=sorted({cell.seed for cell in asked}),
        clips=playable,
        gaps=gaps,
        scores=scores,
        metrics=metrics,
        references=references,
    )


def _cell(clip: ClipRecord) -> Cell:
    return Cell(clip.prompt_id, clip.duration_s, Arm(clip.method, clip.steps, clip.guidance), clip.seed)


def asked_cells(run: RunRecord) -> Iterable[Cell]:
    """Every clip that a run's configuration asks for; none where it did not generate."""
    config = run.config
    if "generate" not in config.get("stages", ["generate"]) or not config.get("durations"):
        return []
    arms = [Arm(m["name"], int(m.get("steps") or config["steps"]), config["guidance"]) for m in methods_of(run)]
    durations = [float(duration) for duration in config["durations"]]
    return [Cell(*cell) for cell in product(run.prompt_ids, durations, arms, config["seeds"])]


def gap_reason(cell: Cell, failures: Sequence[FailureRecord]) -> str:
    """The newest failure that explains a missing clip: of the clip itself, or of its whole condition."""
    for failure in reversed(failures):
        same_condition = (failure.method, failure.duration_s) == (cell.arm.method, cell.duration_s)
        of_clip = (failure.prompt_id, failure.seed) == (cell.prompt_id, cell.seed)
        if failure.stage == "generate" and same_condition and (of_clip or not failure.prompt_id):
            return f"failed: {failure.reason}"
    return UNFINISHED


def _unheard(clip: ClipRecord, run_dir: Path) -> str:
    """Why a recorded clip cannot be played from this folder; empty if it can."""
    return "" if (run_dir / clip.audio).is_file() else "the audio file is not in this copy of the run"


def _labels(known: Mapping[str, str], arms: Iterable[Arm]) -> dict[Arm, str]:
    """Labels from the configurations; steps and guidance are told where they differ between arms."""
    found = list(dict.fromkeys(arms))
    settings = {(arm.steps, arm.guidance) for arm in found}
    return {
        arm: known.get(arm.method, arm.method)
        + (f" ({arm.steps} steps, guidance {arm.guidance:g})" if len(settings) > 1 else "")
        for arm in found
    }


def clip_scores(
    run: Run, clips: dict[Cell, ClipRecord]
) -> tuple[dict[Cell, dict[str, float]], dict[str, MetricRecord]]:
    """Scores of single clips: metric records whose `details["per_clip"]` maps a wav's stem to a value.

    Returns:
        cell -> metric -> value, and metric -> one of its records. Of several presets each has its own metrics.
    """
    scored = of_kind(without_other_scorings(run.records), MetricRecord)
    plain = [r for r in scored if "per_clip" in r.details and not r.baseline and r.window < 0]
    presets = list(dict.fromkeys(record.preset for record in plain))
    values: dict[tuple[str, str, str], float] = {}
    metrics: dict[str, MetricRecord] = {}
    for preset in presets:
        own = [record for record in plain if record.preset == preset]
        suffix = f"_({preset})" if len(presets) > 1 else ""
        found = by_metric(own)
        metrics |= {metric + suffix: found[metric] for metric in dict.fromkeys([*headline(found), *found])}
        for r in own:
            values |= {(r.condition, stem, r.metric + suffix): value for stem, value in r.details["per_clip"].items()}
    scores: dict[Cell, dict[str, float]] = {}
    for cell, clip in clips.items():
        keys = {metric: (clip.condition, PurePosixPath(clip.audio).stem, metric) for metric in metrics}
        if here := {metric: float(values[key]) for metric, key in keys.items() if key in values}:
            scores[cell] = here
    return scores, metrics
