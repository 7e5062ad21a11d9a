"""Run an experiment: `python -m experiments.run +sweep=durations`.

Stages generate -> timing -> report, each reading what the one before left on disk. Running again resumes.
"""

import logging
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.cli import CONF_DIR, check_overrides, one_line_errors
from experiments.conditions import Condition, Method, build_methods, build_timing_arms, expand_conditions
from experiments.environment import describe
from experiments.generate import generate_clips, plan_clips
from experiments.memory import keep_freed_memory
from experiments.pipelines import DTYPES, Pipeline, select_device
from experiments.prompts import Prompt
from experiments.records import RunRecord, append_record, of_kind, read_records
from experiments.report import report
from experiments.resume import check_same_settings, check_same_weights, locked
from experiments.score import check_scorable, score_run
from experiments.timing import time_duration
from experiments.tracking import track
from litefocus.decoding import DecodingChunks

logger = logging.getLogger(__name__)

NEEDS_PIPELINE = ("generate", "timing")
PIPELINE_SETTINGS = ("stages", "durations", "steps", "guidance", "timing_rounds", "max_duration_s")


def run(config: DictConfig) -> str:
    """Run the configured stages and return the report's markdown (empty without the report stage)."""
    methods = build_methods(config)
    arms = build_timing_arms(config)
    conditions = expand_conditions(config, methods)
    run_dir = Path(config.out_dir)
    with locked(run_dir):
        return _run_stages(config, conditions, arms, run_dir)


def _run_stages(config: DictConfig, conditions: list[Condition], arms: dict[str, Method], run_dir: Path) -> str:
    if "score" in config.stages:
        check_scorable(config)
    if any(stage in NEEDS_PIPELINE for stage in config.stages):
        check_same_settings(of_kind(read_records(run_dir), RunRecord), resolved(config))
        prompts = load_prompts(config)
        pipeline = load_pipeline(config)
        for duration in config.durations:
            pipeline.check_duration(float(duration))
        check_same_weights(of_kind(read_records(run_dir), RunRecord), pipeline.weights)
        run_id = start_record(config, pipeline, prompts, run_dir)
        if "generate" in config.stages:
            clips = plan_clips(conditions, prompts, list(config.seeds))
            generate_clips(pipeline, clips, run_dir, run_id, config.batch_size, config.exact_batches)
        if "timing" in config.stages:
            for duration in config.durations:
                time_duration(pipeline, arms, float(duration), config.timing, run_id, run_dir)
    if "score" in config.stages:
        score_run(config, conditions, load_prompts(config), run_dir, _newest_run_id(run_dir))
    if "report" not in config.stages:
        return ""
    text = report(run_dir)
    track(run_dir, resolved(config))
    return text


def _newest_run_id(run_dir: Path) -> str:
    runs = of_kind(read_records(run_dir), RunRecord)
    if not runs:
        raise ValueError(f"{run_dir}: nothing to score; run the generate stage first")
    return runs[-1].run_id


def load_prompts(config: DictConfig) -> list[Prompt]:
    """The configured prompts."""
    return instantiate({key: value for key, value in config.data.items() if key != "references"})


def load_pipeline(config: DictConfig) -> Pipeline:
    """Load the configured pipeline on its device.

    Raises:
        ValueError: an unknown dtype or device. Loading errors pass through.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r}: accepted are {', '.join(DTYPES)}")
    if config.keep_freed_memory:
        keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(int(config.threads))
    arguments = {key: value for key, value in config.pipeline.items() if key not in PIPELINE_SETTINGS}
    logger.info("loading %s", config.pipeline.name)
    pipeline: Pipeline = instantiate(arguments, device=select_device(config.device), dtype=DTYPES[config.dtype])
    pipeline.decode_in_chunks = DecodingChunks(**config.decode_in_chunks) if config.decode_in_chunks else None
    return pipeline


def start_record(config: DictConfig, pipeline: Pipeline, prompts: list[Prompt], run_dir: Path) -> str:
    """Append the run record of this start and return its id."""
    run_id = uuid.uuid4().hex[:12]
    record = RunRecord(
        run_id=run_id,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=resolved(config),
        environment=describe(pipeline.device, pipeline.dtype),
        pipeline=pipeline.describe(),
        prompt_ids=[prompt.id for prompt in prompts],
    )
    append_record(run_dir, record)
    return run_id


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, interpolations filled in, without the machine's folders."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): without_folders(value) for key, value in container.items()}


def without_folders(value: Any) -> Any:
    """Absolute paths reduced to their last part, at any depth: records travel, home directories should not."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return value


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def hydra_main(config: DictConfig) -> None:
    """Hydra's entry point: configuration in, files out, the report on the terminal."""
    with one_line_errors():
        text = run(config)
        print(f"\n{text}\nresults: {Path(config.out_dir)}")


def main() -> None:
    """Check the command line first: a mistake there is one line and exit code 2."""
    check_overrides(sys.argv[1:], config_name="config")
    hydra_main()


if __name__ == "__main__":
    main()
