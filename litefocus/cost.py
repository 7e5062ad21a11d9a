"""What a method costs: attention scores and floating-point operations, per site and per forward of the UNet.

One multiply-add counts as two operations, as in torch's FLOP counter, which the tests compare with. Only matrix
products and convolutions count; softmax, norms and activations do not.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled keys.
"""

import inspect
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from litefocus.config import LiteFocusConfig
from litefocus.grid import GridTracker, TokenGrid
from litefocus.keys import sample_size
from litefocus.schedule import LengthSchedule
from litefocus.sites import AttentionSite, find_sites, find_unet

Method = LiteFocusConfig | LengthSchedule | str


class SiteCost(NamedTuple):
    """One site in one forward: `scores` query-key pairs over all heads, and `flops` of both attention products."""

    scores: int
    flops: int


class StepCost(NamedTuple):
    """One forward of a UNet, in FLOPs, except `site_scores`, which counts query-key pairs over heads and sites."""

    convolutions: int
    linears: int
    site_attention: int
    other_attention: int
    site_scores: int

    @property
    def total(self) -> int:
        """FLOPs of the whole forward."""
        return self.convolutions + self.linears + self.site_attention + self.other_attention


def keys_per_query(grid: TokenGrid, method: Method = "dense") -> int:
    """Keys whose score a query computes: N for "dense", 0 for "removed", else focus plus compensation.

    Focus is T keys, or min(T, 3 W) with a window; compensation is S keys. Of a schedule, the rule for T counts.

    Raises:
        ValueError: another string.
    """
    if isinstance(method, LengthSchedule):
        method = method.select(grid.time) or "dense"
    if method == "dense":
        return grid.tokens
    if method == "removed":
        return 0
    if not isinstance(method, LiteFocusConfig):
        raise ValueError(f"method {method!r}: accepted are 'dense', 'removed', a LiteFocusConfig and a LengthSchedule")
    sampled = sample_size(grid, method.sparse_ratio, method.max_cross_keys) if method.cross_frequency else 0
    window = grid.time if method.window_frames is None else min(grid.time, 3 * method.window_frames)
    return window * method.same_frequency + sampled


def site_cost(grid: TokenGrid, batch: int, heads: int, head_dim: int, method: Method = "dense") -> SiteCost:
    """Cost of the attention at one site, without its projections."""
    scores = batch * heads * grid.tokens * keys_per_query(grid, method)
    return SiteCost(scores=scores, flops=4 * scores * head_dim)


def unet_step_cost(
    pipe_or_unet: Any,
    latent_grid: TokenGrid,
    batch: int,
    method: Method = "dense",
    text_tokens: tuple[int, int] = (8, 16),
) -> StepCost:
    """Cost of one forward of a diffusers UNet, counted on a weightless twin.

    Args:
        pipe_or_unet: diffusers AudioLDM2, AudioLDM or MusicLDM pipeline or UNet, patched or not.
        latent_grid: size of the latents (time, freq), before any downsampling.
        batch: rows of the UNet's batch; classifier-free guidance doubles the clips.
        method: "dense", "removed" (no scores at the sites, projections kept), a LiteFocusConfig or a LengthSchedule.
        text_tokens: lengths of AudioLDM 2's two text streams (GPT-2, T5).

    Raises:
        TypeError: a UNet that is not diffusers' own.
        ValueError: an unknown method.
    """
    keys_per_query(latent_grid, method)
    unet: Any = find_unet(pipe_or_unet)
    if not hasattr(unet, "from_config"):
        raise TypeError(
            f"cost of {type(unet).__name__}: accepted are diffusers UNets, which can be rebuilt from their config"
        )
    with torch.device("meta"):
        twin = type(unet).from_config(unet.config)
    counter = _Counter(twin, method)
    with torch.no_grad():
        twin(
            torch.empty(batch, twin.config.in_channels, *latent_grid, device="meta"),
            0,
            **text_inputs(twin, batch, text_tokens),
        )
    return counter.cost()


def text_inputs(unet: Any, batch: int, text_tokens: tuple[int, int] = (8, 16)) -> dict[str, torch.Tensor | None]:
    """Weightless inputs of the right shapes: two text streams for AudioLDM 2, else a class embedding."""
    empty = partial(torch.empty, device="meta")
    if "encoder_hidden_states_1" in inspect.signature(unet.forward).parameters:
        widths = [width for width in unet.config.cross_attention_dim[0] if width is not None]
        return {
            "encoder_hidden_states": empty(batch, text_tokens[0], widths[0]),
            "encoder_hidden_states_1": empty(batch, text_tokens[1], widths[-1]),
        }
    return {
        "encoder_hidden_states": None,
        "class_labels": empty(batch, unet.config.projection_class_embeddings_input_dim),
    }


class _Counter:
    """Counts a forward with hooks on the modules that multiply."""

    def __init__(self, unet: nn.Module, method: Method) -> None:
        self.method = method
        self.flops = {"convolutions": 0, "linears": 0, "site_attention": 0, "other_attention": 0}
        self.scores = 0
        chosen = LiteFocusConfig() if isinstance(method, str) else method
        sites = {site.attention: site for site in find_sites(unet, chosen.levels, chosen.blocks)}
        trackers = {module: GridTracker(module) for module in {site.transformer for site in sites.values()}}
        for module in unet.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(self._convolution)
            elif isinstance(module, nn.Linear):
                module.register_forward_hook(self._linear)
            elif module in sites:
                tracker = trackers[sites[module].transformer]
                module.register_forward_hook(partial(self._site, sites[module], tracker))
            elif hasattr(module, "to_q"):
                module.register_forward_hook(self._other_attention, with_kwargs=True)

    def cost(self) -> StepCost:
        return StepCost(**self.flops, site_scores=self.scores)

    def _convolution(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
        self.flops["convolutions"] += 2 * output.numel() * module.weight[0].numel()

    def _linear(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
        self.flops["linears"] += 2 * output.numel() * module.in_features

    def _site(self, site: AttentionSite, tracker: GridTracker, module: Any, args: tuple[Any, ...], _: Any) -> None:
        batch = args[0].shape[0]
        cost = site_cost(tracker.grid(), batch, module.heads, module.inner_dim // module.heads, self.method)
        self.flops["site_attention"] += cost.flops
        self.scores += cost.scores

    def _other_attention(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        batch, queries, _width = args[0].shape
        context = kwargs.get("encoder_hidden_states")
        keys = queries if context is None else context.shape[1]
        self.flops["other_attention"] += 4 * batch * queries * keys * module.inner_dim
