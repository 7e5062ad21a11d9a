"""What an arm of a benchmark does at each level: the attention of a site, a step, the loop, text to wave.

Shapes: B batch, H heads, N = T * F tokens, D head dim.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hydra import compose
from omegaconf import OmegaConf

from experiments.datasets.prompts import Prompt
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import Method, build_method
from experiments.pipelines.pipeline import Pipeline
from experiments.stages.arms import Arm, unet_step
from litefocus import TokenGrid
from litefocus.reference import reference_attention

LEVELS = ("op", "step", "loop", "wave")
GUIDED_LEVELS = ("loop", "wave")  # run the pipeline: one clip, whose guidance makes two rows
REGIMES = ("eager", "compiled")
OP_TIMESTEP = 500
Call = Callable[[], Any]


def method_of(name: str) -> tuple[Method, dict[str, Any]]:
    """The method of conf/method/<name>.yaml, and its node for the records."""
    node = with_composed_methods(compose(config_name="config", overrides=[f"method={name}"])).method
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return build_method(node), {str(key): value for key, value in plain.items()}


def op_inputs(arm: Arm, grid: TokenGrid, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Seeded query, key, value (B, H, N, D), as the projections give them."""
    heads = arm.site.heads
    shape = (batch, grid.tokens, heads, arm.site.inner_dim // heads)
    generator = torch.Generator().manual_seed(seed)
    pipeline = arm.pipeline
    tensors = (torch.randn(shape, generator=generator).to(pipeline.device, pipeline.dtype) for _ in range(3))
    return tuple(tensor.transpose(1, 2) for tensor in tensors)


def op_of(arm: Arm, inputs: tuple[torch.Tensor, ...], grid: TokenGrid) -> Callable[[], torch.Tensor]:
    """A call for the arm's attention at its first site, without projections: (B, H, N, D).

    Looking the site up takes milliseconds, as long as the attention of a short clip: it is done here, not in the call.
    """
    function, scale = arm.function, arm.site.scale
    _begin_forward(arm)

    def op() -> torch.Tensor:
        with torch.inference_mode():
            if function is None:
                query, key, value = inputs
                return F.scaled_dot_product_attention(query, key, value)
            attention: torch.Tensor = function.attend(*inputs, grid, scale)
            return attention

    return op


def _begin_forward(arm: Arm) -> None:
    """Begin a forward for the arm's keys: one site alone has none that would."""
    source = getattr(arm.function, "source", None)
    if source is not None:
        source.advance(OP_TIMESTEP)


def op_call(arm: Arm, duration_s: float, batch: int) -> Call | None:
    """The attention of one site; None for a method that leaves the sites alone, unless it is dense attention."""
    if not hasattr(arm.function, "attend") and arm.method.name != "dense":
        return None
    grid = site_grid(arm.pipeline, duration_s)
    return op_of(arm, op_inputs(arm, grid, batch), grid)


def site_grid(pipeline: Pipeline, duration_s: float) -> TokenGrid:
    """The tokens at the sites: one downsampling below the latents."""
    time_frames, freq_bins = pipeline.latent_grid(duration_s)
    return TokenGrid(-(-time_frames // 2), freq_bins // 2)


def op_error(arm: Arm, grid: TokenGrid, batch: int = 2) -> float | None:
    """Largest difference of an exact arm's attention to the float64 oracle on fresh inputs, over its largest value.

    None for approximate arms and for controls (attention removed or uniform), which have no oracle.
    """
    if arm.method.approximate or arm.method.timing_only:
        return None
    inputs = op_inputs(arm, grid, batch, seed=time.time_ns() % 2**31)
    op = op_of(arm, inputs, grid)  # begins the forward whose keys the oracle takes too
    source = getattr(arm.function, "source", None)
    query, key, value = (x.double() for x in inputs)
    if source is None:
        expected = (query @ key.mT * arm.site.scale).softmax(-1) @ value
    else:
        keys = source.keys(arm.function.number, grid, arm.pipeline.device)
        expected = reference_attention(
            query,
            key,
            value,
            grid,
            keys,
            same_frequency=source.config.same_frequency,
            scale=arm.site.scale,
            duplicates=source.config.duplicates,
        )
    return relative_error(op(), expected)


def relative_error(output: torch.Tensor, expected: torch.Tensor) -> float:
    """max |output - expected| / max |expected|."""
    return float((output.double() - expected.double()).abs().max() / expected.double().abs().max())


def level_call(arm: Arm, level: str, duration_s: float, steps: int, batch: int) -> Call | None:
    """A call without arguments that does the level's work once; None where the arm has none."""
    if level == "op":
        return op_call(arm, duration_s, batch)
    if level == "step":
        return unet_step(arm.pipeline, duration_s, batch)
    return lambda: run_pipeline(arm.pipeline, duration_s, steps, decode=level == "wave")


def run_pipeline(pipeline: Pipeline, duration_s: float, steps: int, decode: bool) -> Any:
    """One guided clip: text to wave, or to the latents that the denoising loop ends with."""
    if decode:
        return pipeline.generate([Prompt("benchmark", "rain on a roof")], [0], duration_s, steps, 3.5)
    return pipeline.pipe(
        prompt=["rain on a roof"],
        audio_length_in_s=duration_s,
        num_inference_steps=steps,
        guidance_scale=3.5,
        generator=[torch.Generator().manual_seed(0)],
        output_type="latent",
    )
