"""Time per denoising step: all arms in one process, interleaved, as paired ratios.

A round times every arm once, in an order that rotates from round to round; ratios are taken within a round, so a
machine that slows down moves both sides. The baseline is timed twice per round: the spread of that A/A ratio is the
noise below which no difference means anything. Every arm is in force on its own copy of the UNet before the first
round; `experiments.benchmark` measures with the same code.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.matrix.conditions import Method
from experiments.pipelines.clock import now
from experiments.pipelines.pipeline import Pipeline
from experiments.records import (
    AA_SUFFIX,
    RECORDS_FILE,
    FailureRecord,
    Record,
    RunRecord,
    TimingRecord,
    append_record,
    of_kind,
)
from experiments.records.timings import newest_alike, pooled_starts, timing_settings
from experiments.stages.arms import does_not_fit, open_arm, unet_step
from experiments.system.memory import MEMORY_ERRORS, out_of_memory, peak_memory_gib
from experiments.system.progress import progress

logger = logging.getLogger(__name__)

NEEDS_SCHEDULE = "works across the steps, one step alone tells nothing; experiments.benchmark levels=[loop] times it"


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    title: str = "timing",
) -> Iterator[dict[str, float]]:
    """Time every call once a round, in an order that rotates from round to round.

    Args:
        rounds: counted rounds, at least 1. warmup: rounds run first and thrown away.
        clock: seconds; for work on a device `pipelines.clock.now`, which waits for it. title: of the progress bar.
    Yields:
        Name -> seconds of each counted round, as soon as it is complete.
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"timing: got rounds={rounds}, warmup={warmup}; accepted are rounds >= 1 and warmup >= 0")
    names = list(calls)
    with progress((rounds + warmup) * len(names), title, "call") as bar:
        for index in range(-warmup, rounds):
            shift = index % len(names)
            elapsed = {}
            for name in names[shift:] + names[:shift]:
                start = clock()
                calls[name]()
                elapsed[name] = clock() - start
                bar.update()
            if index >= 0:
                yield elapsed


def time_duration(
    pipeline: Pipeline,
    methods: Mapping[str, Method],
    duration_s: float,
    config: Any,
    run_id: str,
    run_dir: Path,
    file_name: str = RECORDS_FILE,
) -> None:
    """Time all arms at one duration and append a timing record; an arm that is left out is recorded as a failure.

    Args:
        methods: arm name -> method.
        config: the `timing` node: rounds, warmup, baseline, limit.
    """
    load_before = os.getloadavg()[0]
    memory = dict[str, float | None]()
    for name, method in methods.items():
        memory[name], reason = _peak_memory(pipeline, method, duration_s)
        if reason:
            del memory[name]
            logger.warning("timing %s at %g s: %s", name, duration_s, reason)
            append_record(run_dir, FailureRecord(run_id, "timing", "", name, duration_s, reason), file_name)
    if not memory:
        return
    labels = {name: methods[name].label for name in memory}
    with ExitStack() as stack:
        calls = {name: unet_step(open_arm(stack, methods[name], pipeline).pipeline, duration_s) for name in memory}
        if (baseline := config.baseline) in calls:
            again = baseline + AA_SUFFIX
            calls[again], memory[again] = calls[baseline], memory[baseline]
            labels[again] = f"{labels[baseline]} again (A/A)"
        title, clock = f"timing {duration_s:g} s", partial(now, pipeline.device)
        measured = list(interleave(calls, config.rounds, config.warmup, clock, title))
    time_frames, freq_bins = pipeline.latent_grid(duration_s)
    append_record(
        run_dir,
        TimingRecord(
            run_id=run_id,
            duration_s=duration_s,
            batch=2,
            grid_time=time_frames,
            grid_freq=freq_bins,
            baseline=config.baseline,
            limit=config.limit,
            labels=labels,
            latencies_s={name: [elapsed[name] for elapsed in measured] for name in calls},
            peak_memory_gib=memory,
            load_average=[load_before, os.getloadavg()[0]],
        ),
        file_name,
    )


def _peak_memory(pipeline: Pipeline, method: Method, duration_s: float) -> tuple[float | None, str]:
    """Peak memory of one step under a method alone, in GiB, and why the method cannot be timed; empty if it can."""
    if reason := NEEDS_SCHEDULE if method.needs_schedule else does_not_fit(pipeline, method, duration_s):
        return None, reason
    try:
        with ExitStack() as stack:
            step = unet_step(open_arm(stack, method, pipeline).pipeline, duration_s)
            return peak_memory_gib(lambda: _check_finite(method, step()), pipeline.device), ""
    except MEMORY_ERRORS as error:
        return None, out_of_memory(error)


def _check_finite(method: Method, output: torch.Tensor) -> None:
    if not math.isfinite(float(output.flatten()[0])):
        raise FloatingPointError(f"{method.name}: the UNet step gave a non-finite value; try dtype=float32")


def is_timed(
    records: list[Record], duration_s: float, arms: Mapping[str, Method], config: Mapping[str, Any], here: Any
) -> bool:
    """Whether a length has its timings and the newest is what this start would take: same arms, rounds, environment.

    Args:
        config: the resolved configuration. here: the environment (`experiments.system.environment.describe`).
    """
    alike = newest_alike(records, duration_s, pooled_starts(config))
    start = next((r for r in of_kind(records, RunRecord) if alike and r.run_id == alike[-1].run_id), None)
    if len(alike) < pooled_starts(config) or start is None:
        return False
    timing = alike[-1]
    failed = {
        f.method
        for f in of_kind(records, FailureRecord)
        if (f.stage, f.run_id, f.duration_s) == ("timing", timing.run_id, duration_s)
    }
    there = {name for name in timing.latencies_s if not name.endswith(AA_SUFFIX)} | failed
    same = timing_settings(start.config) == timing_settings(config)
    return there == set(arms) and same and start.environment == here
