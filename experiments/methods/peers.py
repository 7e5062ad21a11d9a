"""Methods of others on the same UNet, for side-by-side runs; their packages are the extra `peers`.

    deep_cache       DeepCache (Ma et al., 2024), package DeepCache: deep features kept for some steps. Approximate.
    token_merging    ToMe for SD (Bolya and Hoffman, 2023), package tomesd: similar tokens share attention. Approximate.
    flex_lite_focus  LiteFocus as a block mask for torch's FlexAttention: exact, the generic sparse kernel.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled keys.
"""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from experiments.methods.baselines import sites_with_keys
from litefocus.config import as_config
from litefocus.grid import TokenGrid
from litefocus.patch import Config
from litefocus.processor import LiteFocusSite


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"the arm needs the package {name}: pip install -e '.[peers]'") from error


def deep_cache(pipe: Any, interval: int) -> AbstractContextManager[None]:
    """DeepCache with its shallowest branch: `interval` - 1 of `interval` steps run the outermost block alone.

    It finds its place in the schedule by the timestep, so it needs a whole denoising loop.

    Raises:
        ImportError: the package DeepCache is not installed; raised here, so before the first clip of any method.
    """
    return _deep_cache(_package("DeepCache"), pipe, interval)


@contextmanager
def _deep_cache(package: Any, pipe: Any, interval: int) -> Iterator[None]:
    helper = package.DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    # Its own disable() leaves an attribute `forward` on every module: what was not there before is taken off.
    own = {module for module in pipe.unet.modules() if "forward" in vars(module)}
    helper.enable()
    try:
        yield
    finally:
        helper.disable()
        for module in pipe.unet.modules():
            if module not in own:
                vars(module).pop("forward", None)


def token_merging(pipe: Any, ratio: float) -> AbstractContextManager[None]:
    """Token merging before the self-attentions (`attn1`) of LiteFocus's level, `ratio` of the tokens merged.

    tomesd merges at the finest resolution by default, where this UNet has no attention: `max_downsample=2` is the next.

    Raises:
        ImportError: the package tomesd is not installed; raised here, so before the first clip of any method.
    """
    return _token_merging(_package("tomesd"), pipe, ratio)


@contextmanager
def _token_merging(package: Any, pipe: Any, ratio: float) -> Iterator[None]:
    package.apply_patch(pipe, ratio=ratio, max_downsample=2)
    try:
        yield
    finally:
        package.remove_patch(pipe)


@contextmanager
def flex_lite_focus(pipe_or_unet: Any, config: Config = None) -> Iterator[int]:
    """LiteFocus through FlexAttention: tokens frequency-major, a block-diagonal mask, sampled keys appended.

    Raises:
        ValueError: `duplicates="union"`, which this arrangement does not have.
    """
    config = as_config(config)
    if config.duplicates != "count_twice" or not config.same_frequency:
        raise ValueError("flex_lite_focus: accepted are duplicates='count_twice' and same_frequency=True")
    with sites_with_keys(pipe_or_unet, FlexSite, config) as sites:
        yield sites


class FlexSite(LiteFocusSite):
    """LiteFocus at one site by FlexAttention, compiled once per shape."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """(B, H, N, D) -> (B, H, N, D)."""
        keys = self.source.keys(self.number, grid, query.device)
        query = _frequency_major(query, grid)
        own = [_frequency_major(x, grid) for x in (key, value)]
        if keys is not None:
            own = [torch.cat([x, full[:, :, keys]], dim=2) for x, full in zip(own, (key, value), strict=True)]
        mask = block_mask(grid, 0 if keys is None else len(keys), str(query.device))
        output = _compiled_flex_attention()(query, *own, block_mask=mask, scale=scale)
        return output.unflatten(2, (grid.freq, grid.time)).transpose(2, 3).flatten(2, 3)


def _frequency_major(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """(B, H, T * F, D) -> (B, H, F * T, D)."""
    return x.unflatten(2, grid).transpose(2, 3).flatten(2, 3)


@cache
def _compiled_flex_attention() -> Any:
    return torch.compile(flex_attention)


@cache
def block_mask(grid: TokenGrid, sampled: int, device: str) -> BlockMask:
    """Which blocks of (N, N + S) hold a score: each frequency's own T x T, and every sampled key."""

    def mask(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key >= grid.tokens) | (query // grid.time == key // grid.time)

    return create_block_mask(mask, None, None, grid.tokens, grid.tokens + sampled, device=device)
