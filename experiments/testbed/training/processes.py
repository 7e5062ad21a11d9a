"""One training in several processes of one machine:

    torchrun --standalone --nproc-per-node 2 -m experiments.testbed.training.train_unet run=DIR steps=3000

Every process draws the same batch and computes its own rows of it; the gradients are averaged before they are clipped,
so the weights are those of one process up to rounding. Only the first process writes. Started without torchrun, all of
this is one process with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def several_processes() -> Iterator[None]:
    """Joins the processes that torchrun started, if it did."""
    if not dist.is_torchelastic_launched():
        yield
        return
    # The processes share one machine, so gloo needs no name or address of it.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


@contextmanager
def first_before_the_others() -> Iterator[None]:
    """For work that leaves a file which the others then find."""
    if not is_first():
        dist.barrier()
    yield
    if dist.is_initialized() and is_first():
        dist.barrier()


def own_rows(batch_size: int) -> slice:
    """This process's rows of a batch.

    Raises:
        ValueError: the processes cannot share a batch of that size equally.
    """
    count = process_count()
    if batch_size % count:
        raise ValueError(f"batch_size={batch_size} in {count} processes; give a multiple of {count}")
    rows, first = batch_size // count, dist.get_rank() if dist.is_initialized() else 0
    return slice(first * rows, (first + 1) * rows)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Makes every process's gradients their mean, in place: those of the whole batch, for a mean over equal shares."""
    if dist.is_initialized():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for own, mean in zip(gradients, averaged(gradients), strict=True):
            own.copy_(mean)


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes, by one message for all of them."""
    if not dist.is_initialized():
        return list(tensors)
    message = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(message)
    parts = (message / process_count()).split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
