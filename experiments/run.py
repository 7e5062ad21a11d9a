"""Run an experiment: `python -m experiments.run +sweep=durations`.

Stages generate -> timing -> score -> report, each reading what the one before left on disk. Running again resumes.
With shard.count above 1 this process does its share of the clips (docs/cluster.md); the report is drawn once, by a run
without shards.
"""

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from experiments.checks.scoring import check_folder, check_scoring
from experiments.matrix.clips import plan_clips
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import (
    Condition,
    Method,
    build_methods,
    build_timing_arms,
    expand_conditions,
)
from experiments.matrix.shards import Shard
from experiments.pipelines.revisions import with_commit
from experiments.records import RunRecord, of_kind, read_records
from experiments.records.folder import (
    check_same_settings,
    check_same_spelling,
    check_same_weights,
    check_writable,
    locked,
)
from experiments.records.run import Run
from experiments.report import report, run_folders
from experiments.stages.generate import generate_clips
from experiments.stages.score import embed_clips, is_scored, score_run
from experiments.stages.setup import (
    check_patches,
    load_pipeline,
    load_prompts,
    resolved,
    score_start_record,
    start_record,
)
from experiments.stages.timing import is_timed, time_duration
from experiments.system.cli import (
    CONF_DIR,
    check_overrides,
    one_line_errors,
    print_help_if_asked,
    refuse_unknown,
    with_method_lists,
)
from experiments.system.environment import describe
from experiments.system.multirun import check_launcher, study_of
from experiments.system.preemption import signals_held_back
from experiments.tables.formats import to_markdown
from experiments.tables.speed_rows import speed_rows
from experiments.tables.speed_table import clip_table
from experiments.tracking.tracker import Tracker, check_tracker

logger = logging.getLogger(__name__)

NEEDS_PIPELINE = ("generate", "timing")


def run(config: DictConfig) -> str:
    """Run the configured stages; returns the report's markdown and the tracker's last word, empty without a report."""
    config = with_composed_methods(config)
    methods = build_methods(config)
    arms = build_timing_arms(config)
    conditions = expand_conditions(config, methods)
    shard = Shard(config.shard.index, config.shard.count)
    run_dir = Path(config.out_dir)
    check_tracker(config.tracking)
    tracking = cast(dict[str, Any], OmegaConf.to_container(config.tracking, resolve=True))
    with locked(run_dir, shard.name), Tracker(tracking, run_dir, shard) as tracker:
        return _run_stages(config, conditions, arms, run_dir, shard, tracker)


def _run_stages(
    config: DictConfig,
    conditions: list[Condition],
    arms: dict[str, Method],
    run_dir: Path,
    shard: Shard,
    tracker: Tracker,
) -> str:
    scored = is_scored(config)
    if scored:
        prompts = load_prompts(config)
        if "generate" not in config.stages:
            check_folder(config, conditions, prompts, run_dir)
        check_scoring(config, prompts)
    run_id = None
    if any(stage in NEEDS_PIPELINE for stage in config.stages):
        with signals_held_back() as stop_if_asked:
            run_id = _run_pipeline(config, conditions, arms, run_dir, shard, stop_if_asked, tracker)
    if scored:
        tracker.now("scoring")
        if shard.is_whole:
            score_run(config, conditions, prompts, run_dir, run_id)
        else:
            embed_clips(config, shard.select(plan_clips(conditions, prompts, list(config.seeds))), run_dir)
            run_id = run_id or score_start_record(config, prompts, run_dir, shard.records_file)
    if "report" not in config.stages:
        return ""
    if not shard.is_whole:
        logger.info("%s: no report of a part; draw it once all shards are done: stages=[score,report]", shard.name)
        return ""
    if run_id is None and not scored:
        score_start_record(config, [], run_dir)
    tracker.now("reporting")
    text = report(run_dir)
    return "\n".join(filter(None, [text, tracker.results()]))


