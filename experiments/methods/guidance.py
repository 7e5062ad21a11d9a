"""Classifier-free guidance on a part of the steps: outside it, the unconditional half is not computed.

Limited-interval guidance (Kynkäänniemi et al. 2024, arXiv 2404.07724). Shapes: B clips; guided latents (2 B, C, T, F),
unconditional first, as diffusers pipelines stack them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from litefocus.context import replaced
from litefocus.sites import find_unet


@contextmanager
def guidance_interval(pipe_or_unet: Any, low: float = 400, high: float = 1000) -> Iterator[None]:
    """Guidance only at noise levels low <= t <= high (training timesteps, 1000 is pure noise).

    Elsewhere the UNet runs on the conditional half alone and returns it for both halves: whatever the guidance scale,
    guidance then changes nothing. A batch passes through unless its halves hold the same latents, as guidance stacks
    them: two captions from one noise, without guidance, are not for this.

    Raises:
        ValueError: an empty interval.
    """
    if not low < high:
        raise ValueError(f"guidance interval from t={low} to t={high}: accepted is low < high")

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(sample: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
            if low <= float(timestep) <= high or not is_guided(sample):
                return forward(sample, timestep, *args, **kwargs)
            batch = sample.shape[0]
            halves = [conditional_half(x, batch) for x in args]
            named = {name: conditional_half(x, batch) for name, x in kwargs.items()}
            output = forward(conditional_half(sample, batch), timestep, *halves, **named)
            both = torch.cat([output[0], output[0]])
            return (both,) if isinstance(output, tuple) else type(output)(sample=both)

        return run

    with replaced(find_unet(pipe_or_unet), "forward", wrap):
        yield


def is_guided(sample: torch.Tensor) -> bool:
    """Whether a UNet's input (2 B, C, T, F) holds every latent twice, as guidance stacks them."""
    if sample.shape[0] % 2:
        return False
    first, second = sample.chunk(2)
    return torch.equal(first, second)


def conditional_half(x: Any, batch: int) -> Any:
    """The second half of a tensor whose first dimension is the batch; anything else as it is."""
    return x[batch // 2 :] if isinstance(x, torch.Tensor) and x.ndim > 0 and x.shape[0] == batch else x
