"""Deep features reused across steps: on most steps only the outermost, attention-free blocks run.

DeepCache's idea (Ma et al. 2023, arXiv 2312.00858), own implementation for UNets whose outermost resolution has no
attention, as those of AudioLDM, AudioLDM 2 and MusicLDM: what the outermost up block receives from below is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from experiments.methods.step_clock import Kept, StepClock
from litefocus.context import replaced


@contextmanager
def feature_reuse(pipe_or_unet: Any, every: int = 2, order: int = 0) -> Iterator[None]:
    """The deep features of one step serve the next `every` - 1 steps as well. `order` as in `Kept`.

    Raises:
        TypeError, ValueError: as StepClock and Kept; ValueError too for a UNet whose outermost blocks hold attention.
    """
    clock = StepClock(pipe_or_unet, every)
    try:
        kept = Kept(clock, order)  # of the last deep block
        with ExitStack() as stack:
            unet = clock.unet
            outer = attention_free_blocks(unet)
            for block in unet.down_blocks[outer:]:
                stack.enter_context(replaced(block, "forward", _skipped_down(clock, block)))
            inner = [unet.mid_block] if unet.mid_block is not None else []
            for block in [*inner, *unet.up_blocks[: -outer - 1]]:
                stack.enter_context(replaced(block, "forward", _skipped(clock)))
            stack.enter_context(replaced(unet.up_blocks[-outer - 1], "forward", kept.wrap))
            yield
    finally:
        clock.remove()


def attention_free_blocks(unet: Any) -> int:
    """How many outermost resolutions hold no attention, down and up alike.

    Raises:
        ValueError: none, or all.
    """
    down = [_has_attention(block) for block in unet.down_blocks]
    up = [_has_attention(block) for block in reversed(unet.up_blocks)]
    if not any(down) or down[0] or up[: down.index(True)] != down[: down.index(True)]:
        raise ValueError(
            f"feature reuse on a {type(unet).__name__} with attention in blocks {down}: accepted are UNets whose "
            f"outermost blocks, and not all, are free of attention"
        )
    return down.index(True)


def _has_attention(block: nn.Module) -> bool:
    return any(hasattr(module, "to_q") for module in block.modules())


Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _skipped_down(clock: StepClock, block: Any) -> Wrap:
    """A down block that, on a step that reuses, hands its input on and as its skip connections, which nobody reads."""
    skips = len(block.resnets) + bool(block.downsamplers)

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if not clock.reuse:
                return forward(*args, **kwargs)
            hidden = _hidden(args, kwargs)
            return hidden, (hidden,) * skips

        return run

    return wrap


def _skipped(clock: StepClock) -> Wrap:
    """A middle or up block that hands its input on."""

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            return _hidden(args, kwargs) if clock.reuse else forward(*args, **kwargs)

        return run

    return wrap
