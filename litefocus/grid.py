"""The time-frequency grid of the tokens, and how a patched layer learns it from the forward pass.

Shapes: T time frames, F frequency bins, N = T * F tokens in time-major order, token = t * F + f.
"""

from typing import Any, NamedTuple

import torch
from torch import nn


class TokenGrid(NamedTuple):
    """Size of the token grid: `time` frames by `freq` bins, time-major (token = t * freq + f)."""

    time: int
    freq: int

    @property
    def tokens(self) -> int:
        """N, the number of tokens."""
        return self.time * self.freq

    def check(self, tokens: int) -> None:
        """Raise ValueError unless the grid is positive and holds `tokens` tokens."""
        if self.time < 1 or self.freq < 1:
            raise ValueError(f"grid {self.time} x {self.freq}: accepted are at least one frame and one frequency bin")
        if tokens != self.tokens:
            raise ValueError(
                f"N={tokens} tokens is not T*F={self.time}*{self.freq}={self.tokens}: pass the TokenGrid(time, freq) "
                f"of the latents that these tokens came from"
            )


class GridTracker:
    """Knows the grid of one transformer module while that module's forward runs, and only then.

    The tokens of an attention do not tell T from F, so the grid is read from the transformer's 4-D input
    (B, C, T, F). Outside the forward it is unknown, so that a stale grid can never be used. Only where gradients are
    recorded is it kept until the next forward: gradient checkpointing recomputes the attention during backward, which
    must therefore come before the next forward and before the patch is removed.
    """

    def __init__(self, transformer: nn.Module) -> None:
        self._grid: TokenGrid | None = None
        self._handles = [
            transformer.register_forward_pre_hook(self._enter, with_kwargs=True),
            transformer.register_forward_hook(self._leave, always_call=True),
        ]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = args[0] if args else kwargs.get("hidden_states", kwargs.get("x"))
        if not isinstance(latents, torch.Tensor) or latents.ndim != 4:
            shape = tuple(latents.shape) if isinstance(latents, torch.Tensor) else type(latents).__name__
            raise ValueError(
                f"{type(module).__name__} input {shape}: LiteFocus needs latents of shape (batch, channels, time, freq)"
            )
        self._grid = TokenGrid(time=latents.shape[2], freq=latents.shape[3])

    def _leave(self, *_: Any) -> None:
        if not torch.is_grad_enabled():
            self._grid = None

    def grid(self, tokens: int | None = None) -> TokenGrid:
        """The grid of the running forward, which must hold `tokens` tokens if they are given.

        Raises:
            RuntimeError: called outside the forward of the tracked transformer, or inside another one.
        """
        grid = self._grid
        if grid is None:
            raise RuntimeError(
                "a LiteFocus attention was called outside its transformer's forward, so its grid is unknown: call the "
                "UNet, not two forwards of one UNet at once (threads need copies); or disable_lite_focus() first"
            )
        if tokens is not None and tokens != grid.tokens:
            raise RuntimeError(
                f"a LiteFocus attention of {tokens} tokens inside a forward of {grid.time} x {grid.freq}: either "
                f"another patch merges or drops tokens (tomesd: remove_patch(pipe) first), or two threads share the "
                f"UNet (give each a copy.deepcopy)"
            )
        return grid

    def remove(self) -> None:
        """Take the hooks off the transformer."""
        for handle in self._handles:
            handle.remove()
