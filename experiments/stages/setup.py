"""What every program does before its work: prompts, the pipeline on its device, and the record of the start."""

import logging
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.datasets.prompts import Prompt, check_prompts
from experiments.matrix.conditions import Method, check_keys
from experiments.matrix.plain_settings import is_whole
from experiments.pipelines.pipeline import DTYPES, Pipeline, select_device
from experiments.pipelines.revisions import with_commit
from experiments.records import (
    RECORDS_FILE,
    ProbeRunRecord,
    RunRecord,
    ScoreRunRecord,
    StartRecord,
    append_record,
    of_kind,
    read_records,
)
from experiments.records.folder import check_writable
from experiments.system.cli import CONF_DIR, check_overrides, one_line_errors, print_help_if_asked, with_method_lists
from experiments.system.environment import describe
from experiments.system.memory import keep_freed_memory
from experiments.system.private import public_overrides, publishable, without_environment
from litefocus.long_audio.decoding import DecodingChunks

logger = logging.getLogger(__name__)

PIPELINE_SETTINGS = ("licence", "stages", "durations", "steps", "guidance", "timing_rounds", "max_duration_s")


def harness_program(config_name: str, work: Callable[[DictConfig], str], help_text: str | None) -> None:
    """The command line of a program that takes Hydra's overrides; what it returns is printed with its folder.

    A mistake in the words, or a folder that cannot be written, is one line and exit code 2 before anything starts.

    Args:
        config_name: of conf/, the file whose keys the words set. help_text: the program's docstring.
    """

    def entry(config: DictConfig) -> None:
        with one_line_errors():
            start = time.perf_counter()
            text = work(config)
            print(f"\n{text}\nresults: {Path(config.out_dir)} ({time.perf_counter() - start:.0f} s)")

    with one_line_errors():
        print_help_if_asked(sys.argv[1:], help_text, config_name)
        sys.argv[1:] = with_method_lists(sys.argv[1:])
        config = check_overrides(sys.argv[1:], config_name)
        if config is not None:
            check_writable(Path(config.out_dir))  # Hydra's log would be the first to fail, with a traceback.
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(entry)()


def load_prompts(config: DictConfig) -> list[Prompt]:
    """The configured prompts.

    Raises:
        ValueError, TypeError: keys that are missing, or a loader that gives other things than `check_prompts` takes.
    """
    check_keys(config.data, "data", ("_target_", "references"))
    found = instantiate({key: value for key, value in config.data.items() if key != "references"})
    return check_prompts(found, str(config.data["_target_"]))


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
        TypeError: the loader returned something else.
    """
    config = with_commit(config)
    dtype = prepare_torch(config)
    arguments = {key: value for key, value in config.pipeline.items() if key not in PIPELINE_SETTINGS}
    logger.info("loading %s", config.pipeline.name)
    pipeline = instantiate(arguments, device=select_device(config.device, shard), dtype=dtype)
    if not isinstance(pipeline, Pipeline):
        raise TypeError(
            f"{config.pipeline['_target_']} returned {type(pipeline).__name__}; accepted is an "
            "experiments.pipelines.pipeline.Pipeline(name, pipe, trained, training_length_s, weights) around it"
        )
    pipeline.decode_in_chunks = DecodingChunks(**config.decode_in_chunks) if config.decode_in_chunks else None
    return pipeline


def check_patches(methods: Iterable[Method], pipe: Any) -> None:
    """Raise TypeError for a method whose patch makes no context manager; none is entered."""
    for method in methods:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # litefocus warns of a patch that was never entered
            kind = type(method.patch(pipe))
        if not hasattr(kind, "__enter__"):
            raise TypeError(
                f"method {method.name}: its patch returned {kind.__name__}; accepted is a context manager, which "
                "@contextlib.contextmanager makes of a function that yields once"
            )


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
    prompts: Sequence[Prompt],
    run_dir: Path,
    file_name: str = RECORDS_FILE,
    kind: type[RunRecord] | type[ProbeRunRecord] | type[ScoreRunRecord] = RunRecord,
) -> str:
    """Append the record of this start and return its id."""
    run_id = uuid.uuid4().hex[:12]
    public = resolved(config)
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    record = kind(
        run_id=run_id,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=public,
        environment=describe(pipeline.device, pipeline.dtype),
        pipeline=pipeline.describe(),
        prompt_ids=[prompt.id for prompt in prompts],
        number=1 + max((start.number for start in of_kind(read_records(run_dir), StartRecord)), default=0),
        overrides=public_overrides(typed, public),
    )
    append_record(run_dir, record, file_name)
    return run_id


@dataclass(frozen=True)
class NotLoaded:
    """What a start that loads no pipeline says about it: its name and whether it is trained."""

    name: str
    trained: bool
    device: torch.device
    dtype: torch.dtype = torch.float32

    def describe(self) -> dict[str, Any]:
        """No weights and no size: none were read."""
        return {"name": self.name, "trained": self.trained}


def score_start_record(
    config: DictConfig, prompts: Sequence[Prompt], run_dir: Path, file_name: str = RECORDS_FILE
) -> str:
    """Append the record of a start that scores or reports what is there, and return its id.

    Raises:
        ValueError: there is nothing in the folder.
    """
    if not read_records(run_dir):
        raise ValueError(f"{run_dir}: nothing to score or report; run the generate stage first")
    device = torch.device(str(config.metrics.get("device") or "cpu"))
    pipeline = NotLoaded(str(config.pipeline.name), bool(config.pipeline.trained), device)
    return start_record(config, pipeline, prompts, run_dir, file_name, ScoreRunRecord)


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, interpolations filled in, without what is private (`system.private`)."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return publishable(container, OmegaConf.to_container(config, resolve=False), without_environment(config))
