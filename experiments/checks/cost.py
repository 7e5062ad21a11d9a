"""What a run will take: disk for its audio, and hours by the plan's cost model from a few clips measured now."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments.checks.lines import FAIL, OK, Line
from experiments.matrix.calibration import MINIMUM_STEPS, Calibration, measure
from experiments.matrix.clips import Clip
from experiments.matrix.conditions import Condition
from experiments.matrix.cost import plan_run
from experiments.pipelines.pipeline import Pipeline
from experiments.records.folder import check_writable
from experiments.stages.generate import SPARE_BYTES


def folder_line(run_dir: Path) -> str:
    """That the run folder can be written; a folder that was not there is taken away again."""
    made = not run_dir.exists()
    check_writable(run_dir)
    if made:
        shutil.rmtree(run_dir)
    return f"{run_dir} can be written"


def cost_lines(pipeline: Pipeline, conditions: Sequence[Condition], clips: Sequence[Clip], run_dir: Path) -> list[Line]:
    """Hours of generation and disk, from one clip per method at the shortest length after one of warm-up."""
    shortest = min(condition.duration_s for condition in conditions)
    samples = measure(pipeline, conditions, [shortest], MINIMUM_STEPS, rounds=1)
    plan = plan_run(clips, Calibration(samples, pipeline.sample_rate), shard_hours=10)
    hours = ", ".join(f"{name} {value:.3g}" for name, value in plan.hours.items())
    existing = next(folder for folder in (run_dir, *run_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 2**30
    fits = plan.disk_gib + SPARE_BYTES / 2**30 < free
    advice = "" if fits else "; free some or set out_dir to another disk"
    return [
        Line(
            OK,
            "hours",
            f"{sum(plan.hours.values()):.3g} of generation for {plan.clips} clips ({hours}), predicted from "
            f"{shortest:g} s clips; python -m experiments.plan measures more",
        ),
        Line(OK if fits else FAIL, "disk", f"{plan.disk_gib:.3g} GiB of audio, {free:.3g} GiB free{advice}"),
    ]
