"""Benchmark of exact windows: diffusers' models with their mask against band attention.

    python -m experiments.benchmark.windows
    python -m experiments.benchmark.windows windows=ace_step

A cell is a level and a clip length. Levels: op, the first windowed attention as the model calls it; layer, that
attention's transformer layer; decode, latents to wave; denoiser, one forward of the denoising transformer. Weights are
seeded and random: time and memory do not depend on them. Records, tables and figures as in `experiments.benchmark`.

Shapes: B batch, C channels, T latents.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch.overrides import TorchFunctionMode

from experiments.benchmark.arms import Call, relative_error
from experiments.benchmark.cells import Cell, check_cell, check_same_settings, identity, rounds_missing
from experiments.benchmark.report import benchmark_report
from experiments.benchmark.run import attention_backend, time_rounds
from experiments.pipelines.pipeline import select_device
from experiments.records import AA_SUFFIX, CellRecord, append_record
from experiments.records.folder import locked
from experiments.stages.setup import harness_program, prepare_torch, resolved, start_record
from experiments.system.memory import GIB, available_gib
from litefocus import inject_exact_windows

LEVELS = ("op", "layer", "decode", "denoiser")
CHUNK_LATENTS = 128
ARMS = {
    "dense": "dense with a mask (diffusers)",
    "windows": "exact windows",
    "windows_in_chunks": f"exact windows, {CHUNK_LATENTS} latents at a time",
}
# Per score of the mask, while diffusers builds it: int64 distances, the mask and its copy in float32, two booleans.
MASK_BYTES = 8 + 4 + 4 + 2
TEXT_TOKENS = 256


@dataclass(frozen=True)
class WindowedModel:
    """A model whose layers attend within windows, with seeded random weights.

    Attributes:
        tokens_per_s: at its windowed layers. latents_per_s: of its input.
    """

    name: str
    model: Any
    latents_per_s: float
    tokens_per_s: float
    device: torch.device
    dtype: torch.dtype

    def describe(self) -> dict[str, Any]:
        """What the records keep about it."""
        parameters = sum(p.numel() for p in self.model.parameters())
        return {"name": self.name, "trained": False, "parameters": parameters, "config": dict(self.model.config)}

    def run(self, duration_s: float) -> Callable[[Any], torch.Tensor]:
        """A decode or a forward on seeded inputs of that length, to be called with the model or a copy of it."""
        generator = torch.Generator().manual_seed(0)
        config, latents = self.model.config, round(duration_s * self.latents_per_s)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(self.device, self.dtype)

        if hasattr(self.model, "decode"):
            z = noise(1, config.latent_dim, latents)
            return lambda model: model.decode(z).sample
        channels = config.audio_acoustic_hidden_dim
        hidden, context = noise(1, latents, channels), noise(1, latents, config.in_channels - channels)
        text = noise(1, TEXT_TOKENS, config.encoder_hidden_size or config.hidden_size)
        time = torch.full((1,), 0.5, device=self.device, dtype=self.dtype)
        return lambda model: model(hidden, time, time, text, context).sample


def load_windowed(config: DictConfig) -> WindowedModel:
    """Build the configuration's model; the global random state is left alone."""
    dtype, device = prepare_torch(config), select_device(str(config.device))
    # Without gradients: what the model's weight norm computes here could otherwise not be copied.
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = hydra.utils.instantiate(config.model, _convert_="all").eval()
        for parameter in model.parameters():
            if not parameter.any():  # an output layer that starts at zero would hide every difference
                torch.nn.init.normal_(parameter, std=0.02)
    speeds = float(config.latents_per_s), float(config.tokens_per_s)
    return WindowedModel(config.model_name, model.to(device, dtype), *speeds, device, dtype)


class _CallFound(Exception):
    """Ends a forward at the call that was looked for."""


def layer_call(run: Callable[[Any], Any], model: Any) -> Call:
    """The first transformer layer that runs, with the arguments that the model gives it."""
    found: list[Any] = []

    def stop(layer: Any, args: Any, kwargs: Any) -> None:
        found[:] = layer, args, kwargs
        raise _CallFound

    layers = [module for module in model.modules() if hasattr(module, "attn") or hasattr(module, "self_attn")]
    handles = [layer.register_forward_pre_hook(stop, with_kwargs=True) for layer in layers]
    with suppress(_CallFound):
        run(model)
    for handle in handles:
        handle.remove()
    layer, args, kwargs = found
    return lambda: layer(*args, **kwargs)


