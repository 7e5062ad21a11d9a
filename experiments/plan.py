"""What a run would cost, before it runs: python -m experiments.plan +sweep=paper

Prints clips, device-hours per method and of the timing stage, disk, how evenly shards would end, the memory of a clip
by length and precision, what one card of `plan.card_gb` can do, and the command lines. Loading the model, scoring and
queueing are not in it.
"""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.matrix.calibration import Calibration, Sample, measure, samples_of
from experiments.matrix.clips import plan_clips
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import Condition, build_methods, build_timing_arms, expand_conditions
from experiments.matrix.cost import Plan, plan_run, timing_hours
from experiments.matrix.memory import GIB_FREE, SHARE_FREE, Footprint, footprints
from experiments.pipelines.pipeline import Pipeline
from experiments.records import ClipRecord, of_kind, read_records
from experiments.stages.score import presets_of
from experiments.stages.setup import load_pipeline, load_prompts
from experiments.system.cli import CONF_DIR, check_overrides, one_line_errors, print_what_was_asked, with_method_lists
from experiments.system.multirun import study_of

logger = logging.getLogger(__name__)


def calibrate(config: DictConfig, conditions: Sequence[Condition], pipeline: Pipeline | None) -> Calibration:
    """Clips measured now on a pipeline, or without one the clip records of the folder `plan.calibration`."""
    options = config.plan
    if pipeline is None:
        folder = Path(options.calibration).expanduser()
        records = of_kind(read_records(folder), ClipRecord)
        if not records:
            raise ValueError(f"plan.calibration {folder}: no clip records there; name a folder of the generate stage")
        return Calibration(samples_of(records, conditions), records[-1].sample_rate)
    durations = options.durations or sorted({condition.duration_s for condition in conditions})[:2]
    arms = build_timing_arms(config).values() if "timing" in config.stages else []
    timed = [Condition(arm, conditions[0].duration_s, 1, conditions[0].guidance) for arm in arms]
    samples = measure(
        pipeline, [*timed, *conditions], [float(d) for d in durations], int(options.steps), int(options.rounds)
    )
    return Calibration(samples, pipeline.sample_rate)


