"""The attention processor that stands in for a self-attention, in diffusers and in the original package.

Shapes: B batch, N = T * F tokens, C channels, H heads, D head dim.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from litefocus.attention import lite_focus_attention
from litefocus.grid import GridTracker, TokenGrid
from litefocus.keys import KeySource
from litefocus.windowed import window_focus_attention

# (attention module, tokens (B, N, C), grid) -> (B, N, C), the output projection included.
SiteFunction = Callable[[Any, torch.Tensor, TokenGrid], torch.Tensor]


class ProjectedSite:
    """A site function made of the site's own query, key, value and output projections around `attend`.

    A subclass gives `attend(query, key, value, grid, scale)`: three (B, H, N, D) -> (B, H, N, D).
    """

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """Attention of (B, H, N, D) tokens on the grid, scores times `scale`."""
        raise NotImplementedError

    def __call__(self, attn: Any, hidden_states: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        batch, tokens, _ = hidden_states.shape
        heads = (batch, tokens, attn.heads, -1)
        # Transposed views: the op reads the projections where they lie.
        query, key, value = (
            projection(hidden_states).view(heads).transpose(1, 2) for projection in (attn.to_q, attn.to_k, attn.to_v)
        )
        output = self.attend(query, key, value, grid, attn.scale).transpose(1, 2).reshape(batch, tokens, -1)
        for layer in attn.to_out:
            output = layer(output)
        return output


class LiteFocusSite(ProjectedSite):
    """LiteFocus at site `number` of a patched model, with the keys that its source draws."""

    def __init__(self, source: KeySource, number: int) -> None:
        self.source = source
        self.number = number

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """`lite_focus_attention` or `window_focus_attention` with the options of the source's config."""
        config = self.source.config
        if config.window_frames is not None:
            return window_focus_attention(
                query,
                key,
                value,
                grid,
                self.source.keys(self.number, grid, query.device),
                window_frames=config.window_frames,
                scale=scale,
                backend=config.backend,
            )
        return lite_focus_attention(
            query,
            key,
            value,
            grid,
            self.source.keys(self.number, grid, query.device),
            same_frequency=config.same_frequency,
            scale=scale,
            backend=config.backend,
            duplicates=config.duplicates,
        )


class FrequencyMajor:
    """A site function for tokens that run along time first, token = f * T + t: reordered, served, put back."""

    def __init__(self, function: SiteFunction) -> None:
        self.function = function

    def __call__(self, attn: Any, hidden_states: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        time_major = hidden_states.unflatten(1, (grid.freq, grid.time)).transpose(1, 2).flatten(1, 2)
        output = self.function(attn, time_major, grid)
        return output.unflatten(1, (grid.time, grid.freq)).transpose(1, 2).flatten(1, 2)


class SelfAttentionProcessor:
    """A diffusers attention processor: runs `function` on self-attention calls, the original processor on the others.

    Args:
        function: what the site computes.
        tracker: knows the grid while the enclosing transformer runs.
        original: the processor that this one stands in for.
    """

    def __init__(self, function: SiteFunction, tracker: GridTracker, original: Any) -> None:
        self.function = function
        self.tracker = tracker
        self.original = original

    def __repr__(self) -> str:
        """Shown in diffusers' own errors about a processor that it does not know."""
        return "LiteFocus, which disable_lite_focus(pipe) takes out before other processors are set"

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, N, C) -> (B, N, C).

        Raises:
            ValueError: an attention mask on a self-attention.
            RuntimeError: called outside the forward of the tracked transformer, or tokens that do not fill its grid.
        """
        if encoder_hidden_states is not None:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask)
        refuse_mask(attention_mask)
        return self.function(attn, hidden_states, self.tracker.grid(hidden_states.shape[1]))


def stock_processor(processor: Any) -> Any:
    """The processor itself, or the one that ours stands in for."""
    while isinstance(processor, SelfAttentionProcessor):
        processor = processor.original
    return processor


def refuse_weights(name: str, processor: Any) -> None:
    """Raise TypeError on a processor with weights: while ours is in place, state_dict() and `to` would miss them."""
    processor = stock_processor(processor)
    if isinstance(processor, nn.Module) and processor.state_dict():
        raise TypeError(
            f"{name} has a {type(processor).__name__} with weights, which LiteFocus would not run: set a processor "
            f"without weights first, or patch other levels"
        )


class SelfAttentionForward:
    """The same for the original package's CrossAttention, whose `forward(x, context, mask)` it replaces."""

    def __init__(self, function: SiteFunction, tracker: GridTracker, attention: Any) -> None:
        self.function = function
        self.tracker = tracker
        self.attention = attention
        self.original = attention.forward

    def __call__(
        self, x: torch.Tensor, context: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, N, C) -> (B, N, C); calls with a text context run the original forward."""
        if context is not None:
            return self.original(x, context=context, mask=mask)
        refuse_mask(mask)
        return self.function(self.attention, x, self.tracker.grid(x.shape[1]))


def refuse_mask(mask: torch.Tensor | None) -> None:
    """Raise ValueError on an attention mask: LiteFocus chooses the keys itself."""
    if mask is not None:
        raise ValueError(
            f"attention mask {tuple(mask.shape)} on a self-attention: LiteFocus accepts none; "
            f"disable_lite_focus() for masked generation"
        )
