"""Benchmark: every arm, interleaved, at four levels kept apart. `python -m experiments.benchmark +grid=cpu`

A cell is a level (op: the attention of one site; step: one UNet forward; loop: denoising to latents; wave: text to
audio), a clip length and a regime (eager or compiled). A round of a cell times every arm once, in rotating order,
together with a matrix product (the probe: what the machine gives at that moment), and is appended to the records as
soon as it is complete: a killed run loses one round, and the same command goes on. Tables and figures are drawn from
the records alone: `python -m experiments.benchmark.report results/benchmark_cpu`.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from experiments.benchmark.arms import GUIDED_LEVELS, Call, level_call, method_of, op_error, relative_error, site_grid
from experiments.benchmark.cells import Cell, cell_steps, check_cell, check_same_settings, identity, rounds_missing
from experiments.benchmark.module_profile import module_shares
from experiments.benchmark.report import benchmark_report
from experiments.matrix.conditions import Method
from experiments.pipelines.clock import now
from experiments.pipelines.pipeline import Pipeline
from experiments.records import AA_SUFFIX, CellRecord, RoundRecord, append_record
from experiments.records.folder import locked
from experiments.stages.arms import Arm, open_arms, unet_step
from experiments.stages.setup import harness_program, load_pipeline, resolved, start_record
from experiments.stages.timing import interleave
from experiments.system.memory import working_memory_gib
from litefocus import TokenGrid
from litefocus.cost import SiteCost, site_cost, unet_step_cost

PROBE = "_probe"
PROBE_SIZE = {"cpu": 1024, "cuda": 8192}
ERROR_GRID = TokenGrid(37, 8)  # not a multiple of any kernel's block


def benchmark(config: DictConfig) -> str:
    """Run all cells of the configuration that are not complete yet and return the report's markdown."""
    cells = [check_cell({**config.cell, **cell}) for cell in config.cells]
    run_dir = Path(config.out_dir)
    with locked(run_dir):
        methods = {name: method_of(name) for cell in cells for name in cell["arms"]}
        check_same_settings(run_dir, resolved(config))
        pipeline = load_pipeline(config)
        config.methods = {name: node for name, (_, node) in methods.items()}
        run_id = start_record(config, pipeline, [], run_dir)
        for cell in cells:
            if missing := rounds_missing(run_dir, cell):
                run_cell(config, cell, pipeline, methods, run_id, run_dir, missing)
        return benchmark_report(run_dir)


def run_cell(
    config: DictConfig,
    cell: Cell,
    pipeline: Pipeline,
    methods: Mapping[str, tuple[Method, Any]],
    run_id: str,
    run_dir: Path,
    rounds: int,
) -> None:
    """Open the arms of a cell, record what they are, and append its rounds one by one."""
    level, duration_s, regime = identity(cell)
    steps = cell_steps(cell)
    # The pipeline makes one clip with guidance, whatever the batch of the other levels.
    batch = 2 if level in GUIDED_LEVELS else int(config.batch)
    with ExitStack() as stack:
        wanted = {name: methods[name][0] for name in cell["arms"]}
        arms, skipped = open_arms(stack, wanted, pipeline, duration_s, batch, regime)
        calls: dict[str, Call] = {}
        for name, arm in arms.items():
            call = level_call(arm, level, duration_s, steps, batch)
            if call is None:
                skipped[name] = "does not change the attention of a site"
            else:
                calls[name] = call
        baseline = str(cell["baseline"])
        if cell["again"]:
            calls[baseline + AA_SUFFIX] = calls[baseline]
        record = CellRecord(
            run_id=run_id,
            level=level,
            duration_s=duration_s,
            regime=regime,
            batch=batch,
            steps=steps,
            baseline=baseline,
            limit=str(cell["limit"]),
            labels={name: arm.method.label for name, arm in arms.items()}
            | {name: wanted[name].label for name in skipped}
            | {baseline + AA_SUFFIX: f"{arms[baseline].method.label} again (A/A)"},
            approximate=[name for name, arm in arms.items() if arm.method.approximate],
            **costs(arms, level, duration_s, batch, steps),
            setup_s={name: arm.setup_s for name, arm in arms.items()},
            error=errors(arms, level, bool(cell["check"])),
            skipped=skipped,
            backend=attention_backend(pipeline.device),
            profile=profiles(arms, cell, duration_s, batch),
        )
        append_record(run_dir, record)
        time_rounds(calls, pipeline.device, pipeline.dtype, cell, rounds, run_id, run_dir)


