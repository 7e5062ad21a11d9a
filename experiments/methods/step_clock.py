"""Which forwards of a denoising loop may reuse what an earlier one computed, and how.

Shapes: B rows of the UNet's batch; with guidance the first half is unconditional.
"""

from collections.abc import Callable
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
        self.timestep = float("inf")
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
        self._last = self.timestep = t

    def fit(self, kept: torch.Tensor) -> torch.Tensor:
        """A kept tensor (rows, ...) for the rows of the current forward."""
        return kept[-self._rows :]

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()


class Kept:
    """One module's output over the steps: kept where the clock computes, copied or predicted where it reuses.

    First-order prediction continues the straight line through the last two computed outputs, in the timestep
    (TaylorSeer's idea at order 1, Liu et al. 2025, arXiv 2503.06923; own code). Until a loop has computed twice, the
    output is copied. Memory: one output; two where it predicts.

    Args:
        order: 0 copies, 1 predicts.

    Raises:
        ValueError: another order.
    """

    def __init__(self, clock: StepClock, order: int) -> None:
        if isinstance(order, bool) or order not in (0, 1):
            raise ValueError(f"order={order!r}: accepted are 0 (copy) and 1 (first-order prediction)")
        self._clock = clock
        self._order = order
        self._computed: list[tuple[float, torch.Tensor]] = []

    def wrap(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """The module's forward in which what is kept stands in where the clock reuses."""

        def run(*args: Any, **kwargs: Any) -> torch.Tensor:
            return self.recall() if self._clock.reuse else self.keep(forward(*args, **kwargs))

        return run

    def keep(self, output: torch.Tensor) -> torch.Tensor:
        """The output, kept for the steps that reuse it. A timestep that did not fall begins a new loop."""
        timestep = self._clock.timestep
        before = [pair for pair in self._computed[-self._order :] if pair[0] > timestep] if self._order else []
        self._computed = [*before, (timestep, output)]
        return output

    def recall(self) -> torch.Tensor:
        """What stands in for the output at the current step."""
        timestep, last = self._computed[-1]
        last = self._clock.fit(last)
        if len(self._computed) == 1:
            return last
        earlier_timestep, earlier = self._computed[0]
        earlier = self._clock.fit(earlier)
        if earlier.shape != last.shape:
            return last
        weight = (self._clock.timestep - timestep) / (timestep - earlier_timestep)
        return torch.lerp(last, earlier, -weight)
