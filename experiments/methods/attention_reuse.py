"""Self-attention outputs reused across steps.

Pyramid attention broadcast's idea (Zhao et al. 2024, arXiv 2408.12588) at the sites that LiteFocus patches: a site's
output, projections included, serves the next steps as well, as it was or continued in a straight line. Memory: one or
two (B, N, C) tensors per site are kept.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from experiments.methods.step_clock import Kept, StepClock
from litefocus.context import replaced
from litefocus.sites import find_sites


@contextmanager
def attention_reuse(
    pipe_or_unet: Any, every: int = 2, levels: tuple[int, ...] = (0,), order: int = 0
) -> Iterator[None]:
    """The self-attentions of the given levels compute on every `every`-th step only.

    It wraps the attention modules, so a LiteFocus patch may work inside. `order` as in `Kept`.

    Raises:
        TypeError, ValueError: as StepClock and Kept; ValueError too for a level that the UNet does not have.
    """
    clock = StepClock(pipe_or_unet, every)
    try:
        with ExitStack() as stack:
            for site in find_sites(clock.unet, tuple(levels)):
                stack.enter_context(replaced(site.attention, "forward", Kept(clock, order).wrap))
            yield
    finally:
        clock.remove()
