"""Peak memory of one call, on CPU (Linux) or CUDA."""

from collections.abc import Callable
from pathlib import Path

import psutil
import torch

GIB = 2**30


def peak_memory_gib(call: Callable[[], object], device: torch.device) -> float | None:
    """Run `call` and return the peak memory of this process while it ran, in GiB, everything loaded included.

    CPU: the kernel's high-water mark of resident memory, reset before the call (Linux; None elsewhere).
    CUDA: torch's peak of allocated memory.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) / GIB
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        call()
        return None
    reset.write_text("5")
    call()
    return _high_water_mark_kib() * 1024 / GIB


def _high_water_mark_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("the kernel reports no VmHWM line in /proc/self/status")


def available_gib(device: torch.device) -> float:
    """Memory that can still be taken, in GiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    return psutil.virtual_memory().available / GIB
