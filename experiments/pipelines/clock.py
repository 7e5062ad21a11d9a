"""The clock of every measurement on a device."""

import time

import torch


def now(device: torch.device) -> float:
    """Seconds of a monotonic clock, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
