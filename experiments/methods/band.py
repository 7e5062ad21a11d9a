"""LiteFocus-Linear with a window of its own for every query: what `litefocus.windowed` does by blocks.

Built to compare the two (docs/windows.md); the blocks are faster, so they are what `litefocus` ships.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled cross keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from experiments.methods.baselines import sites_with_keys
from litefocus import TokenGrid, band_attention
from litefocus.patch import Config, as_config
from litefocus.processor import LiteFocusSite


@contextmanager
def band_focus(pipe_or_unet: Any, config: Config = None) -> Iterator[int]:
    """Every query attends to its own frequency, `window_frames` frames to either side, and to sampled keys.

    Yields the site count.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
        ValueError: a config without window_frames.
    """
    config = as_config(config)
    if config.window_frames is None:
        raise ValueError("window_frames=None: band_focus accepts whole numbers from 1")
    with sites_with_keys(pipe_or_unet, BandSite, config) as sites:
        yield sites


class BandSite(LiteFocusSite):
    """Frequencies are folded into the heads, so that the band runs along time."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """(B, H, N, D) -> (B, H, N, D)."""
        half_width = self.source.config.window_frames
        assert half_width is not None
        keys = self.source.keys(self.number, grid, query.device)
        extra = None
        if keys is not None:
            sampled_key, sampled_value = (x[:, :, keys].repeat(1, grid.freq, 1, 1) for x in (key, value))
            extra = sampled_key, sampled_value
        query, key, value = (_by_frequency(x, grid) for x in (query, key, value))
        output = band_attention(query, key, value, half_width, extra=extra, scale=scale)
        # (B, F * H, T, D) -> (B, H, T * F, D)
        return output.unflatten(1, (grid.freq, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)


def _by_frequency(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """(B, H, T * F, D) -> (B, F * H, T, D)."""
    return x.unflatten(2, grid).permute(0, 3, 1, 2, 4).flatten(1, 2)
