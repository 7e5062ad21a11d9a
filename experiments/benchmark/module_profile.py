"""Where a UNet step's time goes: seconds in each kind of module, its children left out."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import nn

from experiments.pipelines.clock import now
from experiments.pipelines.pipeline import Pipeline
from litefocus.sites import find_sites

# Attention keeps its products where these are fused into it; the sites of LiteFocus never fuse theirs. A feed-forward
# and an upsampling do their products themselves where `litefocus.optimize` fused them.
KINDS = {
    "Conv2d": "convolutions",
    "Upsample2D": "convolutions",
    "Linear": "linear layers",
    "GEGLU": "linear layers",
    "FeedForward": "linear layers",
    "GroupNorm": "norms",
    "LayerNorm": "norms",
    "Transformer2DModel": "token layout and projections",
}
SITES, OTHER_ATTENTION, REST = "attention at the sites", "other attention", "everything else"


def module_shares(pipeline: Pipeline, step: Callable[[], Any]) -> dict[str, float]:
    """Run one step under hooks and return kind of module -> share of the step, summing to 1, largest first."""
    unet, device = pipeline.pipe.unet, pipeline.device
    sites = {site.attention for site in find_sites(unet)}
    seconds: dict[str, float] = defaultdict(float)
    running: list[tuple[float, float]] = []  # (start, seconds in children) of the modules that are running

    def enter(*_: Any) -> None:
        running.append((now(device), 0.0))

    def leave(module: nn.Module, *_: Any) -> None:
        start, children = running.pop()
        elapsed = now(device) - start
        seconds[_kind(module, sites)] += elapsed - children
        if running:
            running[-1] = (running[-1][0], running[-1][1] + elapsed)

    handles = [m.register_forward_pre_hook(enter, prepend=True) for m in unet.modules()]
    handles += [m.register_forward_hook(leave) for m in unet.modules()]
    try:
        step()
    finally:
        for handle in handles:
            handle.remove()
    total = sum(seconds.values())
    return {kind: value / total for kind, value in sorted(seconds.items(), key=lambda item: -item[1])}


def _kind(module: nn.Module, sites: set[nn.Module]) -> str:
    if hasattr(module, "to_q"):
        return SITES if module in sites else OTHER_ATTENTION
    return KINDS.get(type(module).__name__, REST)
