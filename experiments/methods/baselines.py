"""The arms that a fair comparison needs, with the call shape of `litefocus.lite_focus` and on the same sites.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled cross keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from litefocus.config import LiteFocusConfig
from litefocus.grid import TokenGrid
from litefocus.keys import KeySource
from litefocus.patch import BuildSite, Config, SitePatch, as_config, patched
from litefocus.processor import LiteFocusSite, ProjectedSite
from litefocus.sites import find_sites, find_unet


@contextmanager
def naive_attention(pipe_or_unet: Any) -> Iterator[int]:
    """Dense attention with materialised scores, as the original audioldm2 package computes it; yields the site count.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
    """
    with patched_sites(pipe_or_unet, lambda number: NaiveSite()) as sites:
        yield sites


@contextmanager
def authors_attention(pipe_or_unet: Any, config: Config = None) -> Iterator[int]:
    """LiteFocus in the materialised arithmetic of its authors' code: the result of `lite_focus`, at their cost.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
        ValueError: an option that the authors' code does not have (`duplicates="union"`, `window_frames`).
    """
    config = as_config(config)
    if config.duplicates != "count_twice":
        raise ValueError(f"duplicates={config.duplicates!r}: the authors' arithmetic accepts 'count_twice' only")
    if config.window_frames is not None:
        raise ValueError(f"window_frames={config.window_frames}: the authors' arithmetic has no window, use None")
    with sites_with_keys(pipe_or_unet, AuthorsSite, config) as sites:
        yield sites


@contextmanager
def no_attention(pipe_or_unet: Any) -> Iterator[int]:
    """The attention removed, its projections kept: the limit of any rule that only chooses keys. For timing.

    Each token gets its own value; the audio means nothing.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
    """
    with patched_sites(pipe_or_unet, lambda number: ValueSite()) as sites:
        yield sites


@contextmanager
def deleted_sites(pipe_or_unet: Any) -> Iterator[int]:
    """The sites deleted, projections included: each contributes zero. The control for what a site does to quality.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
    """
    with patched_sites(pipe_or_unet, lambda number: deleted_site) as sites:
        yield sites


@contextmanager
def sites_with_keys(pipe_or_unet: Any, site: type[LiteFocusSite], config: LiteFocusConfig) -> Iterator[int]:
    """Sites of a class that share one source of sampled keys; yields the site count."""
    source = KeySource(config)
    with patched_sites(pipe_or_unet, partial(site, source), config, source) as sites:
        yield sites


@contextmanager
def patched_sites(
    pipe_or_unet: Any, build: BuildSite, config: Config = None, source: KeySource | None = None
) -> Iterator[int]:
    """The functions that `build` makes, at the sites that the config names; yields the site count."""
    unet, config = find_unet(pipe_or_unet), as_config(config)
    patch = SitePatch(unet, find_sites(unet, config.levels, config.blocks), build, source, config.frequency_axis)
    with patched(patch) as sites:
        yield sites


class NaiveSite(ProjectedSite):
    """softmax(QK) V with the (B, H, N, N) scores in memory."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """Three passes over the scores: scale, softmax, product."""
        scores = torch.einsum("bhid,bhjd->bhij", query, key) * scale
        return torch.einsum("bhij,bhjd->bhid", scores.softmax(dim=-1), value)


class AuthorsSite(LiteFocusSite):
    """LiteFocus as its authors compute it: two blocks of materialised scores, concatenated, one softmax."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """Scores (B, H, N, T + S)."""
        keys = self.source.keys(self.number, grid, query.device)
        cells = [x.unflatten(2, grid) for x in (query, key, value)]
        scores = []
        if self.source.config.same_frequency:
            scores.append((torch.einsum("bhtfd,bhyfd->bhtfy", *cells[:2]) * scale).flatten(2, 3))
        if keys is not None:
            scores.append(query @ key[:, :, keys].transpose(-1, -2) * scale)
        weights = torch.cat(scores, dim=-1).softmax(dim=-1).split([block.shape[-1] for block in scores], dim=-1)
        output = torch.zeros_like(query)
        if self.source.config.same_frequency:
            output = output + torch.einsum("bhtfy,bhyfd->bhtfd", weights[0].unflatten(2, grid), cells[2]).flatten(2, 3)
        if keys is not None:
            output = output + weights[-1] @ value[:, :, keys]
        return output


class ValueSite(ProjectedSite):
    """No scores at all: the output is the value."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """(B, H, N, D), the value as it came."""
        return value


def deleted_site(attn: Any, hidden_states: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """A scalar zero: the residual connection around the site adds it to every token."""
    return hidden_states.new_zeros(())
