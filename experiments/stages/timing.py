"""Time per denoising step: all arms in one process, interleaved, as paired ratios.

A round times every arm once, in an order that rotates from round to round; ratios are taken within a round, so a
machine that slows down moves both sides. The baseline is timed twice per round: the spread of that A/A ratio is the
noise below which no difference means anything.

Shapes: B clips times two (guidance), T latent frames, F latent frequency bins, C latent channels.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.matrix.conditions import Method
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
from experiments.system.memory import GIB, MEMORY_ERRORS, available_gib, out_of_memory, peak_memory_gib
from experiments.system.progress import progress
from litefocus import TokenGrid
from litefocus.cost import unet_step_cost
from litefocus.sites import find_sites, find_unet

logger = logging.getLogger(__name__)

TEXT_TOKENS = 16
NEEDS_SCHEDULE = "works across the steps, one step alone tells nothing; experiments.benchmark levels=[loop] times it"


def interleave(
    arms: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time every arm once per round, in rotating order.

    Args:
        rounds: counted rounds, at least 1. warmup: rounds run first and thrown away.
        clock: returns seconds. advance: called after every measurement (a progress bar).
    Returns:
        arm -> one latency in seconds per counted round; equal index means the same round.
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"timing: got rounds={rounds}, warmup={warmup}; accepted are rounds >= 1 and warmup >= 0")
    latencies: dict[str, list[float]] = {name: [] for name in arms}
    for index in range(-warmup, rounds):
        for name, elapsed in time_round(arms, index, clock, advance).items():
            if index >= 0:
                latencies[name].append(elapsed)
    return latencies


def time_round(
    arms: Mapping[str, Callable[[], object]],
    index: int,
    clock: Callable[[], float] = time.perf_counter,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Time every arm once, starting with arm number `index`: arm -> seconds. Arguments as `interleave`."""
    names = list(arms)
    shift = index % len(names)
    elapsed = {}
    for name in names[shift:] + names[:shift]:
        start = clock()
        arms[name]()
        elapsed[name] = clock() - start
        advance()
    return elapsed


def unet_step(pipeline: Pipeline, duration_s: float, batch: int = 2) -> Callable[[], torch.Tensor]:
    """One UNet forward at a clip length: the step that a denoising loop repeats, synchronised with the device.

    Args:
        batch: rows of the forward; 2 is one clip with guidance.
    Returns:
        A call without arguments; its result is the noise prediction (B, C, T, F). Inputs are seeded.
    """
    unet = pipeline.pipe.unet
    time_frames, freq_bins = pipeline.latent_grid(duration_s)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(pipeline.device, pipeline.dtype)

    sample = normal(batch, unet.config.in_channels, time_frames, freq_bins)
    kwargs = _text_inputs(unet, batch, normal)
    timestep = torch.tensor(500, device=pipeline.device)

    def step() -> torch.Tensor:
        with torch.inference_mode():
            output = unet(sample, timestep, return_dict=False, **kwargs)[0]
        if pipeline.device.type == "cuda":
            torch.cuda.synchronize(pipeline.device)
        return output

    return step


