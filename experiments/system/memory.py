"""Peak memory of one call, on CPU (Linux) or CUDA, and what it looks like when there is not enough."""

import ctypes
import platform
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

GIB = 2**30
# What running out of memory raises; a RuntimeError only if it comes from CPU_ALLOCATOR.
MEMORY_ERRORS = (MemoryError, RuntimeError)
CPU_ALLOCATOR = "DefaultCPUAllocator"
# Parameters of glibc's mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


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


def out_of_memory(error: Exception) -> str:
    """Say in one line what did not fit, and give back what the failed call left in CUDA's cache.

    Raises:
        the error itself, if it is not about memory (the CPU allocator raises a plain RuntimeError).
    """
    text = " ".join(str(error).split())
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and CPU_ALLOCATOR not in text:
        raise error
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return f"out of memory: {textwrap.shorten(text, 200) or type(error).__name__}"


def working_memory_gib(call: Callable[[], object], device: torch.device) -> float | None:
    """Run `call` and return its peak memory above what was in use before it, in GiB; None off Linux."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device) / GIB
    else:
        before = psutil.Process().memory_info().rss / GIB
    peak = peak_memory_gib(call, device)
    return None if peak is None else max(peak - before, 0.0)


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep freed memory instead of returning it to the kernel after every layer.

    A UNet step allocates and frees tensors of tens of MiB hundreds of times. By default each becomes a fresh mapping
    that the kernel zeroes page by page. The price is a resident size that does not shrink between arms.

    Raises:
        ValueError: the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        raise ValueError("keep_freed_memory=true: this system's C library is not glibc; accepted here is false")
    libc = ctypes.CDLL(None)
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26}
    refused = [name for name, value in settings.items() if libc.mallopt(name, value) != 1]
    if refused:
        raise RuntimeError(f"glibc refused mallopt parameters {refused}")


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
