"""What every program does before its work: prompts, the pipeline on its device, and the record of the start."""

import logging
import uuid
from pathlib import Path
from typing import Any, Protocol

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import is_whole
from experiments.pipelines.pipeline import DTYPES, Pipeline, select_device
from experiments.pipelines.revisions import with_commit
from experiments.records import (
    RECORDS_FILE,
    ProbeRunRecord,
    RunRecord,
    StartRecord,
    append_record,
    of_kind,
    read_records,
)
from experiments.records.folder import started_after
from experiments.system.environment import describe
from experiments.system.memory import keep_freed_memory
from experiments.system.private import publishable, without_environment
from litefocus.decoding import DecodingChunks

logger = logging.getLogger(__name__)

PIPELINE_SETTINGS = ("licence", "stages", "durations", "steps", "guidance", "timing_rounds", "max_duration_s")


def load_prompts(config: DictConfig) -> list[Prompt]:
    """The configured prompts."""
    return instantiate({key: value for key, value in config.data.items() if key != "references"})


def prepare_torch(config: DictConfig) -> torch.dtype:
    """Apply the settings that belong to the process, threads and memory, and return the configured dtype.

    Raises:
        ValueError: an unknown dtype, or threads below 1.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r}: accepted are {', '.join(DTYPES)}")
    if config.keep_freed_memory:
        keep_freed_memory()
    if config.threads is not None:
        if not is_whole(config.threads) or config.threads < 1:
            raise ValueError(f"threads {config.threads!r}: accepted are whole numbers from 1, or null for torch's own")
        torch.set_num_threads(config.threads)
    return DTYPES[str(config.dtype)]


def load_pipeline(config: DictConfig, shard: int = 0) -> Pipeline:
    """Load the configured pipeline on its device; with `auto`, shards on one machine take its CUDA devices in turn.

    Raises:
        ValueError: an unknown dtype or device, or threads below 1. Loading errors pass through.
    """
    config = with_commit(config)
    dtype = prepare_torch(config)
    arguments = {key: value for key, value in config.pipeline.items() if key not in PIPELINE_SETTINGS}
    logger.info("loading %s", config.pipeline.name)
    pipeline: Pipeline = instantiate(arguments, device=select_device(config.device, shard), dtype=dtype)
    pipeline.decode_in_chunks = DecodingChunks(**config.decode_in_chunks) if config.decode_in_chunks else None
    return pipeline


class Described(Protocol):
    """What a start's record says about a model: a Pipeline does."""

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def describe(self) -> dict[str, Any]:
        """What the records keep about it."""


def start_record(
    config: DictConfig,
    pipeline: Described,
    prompts: list[Prompt],
    run_dir: Path,
    file_name: str = RECORDS_FILE,
    kind: type[RunRecord] | type[ProbeRunRecord] = RunRecord,
) -> str:
    """Append the record of this start and return its id."""
    run_id = uuid.uuid4().hex[:12]
    record = kind(
        run_id=run_id,
        started_at=started_after(of_kind(read_records(run_dir), StartRecord)),
        config=resolved(config),
        environment=describe(pipeline.device, pipeline.dtype),
        pipeline=pipeline.describe(),
        prompt_ids=[prompt.id for prompt in prompts],
    )
    append_record(run_dir, record, file_name)
    return run_id


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, interpolations filled in, without what is private (`system.private`)."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return publishable(container, OmegaConf.to_container(config, resolve=False), without_environment(config))