class _FirstAttention(TorchFunctionMode):
    """Keeps the arguments of the first attention and ends the forward there."""

    def __init__(self) -> None:
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            self.args, self.kwargs = args, kwargs or {}
            raise _CallFound
        return function(*args, **(kwargs or {}))


def op_call(run: Callable[[Any], Any], model: Any) -> Call:
    """The first attention with the arguments that the model gives it, mask or band included."""
    first = _FirstAttention()
    with suppress(_CallFound), first:
        run(model)
    return lambda: F.scaled_dot_product_attention(*first.args, **first.kwargs)


def arm_call(windowed: WindowedModel, arm: str, level: str, duration_s: float) -> Call:
    """A call that does the level's work once in a copy of the model, which shares its weights."""
    weights = {id(tensor): tensor for tensor in (*windowed.model.parameters(), *windowed.model.buffers())}
    model = copy.deepcopy(windowed.model, weights)
    if arm != "dense":
        inject_exact_windows(model, chunk_latents=CHUNK_LATENTS if arm == "windows_in_chunks" else None)
    run = windowed.run(duration_s)
    with torch.inference_mode():
        if level == "op":
            call = op_call(run, model)
        elif level == "layer":
            call = layer_call(run, model)
        else:
            call = partial(run, model)
    return torch.inference_mode()(call)


def run_cell(config: DictConfig, cell: Cell, windowed: WindowedModel, run_id: str, run_dir: Path, rounds: int) -> None:
    """Call every arm once, compare their outputs, record the cell, and append the rounds one by one."""
    level, duration_s, regime = identity(cell)
    mask_gib = (duration_s * windowed.tokens_per_s) ** 2 * MASK_BYTES / GIB
    free_gib = available_gib(windowed.device)
    skipped, calls = dict[str, str](), dict[str, Call]()
    error, outputs = dict[str, float | None](), dict[str, torch.Tensor]()
    for arm in cell["arms"]:
        if arm == "dense" and mask_gib > 0.9 * free_gib:
            skipped[arm] = f"needs {mask_gib:.3g} GiB for its mask, {free_gib:.3g} GiB are free"
            continue
        calls[arm] = arm_call(windowed, arm, level, duration_s)
        outputs[arm] = calls[arm]()
        error[arm] = relative_error(outputs[arm], outputs[next(iter(outputs))])
    baseline = next(iter(calls))
    error.pop(baseline)
    record = CellRecord(
        run_id=run_id,
        level=level,
        duration_s=duration_s,
        regime=regime,
        batch=1,
        steps=1,
        baseline=baseline,
        limit="",
        labels={arm: ARMS[arm] for arm in cell["arms"]} | {baseline + AA_SUFFIX: f"{ARMS[baseline]} again (A/A)"},
        approximate=[],
        flops={},
        scores={},
        setup_s={},
        error=error,
        skipped=skipped,
        backend=attention_backend(windowed.device),
    )
    append_record(run_dir, record)
    if cell["again"]:
        calls[baseline + AA_SUFFIX] = calls[baseline]
    time_rounds(calls, windowed.device, windowed.dtype, cell, rounds, run_id, run_dir)


def benchmark_windows(config: DictConfig) -> str:
    """Run all cells of the configuration that are not complete yet and return the report's markdown."""
    cells = [check_cell({**config.cell, **cell}, LEVELS) for cell in config.cells]
    run_dir = Path(config.out_dir)
    with locked(run_dir):
        check_same_settings(run_dir, resolved(config))
        windowed = load_windowed(config)
        run_id = start_record(config, windowed, [], run_dir)
        for cell in cells:
            if missing := rounds_missing(run_dir, cell):
                run_cell(config, cell, windowed, run_id, run_dir, missing)
        return benchmark_report(run_dir)


def main() -> None:
    """The command line."""
    harness_program("windows", benchmark_windows, __doc__)


if __name__ == "__main__":
    main()
