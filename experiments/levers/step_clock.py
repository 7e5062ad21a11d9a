"""Which forwards of a denoising loop may reuse what an earlier one computed.

Shapes: B rows of the UNet's batch; with guidance the first half is unconditional.
"""

from typing import Any

import torch

from litefocus.sites import find_unet


class StepClock:
    """Counts the forwards of a loop: the first of every `every` computes, the others reuse.

    A loop begins where the timestep does not fall. Both are read from the UNet's time embedding, which every forward
    runs first (one number is copied from the device). Where guidance stops within a loop, the batch halves: its
    conditional half is reused. Where a batch grows, nothing fits and the forward computes.

    Args:
        pipe_or_unet: a diffusers pipeline or UNet. every: at least 2.

    Raises:
        TypeError: a UNet that is not diffusers' own.
        ValueError: every below 2.
    """

    def __init__(self, pipe_or_unet: Any, every: int) -> None:
        unet: Any = find_unet(pipe_or_unet)
        if not hasattr(unet, "time_proj"):
            raise TypeError(f"reuse across the steps of {type(unet).__name__}: accepted are diffusers UNets")
        if isinstance(every, bool) or not isinstance(every, int) or every < 2:
            raise ValueError(f"every={every!r}: accepted are whole numbers from 2 (2 computes every other step)")
        self.unet = unet
        self.every = every
        self.reuse = False
        self._computed_rows = 0
        self._rows = 0
        self._count = 0
        self._last = float("-inf")
        self._handle = unet.time_proj.register_forward_pre_hook(self._begin)

    def _begin(self, module: Any, args: tuple[torch.Tensor]) -> None:
        t, self._rows = float(args[0].flatten()[0]), len(args[0])
        starts = t >= self._last
        fits = self._computed_rows in (self._rows, 2 * self._rows)
        if starts or not fits:
            self._count = 0
        self.reuse = self._count % self.every != 0
        if not self.reuse:
            self._computed_rows = self._rows
        self._count += 1
        self._last = t

    def fit(self, kept: torch.Tensor) -> torch.Tensor:
        """A kept tensor (rows, ...) for the rows of the current forward."""
        return kept[-self._rows :]

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()