def render(plan: Plan, conditions: Sequence[Condition], samples: Sequence[Sample], timing: str) -> str:
    """The plan as text: one line per method, then totals, `timing` among them."""
    durations = list(dict.fromkeys(condition.duration_s for condition in conditions))
    rows = [["method", *(f"s/clip at {duration:g} s" for duration in durations), "device-hours"]]
    for method, hours in plan.hours.items():
        own = {c.duration_s: plan.clip_s[c.id] for c in conditions if c.method.name == method}
        rows.append([method, *(f"{own[duration]:.4g}" for duration in durations), f"{hours:.4g}"])
    measured = ", ".join(f"{duration:g}" for duration in sorted({sample.duration_s for sample in samples}))
    count = len(plan.shard_hours)
    return "\n".join(
        [
            *_columns(rows),
            f"clips: {plan.clips}",
            f"device-hours: {sum(plan.hours.values()):.4g} (measured at {measured} s; other lengths by the cost model)",
            timing,
            f"disk: {plan.disk_gib:.3g} GiB",
            f"shards: {count}, of {min(plan.shard_hours):.3g} to {max(plan.shard_hours):.3g} hours",
        ]
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def timing_line(config: DictConfig, calibration: Calibration) -> str:
    """The cost of the timing stage, which runs on one device after the clips."""
    if "timing" not in config.stages:
        return "timing: not asked for (stages)"
    durations = [float(duration) for duration in config.durations]
    hours, unknown = timing_hours(list(build_timing_arms(config).values()), durations, calibration, config.timing)
    guessed = f"; {', '.join(unknown)} by FLOPs alone: not in the calibration" if unknown else ""
    return f"timing: {hours:.3g} device-hours of steps, {config.timing.rounds} rounds of every arm{guessed}"


def memory_lines(by_length: Mapping[float, Footprint], overrides: Sequence[str], card_gib: float) -> list[str]:
    """A clip's memory by length and precision, and the batches that let one card make the most of it."""
    rows = [["dtype", "weights", *(f"at {duration:g} s" for duration in by_length)]]
    found = []
    for dtype in ("float32", "float16"):
        peaks = [footprint.peak_gib(dtype) for footprint in by_length.values()]
        weights = next(iter(by_length.values())).peak_gib(dtype, batch=0)
        rows.append([dtype, f"{weights:.2f}", *(f"{peak:.2f}" for peak in peaks)])
        whole, chunked = (
            min(footprint.largest_batch(dtype, card_gib, in_chunks) for footprint in by_length.values())
            for in_chunks in (False, True)
        )
        found += [(whole, False, dtype)] + [(chunked, True, dtype)] * (chunked > whole)
    rows += [
        [f"its {part}", "", *(f"{getattr(footprint, part):.2f}" for footprint in by_length.values())]
        for part in ("step", "decode")  # the larger of the two stands beside the weights
    ]
    lines = [
        "memory of one clip (GiB): tensors of dense attention with guidance, counted, not measured; its parts: float32",
        *_columns(rows),
    ]
    said = [f"{dtype}{', decoded in chunks,' * chunks} batches of {batch}" for batch, chunks, dtype in found if batch]
    room = f"with {SHARE_FREE:.0%} and {GIB_FREE:g} GiB kept free"
    lines.append(f"one card of {card_gib:g} GB, {room}: {'; '.join(said) or 'not every length fits'}")
    batch, chunks, dtype = max(found, key=lambda choice: (choice[0], not choice[1], choice[2] == "float32"))
    if batch:
        words = [f"dtype={dtype}", f"batch_size={batch}", "exact_batches=false"]
        words += ["decode_in_chunks.beyond_frames=512"] * chunks
        keys = {word.partition("=")[0] for word in words}
        words = [*(word for word in overrides if word.partition("=")[0] not in keys), *words]
        lines.append(f"most at once: python -m experiments.run {shlex.join(words)}")
    return lines


def command_lines(overrides: Sequence[str], count: int, launcher: str, stages: Sequence[str]) -> str:
    """The commands that run the plan: shards, then the later `stages`, if any, on what all of them left."""
    own = " ".join(shlex.quote(word) for word in overrides if not word.startswith("stages="))
    last = f"[{','.join(stages)}]"
    shards = f"hydra/launcher={launcher} shard.count={count} 'shard.index=range({count})' " if count > 1 else ""
    first = f"python -m experiments.run {'-m ' if count > 1 else ''}{own} {shards}'stages=[generate]'"
    return f"{first}\npython -m experiments.run {own} 'stages={last}'" if stages else first


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
        pipeline = load_pipeline(config) if config.plan.calibration is None else None
        calibration = calibrate(config, conditions, pipeline)
        plan = plan_run(clips, calibration, float(config.plan.shard_hours))
        run_overrides = [
            word for word in (overrides if study is None else study.words) if not word.lstrip("+~").startswith("plan.")
        ]
        print(render(plan, conditions, calibration.samples, timing_line(config, calibration)))
        if pipeline is None:
            print("memory: left out, as no pipeline is loaded with plan.calibration")
        else:
            by_length = footprints(pipeline, [float(duration) for duration in config.durations])
            print("\n".join(memory_lines(by_length, run_overrides, float(config.plan.card_gb))))
        scored = bool(config.pipeline.trained) and bool(presets_of(config))
        later = [stage for stage in config.stages if stage in ("timing", "report") or (stage == "score" and scored)]
        commands = command_lines(run_overrides, len(plan.shard_hours), config.plan.launcher, later)
        print(f"\n{commands}")


if __name__ == "__main__":
    main()
