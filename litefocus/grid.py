"""The time-frequency grid of the tokens, and how a patched layer learns it from the forward pass.

Shapes: T time frames, F frequency bins, N = T * F tokens in time-major order, token = t * F + f.
"""

import threading
from collections.abc import Callable
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


def check_grid(grid: object) -> None:
    """Raise TypeError unless it is a TokenGrid: a plain tuple does not say which number is which."""
    if not isinstance(grid, TokenGrid):
        raise TypeError(f"grid of type {type(grid).__name__}: accepted is TokenGrid(time, freq)")


NO_BACKWARD = -1
UNKNOWN_FORWARD = (
    "gradient checkpointing recomputes a LiteFocus attention, and it cannot be told in which forward its keys were "
    "drawn: checkpoint the UNet's blocks with use_reentrant=False, or train without checkpointing"
)


def backward_number() -> int:
    """The number of the backward pass that this code runs in, as a recomputed forward does; else NO_BACKWARD."""
    return NO_BACKWARD if torch.compiler.is_compiling() else torch._C._current_graph_task_id()


class GridTracker:
    """Knows the grid of one transformer module while that module's forward runs in this thread, and only then.

    The tokens of an attention do not tell T from F, so the grid is read from the transformer's 4-D input
    (B, C, T, F), or (B, C, F, T). Outside the forward it is unknown, so that a stale grid can never be used.

    Gradient checkpointing calls the attention once more during the backward. The gradient of the transformer's output
    is there before, and brings that forward's grid back, and with `recall` what else belongs to it.

    Args:
        transformer: the module to follow.
        frequency_axis: the axis of its input that holds frequency: -1, or -2 for (B, C, F, T).
        recall: gives a call that returns to what holds in the current forward.
    """

    def __init__(
        self,
        transformer: nn.Module,
        frequency_axis: int = -1,
        recall: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        self._frequency_axis = frequency_axis
        self._recall = recall
        self._thread = threading.local()
        self._handles = [
            transformer.register_forward_pre_hook(self._enter, with_kwargs=True),
            transformer.register_forward_hook(self._leave, always_call=True),
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _thread=threading.local())

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = args[0] if args else kwargs.get("hidden_states", kwargs.get("x"))
        if not isinstance(latents, torch.Tensor) or latents.ndim != 4:
            shape = tuple(latents.shape) if isinstance(latents, torch.Tensor) else type(latents).__name__
            raise ValueError(
                f"{type(module).__name__} input {shape}: LiteFocus needs latents of shape (batch, channels, time, freq)"
            )
        time_axis = -3 - self._frequency_axis
        self._thread.grid = TokenGrid(time=latents.shape[time_axis], freq=latents.shape[self._frequency_axis])

    def _leave(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        grid, self._thread.grid = getattr(self._thread, "grid", None), None
        if output is None or not torch.is_grad_enabled() or backward_number() != NO_BACKWARD:
            return
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        if tensor.requires_grad and not torch.compiler.is_compiling():
            recall = None if self._recall is None else self._recall()
            tensor.register_hook(lambda _: self._return_to(grid, recall))

    def _return_to(self, grid: TokenGrid | None, recall: Callable[[], None] | None) -> None:
        self._thread.recomputed = (backward_number(), grid)
        if recall is not None:
            recall()

    def grid(self, tokens: int | None = None) -> TokenGrid:
        """The grid of the running forward, which must hold `tokens` tokens if they are given.

        Raises:
            RuntimeError: called outside the forward of the tracked transformer, or for tokens that do not fill it.
        """
        grid = getattr(self._thread, "grid", None) or self._grid_of_backward()
        if grid is None and backward_number() != NO_BACKWARD:
            raise RuntimeError(UNKNOWN_FORWARD)
        if grid is None:
            raise RuntimeError(
                "a LiteFocus attention was called outside its transformer's forward, so its grid is unknown: call the "
                "UNet, or disable_lite_focus() first"
            )
        if tokens is not None and tokens != grid.tokens:
            raise RuntimeError(
                f"a LiteFocus attention of {tokens} tokens inside a forward of {grid.time} x {grid.freq}: another "
                f"patch merges or drops tokens; take it out first (tomesd: remove_patch(pipe))"
            )
        return grid

    def _grid_of_backward(self) -> TokenGrid | None:
        number, grid = getattr(self._thread, "recomputed", (NO_BACKWARD, None))
        return grid if number == backward_number() else None

    def remove(self) -> None:
        """Take the hooks off the transformer."""
        for handle in self._handles:
            handle.remove()
