"""What a run would cost, before it runs: python -m experiments.plan +sweep=paper

Prints clips, device-hours per method, disk, how evenly shards would end, and the command line. Generation only: model
loading, timing, scoring and queueing are not in it.
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.matrix.calibration import Calibration, Sample, measure, samples_of
from experiments.matrix.clips import plan_clips
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import Condition, build_methods, expand_conditions
from experiments.matrix.cost import Plan, plan_run
from experiments.records import ClipRecord, of_kind, read_records
from experiments.stages.score import presets_of
from experiments.stages.setup import load_pipeline, load_prompts
from experiments.system.cli import CONF_DIR, check_overrides, one_line_errors, print_what_was_asked, with_method_lists
from experiments.system.multirun import study_of

logger = logging.getLogger(__name__)


def calibrate(config: DictConfig, conditions: Sequence[Condition]) -> Calibration:
    """Clip records of the folder `plan.calibration`, or clips measured now on the configured pipeline and device."""
    options = config.plan
    if options.calibration is not None:
        folder = Path(options.calibration).expanduser()
        records = of_kind(read_records(folder), ClipRecord)
        if not records:
            raise ValueError(f"plan.calibration {folder}: no clip records there; name a folder of the generate stage")
        return Calibration(samples_of(records, conditions), records[-1].sample_rate)
    durations = options.durations or sorted({condition.duration_s for condition in conditions})[:2]
    pipeline = load_pipeline(config)
    samples = measure(pipeline, conditions, [float(d) for d in durations], int(options.steps), int(options.rounds))
    return Calibration(samples, pipeline.sample_rate)


def render(plan: Plan, conditions: Sequence[Condition], samples: Sequence[Sample]) -> str:
    """The plan as text: one line per method, then totals."""
    durations = list(dict.fromkeys(condition.duration_s for condition in conditions))
    rows = [["method", *(f"s/clip at {duration:g} s" for duration in durations), "device-hours"]]
    for method, hours in plan.hours.items():
        own = {c.duration_s: plan.clip_s[c.id] for c in conditions if c.method.name == method}
        rows.append([method, *(f"{own[duration]:.4g}" for duration in durations), f"{hours:.4g}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    measured = ", ".join(f"{duration:g}" for duration in sorted({sample.duration_s for sample in samples}))
    count = len(plan.shard_hours)
    return "\n".join(
        [
            *lines,
            f"clips: {plan.clips}",
            f"device-hours: {sum(plan.hours.values()):.4g} (measured at {measured} s; other lengths by the cost model)",
            f"disk: {plan.disk_gib:.3g} GiB",
            f"shards: {count}, of {min(plan.shard_hours):.3g} to {max(plan.shard_hours):.3g} hours",
        ]
    )


def command_lines(overrides: Sequence[str], count: int, launcher: str, scored: bool) -> str:
    """The commands that run the plan: shards, then tables from what all of them left."""
    own = " ".join(map(shlex.quote, overrides))
    last = "[score,report]" if scored else "[report]"
    shards = f"hydra/launcher={launcher} shard.count={count} 'shard.index=range({count})' " if count > 1 else ""
    first = f"python -m experiments.run {'-m ' if count > 1 else ''}{own} {shards}'stages=[generate]'"
    return f"{first}\npython -m experiments.run {own} 'stages={last}'"


def main() -> None:
    """The command line: the overrides of the run, and `plan.*`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = sys.argv[1:]
    with one_line_errors():
        print_what_was_asked(overrides, "plan", __doc__)
        words = with_method_lists(overrides)
        study = study_of(words, CONF_DIR)
        if study is not None and study.apart:
            raise ValueError(f"{study.apart[0]}: several values make several runs; plan each of them by itself")
        composed = check_overrides(words if study is None else study.words, config_name="plan")
        if composed is None:
            raise ValueError("experiments.plan deals out the shards itself; leave out -m and shard.*")
        config = with_composed_methods(composed)
        conditions = [c for c in expand_conditions(config, build_methods(config)) if not c.method.timing_only]
        clips = plan_clips(conditions, load_prompts(config), list(config.seeds))
        calibration = calibrate(config, conditions)
        plan = plan_run(clips, calibration, float(config.plan.shard_hours))
        run_overrides = [
            word for word in (overrides if study is None else study.words) if not word.lstrip("+~").startswith("plan.")
        ]
        print(render(plan, conditions, calibration.samples))
        scored = bool(config.pipeline.trained) and bool(presets_of(config))
        commands = command_lines(run_overrides, len(plan.shard_hours), config.plan.launcher, scored)
        print(f"\n{commands}")


if __name__ == "__main__":
    main()
