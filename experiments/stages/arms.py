"""The arms of a measurement: every method on its own UNet that shares the weights, none set up inside a clock.

Shapes: B clips times two (guidance), T latent frames, F latent frequency bins, C latent channels.
"""

import copy
import itertools
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from experiments.matrix.conditions import Method
from experiments.methods.baselines import NaiveSite, ValueSite
from experiments.pipelines.clock import now
from experiments.pipelines.pipeline import Pipeline
from experiments.system.memory import GIB, available_gib
from litefocus import TokenGrid
from litefocus.cost import unet_step_cost
from litefocus.levers.optimize import compile_blocks
from litefocus.processor import SelfAttentionProcessor
from litefocus.sites import find_sites, find_unet

logger = logging.getLogger(__name__)

TEXT_TOKENS = 16


@dataclass
class Arm:
    """A method that is in force on its own UNet from `open_arm` until its stack closes.

    Attributes:
        pipeline: shares all weights with the pipeline that it came from. setup_s: seconds to put the method in.
    """

    method: Method
    pipeline: Pipeline
    setup_s: float

    @property
    def site(self) -> Any:
        """The first attention that LiteFocus would patch."""
        return find_sites(self.pipeline.pipe.unet)[0].attention

    @property
    def function(self) -> Any:
        """What the method put into its sites; None if it left them alone."""
        processor = self.site.processor
        return processor.function if isinstance(processor, SelfAttentionProcessor) else None

    @property
    def cost_method(self) -> Any:
        """What `litefocus.cost` counts: "dense", "removed", a config or a schedule; None where it cannot."""
        if isinstance(self.function, ValueSite):
            return "removed"
        schedule = getattr(self.function, "schedule", None)
        if schedule is not None:
            return schedule
        source = getattr(self.function, "source", None)
        if source is not None:
            return source.config
        known = self.function is None or isinstance(self.function, NaiveSite)
        return "dense" if known and not self.method.approximate else None


def open_arm(stack: ExitStack, method: Method, pipeline: Pipeline, regime: str = "eager") -> Arm:
    """Put a method into a copy of the pipeline that shares its weights; the stack takes it out.

    Args:
        regime: "eager", or "compiled": every transformer block goes through torch.compile, whatever the method.
    """
    start = now(pipeline.device)
    pipe = copy.copy(pipeline.pipe)
    unet = pipeline.pipe.unet
    weights = {id(tensor): tensor for tensor in itertools.chain(unet.parameters(), unet.buffers())}
    pipe.unet = copy.deepcopy(unet, weights)
    pipe.scheduler = copy.deepcopy(pipe.scheduler)
    own = replace(pipeline, pipe=pipe)
    stack.enter_context(method.patch(pipe))
    if regime == "compiled":
        compile_blocks(pipe.unet)
    return Arm(method, own, now(pipeline.device) - start)


def open_arms(
    stack: ExitStack, methods: Mapping[str, Method], pipeline: Pipeline, duration_s: float, batch: int, regime: str
) -> tuple[dict[str, Arm], dict[str, str]]:
    """Open every arm that fits in memory and whose packages are here; the others with the reason why not."""
    arms, left_out = dict[str, Arm](), dict[str, str]()
    for name, method in methods.items():
        reason = does_not_fit(pipeline, method, duration_s, batch)
        try:
            if not reason:
                arms[name] = open_arm(stack, method, pipeline, regime)
        except ImportError as error:
            reason = str(error)
        if reason:
            logger.warning("%s at %g s: %s", name, duration_s, reason)
            left_out[name] = reason
    return arms, left_out


def unet_step(pipeline: Pipeline, duration_s: float, batch: int = 2) -> Callable[[], torch.Tensor]:
    """One UNet forward at a clip length: the step that a denoising loop repeats.

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
            output: torch.Tensor = unet(sample, timestep, return_dict=False, **kwargs)[0]
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


def does_not_fit(pipeline: Pipeline, method: Method, duration_s: float, batch: int = 2) -> str:
    """Why a materialising arm would not fit in memory; empty if it fits."""
    if not method.materialised:
        return ""
    needed, free = materialised_gib(pipeline, duration_s, batch), available_gib(pipeline.device)
    if needed < 0.9 * free:
        return ""
    return f"needs about {needed:.1f} GiB for materialised scores, {free:.1f} GiB are free"