def time_rounds(
    calls: Mapping[str, Call],
    device: torch.device,
    dtype: torch.dtype,
    cell: Cell,
    rounds: int,
    run_id: str,
    run_dir: Path,
) -> None:
    """Warm up, then append `rounds` rounds."""
    level, duration_s, regime = identity(cell)
    memory = dict[str, float | None]()

    def measured(name: str) -> Call:
        return lambda: memory.__setitem__(name, working_memory_gib(calls[name], device))

    probe, operations = matrix_product(device, dtype)
    timed = {**{name: measured(name) for name in calls}, PROBE: probe}
    title, clock = f"{level} {duration_s:g} s {regime}", partial(now, device)
    for latencies in interleave(timed, rounds, int(cell["warmup"]), clock, title):
        gflops = operations / latencies.pop(PROBE) / 1e9
        load = os.getloadavg()[0]
        append_record(run_dir, RoundRecord(run_id, level, duration_s, regime, latencies, dict(memory), gflops, load))


def matrix_product(device: torch.device, dtype: torch.dtype) -> tuple[Call, int]:
    """A square matrix product on the device, and its floating-point operations."""
    size = PROBE_SIZE[device.type]
    left, right = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    def call() -> None:
        with torch.inference_mode():
            left @ right

    call()
    return call, 2 * size**3


def costs(
    arms: Mapping[str, Arm], level: str, duration_s: float, batch: int, steps: int
) -> dict[str, dict[str, int | None]]:
    """FLOPs and scores of one call per arm; the wave counts its denoising loop alone."""
    counted: dict[str, dict[str, int | None]] = {"flops": {}, "scores": {}}
    for name, arm in arms.items():
        cost = None if arm.cost_method is None else arm_cost(arm, level, duration_s, batch)
        counted["flops"][name] = None if cost is None else cost.flops * steps
        counted["scores"][name] = None if cost is None else cost.scores * steps
    return counted


def arm_cost(arm: Arm, level: str, duration_s: float, batch: int) -> SiteCost:
    """Scores at the sites, and FLOPs of the op or of the whole step."""
    if level == "op":
        grid, heads = site_grid(arm.pipeline, duration_s), arm.site.heads
        return site_cost(grid, batch, heads, arm.site.inner_dim // heads, arm.cost_method)
    grid = TokenGrid(*arm.pipeline.latent_grid(duration_s))
    step = unet_step_cost(arm.pipeline.pipe, grid, batch, arm.cost_method)
    return SiteCost(step.site_scores, step.total)


def errors(arms: Mapping[str, Arm], level: str, check: bool) -> dict[str, float | None]:
    """How far each arm is from what it must equal: the oracle at op level, its named twin's output at step level.

    The step is checked on a short clip; fresh arms start the same stream of keys, so that twins see the same keys.
    """
    if not check or level not in ("op", "step"):
        return {}
    if level == "op":
        return {name: op_error(arm, ERROR_GRID) for name, arm in arms.items() if hasattr(arm.function, "attend")}
    outputs = {name: unet_step(arm.pipeline, 1.28)() for name, arm in arms.items()}
    return {
        name: relative_error(outputs[name], outputs[arm.method.same_output_as])
        for name, arm in arms.items()
        if arm.method.same_output_as in outputs
    }


def profiles(arms: Mapping[str, Arm], cell: Cell, duration_s: float, batch: int) -> dict[str, dict[str, float]]:
    """Time shares by kind of module, for the arms that the cell asks for."""
    wanted = [name for name in cell["profile"] if name in arms]
    return {
        name: module_shares(arms[name].pipeline, unet_step(arms[name].pipeline, duration_s, batch)) for name in wanted
    }


def attention_backend(device: torch.device) -> str:
    """Which kernels torch may use for fused attention here."""
    if device.type == "cpu":
        return f"torch {torch.__version__} flash attention for CPU ({torch.backends.cpu.get_cpu_capability()})"
    cuda = torch.backends.cuda
    enabled = {
        "cudnn": cuda.cudnn_sdp_enabled(),
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
    }
    return f"cuDNN {torch.backends.cudnn.version()}, enabled: {', '.join(name for name, on in enabled.items() if on)}"


def main() -> None:
    """The command line."""
    harness_program("benchmark", benchmark, __doc__)


if __name__ == "__main__":
    main()
