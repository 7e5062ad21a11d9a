"""Peak memory is that of the call: a large temporary shows, and does not show in the next call."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.system.memory import available_gib, peak_memory_gib

CPU = torch.device("cpu")
needs_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's")


@needs_linux
def test_a_temporary_shows_in_its_own_call_only():
    def allocate():
        torch.ones(2**27)  # half a GiB, written to

    before = peak_memory_gib(lambda: None, CPU)
    during = peak_memory_gib(allocate, CPU)
    after = peak_memory_gib(lambda: None, CPU)
    assert during - before == pytest.approx(0.5, abs=0.1)
    assert after - before == pytest.approx(0.0, abs=0.1)


def test_available_memory_is_positive_and_below_the_machine():
    assert 0 < available_gib(CPU) < 10_000


FAULTS = """
import resource, sys, torch
from experiments.system.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(12 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def page_faults(mode):
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@needs_linux
def test_kept_memory_is_not_faulted_in_again():
    # 40 times 48 MiB, above the size from which glibc maps each allocation afresh: 12,288 pages each.
    assert page_faults("default") > 40 * 12_000
    assert page_faults("keep") < 10 * 12_288