def _text_inputs(unet: Any, batch: int, normal: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
    """Random text conditioning of the shapes that the UNet's family takes."""
    if type(unet).__name__ == "AudioLDM2UNet2DConditionModel":
        widths = [width for width in unet.config.cross_attention_dim[0] if width is not None]
        return {
            "encoder_hidden_states": normal(batch, 8, widths[0]),
            "encoder_hidden_states_1": normal(batch, TEXT_TOKENS, widths[1]),
        }
    # AudioLDM and MusicLDM condition through one embedding, as a class label.
    width = unet.config.projection_class_embeddings_input_dim
    return {"encoder_hidden_states": None, "class_labels": normal(batch, width)}  # type: ignore[dict-item]


def materialised_gib(pipeline: Pipeline, duration_s: float, batch: int = 2) -> float:
    """Memory of one site's materialised scores, two copies alive (before and after scaling or softmax), in GiB."""
    grid = TokenGrid(*pipeline.latent_grid(duration_s))
    sites = len(find_sites(find_unet(pipeline.pipe)))
    scores_per_site = unet_step_cost(pipeline.pipe, grid, batch).site_scores // sites
    return 2 * scores_per_site * (torch.finfo(pipeline.dtype).bits // 8) / GIB


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
    step = unet_step(pipeline, duration_s)
    arms = {}
    for name, method in methods.items():
        reason = NEEDS_SCHEDULE if method.needs_schedule else does_not_fit(pipeline, method, duration_s)
        if reason:
            logger.warning("timing %s at %g s: %s", name, duration_s, reason)
            append_record(run_dir, FailureRecord(run_id, "timing", "", name, duration_s, reason), file_name)
        else:
            arms[name] = method
    calls = {name: _patched(pipeline, method, step) for name, method in arms.items()}
    load_before = os.getloadavg()[0]
    memory = _measure_memory(calls, pipeline, duration_s, run_id, run_dir, file_name)
    if not memory:
        return
    calls = {name: calls[name] for name in memory}
    labels = {name: arms[name].label for name in memory}
    if config.baseline in calls:
        calls[config.baseline + AA_SUFFIX] = calls[config.baseline]
        memory[config.baseline + AA_SUFFIX] = peak_memory_gib(calls[config.baseline], pipeline.device)
        labels[config.baseline + AA_SUFFIX] = f"{labels[config.baseline]} again (A/A)"
    total = (config.rounds + config.warmup) * len(calls)
    with progress(total, f"timing {duration_s:g} s", "step") as bar:
        latencies = interleave(calls, config.rounds, config.warmup, advance=bar.update)
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
            latencies_s=latencies,
            peak_memory_gib=memory,
            load_average=[load_before, os.getloadavg()[0]],
        ),
        file_name,
    )


def is_timed(
    records: list[Record], duration_s: float, arms: Mapping[str, Method], config: Mapping[str, Any], here: Any
) -> bool:
    """Whether the newest timing of a length is what this start would take: same arms, rounds and environment.

    Args:
        config: the resolved configuration. here: the environment (`experiments.system.environment.describe`).
    """
    timing = next((r for r in reversed(of_kind(records, TimingRecord)) if r.duration_s == duration_s), None)
    start = next((r for r in of_kind(records, RunRecord) if timing and r.run_id == timing.run_id), None)
    if timing is None or start is None:
        return False
    failed = {
        f.method
        for f in of_kind(records, FailureRecord)
        if (f.stage, f.run_id, f.duration_s) == ("timing", timing.run_id, duration_s)
    }
    there = {name for name in timing.latencies_s if not name.endswith(AA_SUFFIX)} | failed
    same = all(start.config.get(key) == config.get(key) for key in ("timing", "keep_freed_memory"))
    return there == set(arms) and same and start.environment == here


def _measure_memory(
    calls: Mapping[str, Callable[[], object]],
    pipeline: Pipeline,
    duration_s: float,
    run_id: str,
    run_dir: Path,
    file_name: str,
) -> dict[str, float | None]:
    """Peak memory of one call of every arm; one that runs out of it is recorded as a failure and left out."""
    memory = {}
    for name, call in calls.items():
        try:
            memory[name] = peak_memory_gib(call, pipeline.device)
        except MEMORY_ERRORS as error:
            reason = out_of_memory(error)
            logger.error("timing %s at %g s: %s", name, duration_s, reason)
            append_record(run_dir, FailureRecord(run_id, "timing", "", name, duration_s, reason), file_name)
    return memory


def does_not_fit(pipeline: Pipeline, method: Method, duration_s: float, batch: int = 2) -> str:
    """Why a materialising arm would not fit in memory; empty if it fits."""
    if not method.materialised:
        return ""
    needed, free = materialised_gib(pipeline, duration_s, batch), available_gib(pipeline.device)
    if needed < 0.9 * free:
        return ""
    return f"needs about {needed:.1f} GiB for materialised scores, {free:.1f} GiB are free"


def _patched(pipeline: Pipeline, method: Method, step: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """The step under a method. Applying the method is inside the clock: none is flattered."""

    def call() -> None:
        with method.patch(pipeline.pipe):
            output = step()
        if not math.isfinite(float(output.flatten()[0])):
            raise FloatingPointError(f"{method.name}: the UNet step gave a non-finite value; try dtype=float32")

    return call
