"""Self-attention outputs reused across steps.

Pyramid attention broadcast's idea (Zhao et al. 2024, arXiv 2408.12588) at the sites that LiteFocus patches: a site's
output, projections included, serves the next steps as well. Memory: one (B, N, C) tensor per site is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from experiments.levers.step_clock import StepClock
from litefocus.replace import replaced
from litefocus.sites import find_sites


@contextmanager
def attention_reuse(pipe_or_unet: Any, every: int = 2, levels: tuple[int, ...] = (0,)) -> Iterator[None]:
    """The self-attentions of the given levels compute on every `every`-th step only.

    It wraps the attention modules, so a LiteFocus patch may work inside.

    Raises:
        TypeError, ValueError: as StepClock; ValueError too for a level that the UNet does not have.
    """
    clock = StepClock(pipe_or_unet, every)
    try:
        with ExitStack() as stack:
            for site in find_sites(clock.unet, tuple(levels)):
                stack.enter_context(replaced(site.attention, "forward", _kept(clock)))
            yield
    finally:
        clock.remove()


def _kept(clock: StepClock) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kept: list[torch.Tensor] = []

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> torch.Tensor:
            if not clock.reuse:
                kept[:] = [forward(*args, **kwargs)]
                return kept[0]
            return clock.fit(kept[0])

        return run

    return wrap