def _run_pipeline(
    config: DictConfig,
    conditions: list[Condition],
    arms: dict[str, Method],
    run_dir: Path,
    shard: Shard,
    stop_if_asked: Callable[[], None],
    tracker: Tracker,
) -> str:
    """The stages that need the pipeline, on this shard's share; returns the id of this start."""
    config = with_commit(config)
    earlier = of_kind(read_records(run_dir), RunRecord)
    check_same_settings(earlier, resolved(config))
    prompts = load_prompts(config)
    check_same_spelling(earlier, [prompt.id for prompt in prompts])
    pipeline = load_pipeline(config, config.shard.index)
    check_patches(arms.values(), pipeline.pipe)
    for duration in config.durations:
        pipeline.check_duration(float(duration))
    before = read_records(run_dir)
    check_same_weights(of_kind(before, RunRecord), pipeline.weights)
    run_id = start_record(config, pipeline, prompts, run_dir, shard.records_file)
    clips = shard.select(plan_clips(conditions, prompts, list(config.seeds)))
    tracker.begin(clips)
    if "generate" in config.stages:
        tracker.now("generating")
        batching = {"batch_size": config.batch_size, "exact_batches": config.exact_batches}
        told = partial(say_so_far, run_dir, conditions, shard)
        file_name = shard.records_file
        generate_clips(pipeline, clips, run_dir, run_id, **batching, file_name=file_name, between_clips=stop_if_asked,
                       after_length=told, after_clips=tracker.clips)  # fmt: skip
    if "timing" in config.stages:
        for duration in shard.deal(list(config.durations)):
            stop_if_asked()
            here = describe(pipeline.device, pipeline.dtype)
            if is_timed(before, float(duration), arms, resolved(config), here):
                again = f"timing.starts={config.timing.starts + 1}, other timing.rounds or another out_dir"
                logger.info("%g s is timed already; %s time it again", duration, again)
                continue
            tracker.now(f"timing {duration:g} s")
            time_duration(pipeline, arms, float(duration), config.timing, run_id, run_dir, shard.records_file)
    return run_id


def say_so_far(run_dir: Path, conditions: list[Condition], shard: Shard, duration_s: float) -> None:
    """Print what the clips of a length took while longer ones are still to be made: a first table after minutes."""
    if shard.is_whole and duration_s != conditions[-1].duration_s:
        made = Run.load(run_dir)
        tqdm.write(to_markdown(clip_table(speed_rows(made), duration_s, [made.settings()])))


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def hydra_main(config: DictConfig) -> None:
    """Hydra's entry point: configuration in, files out, the report on the terminal."""
    alone = HydraConfig.get().mode == RunMode.RUN  # of several jobs Hydra says which one failed, on a line of its own
    start = time.perf_counter()
    with one_line_errors() if alone else nullcontext():
        text = run(config)
    if text and alone:
        print(f"\n{text}\nresults: {Path(config.out_dir)} ({time.perf_counter() - start:.0f} s)")


def main() -> None:
    """Check the command line and the run folder first: a mistake there is one line and exit code 2."""
    # Hydra hands errors of its own and of jobs on, instead of printing a traceback and leaving.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors():
        print_help_if_asked(sys.argv[1:], __doc__, "config")
        check_launcher(sys.argv[1:])
        words = with_method_lists(sys.argv[1:])
        study = study_of(words, CONF_DIR)
        if study is not None:  # its own words refer to whatever is swept
            refuse_unknown(words, "config")
        commands = [words] if study is None else study.commands(generates=_check(study.words, study.apart))
        for command in commands:
            if command != sys.argv[1:]:
                print(f"python -m experiments.run {shlex.join(command)}", flush=True)
            _check(command)
            sys.argv[1:] = command
            hydra_main()
        if study is not None and study.apart and run_folders(Path(study.folder)):
            print(f"\n{report(Path(study.folder))}\nresults: {study.folder}")


def _check(words: list[str], apart: Sequence[str] = ()) -> bool:
    """Look at a command line, its methods, conditions and folder; returns whether it generates."""
    config = None if apart else check_overrides(words, config_name="config")
    if config is None:
        return False
    whole = with_composed_methods(config)
    expand_conditions(whole, build_methods(whole))
    check_writable(Path(config.out_dir))  # Hydra's log would be the first to fail, with a traceback.
    return "generate" in config.stages


if __name__ == "__main__":
    main()
