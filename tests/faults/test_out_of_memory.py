"""Out of memory at one condition: recorded as failed with its reason, the rest goes on, a restart tries it again."""

import resource
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from jobs import AUDIBLE, CLIPS, Damage, Job, clip_count, damage

from experiments.records import FailureRecord, of_kind, read_records
from experiments.system.memory import out_of_memory

ERRORS = {
    "cuda": (torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 GiB."),
    "python": (MemoryError, "Unable to allocate 3.00 GiB"),
    "cpu": (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes."),
    "other": (RuntimeError, "shapes cannot be multiplied"),
}


@contextmanager
def exhausted_attention(pipe, error):
    """A method whose patch runs out of memory as soon as the UNet runs under it."""
    kind, message = ERRORS[error]

    def hook(*_):
        raise kind(message)

    handle = pipe.unet.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def arguments(error):
    patch = "methods.focus_only.patch"
    return [
        *AUDIBLE,
        f"~{patch}.config",
        f"{patch}._target_=test_out_of_memory.exhausted_attention",
        f"+{patch}.error={error}",
    ]


@pytest.mark.parametrize(("error", "reason"), [(name, ERRORS[name][1]) for name in ("cuda", "python", "cpu")])
def test_one_condition_fails_with_its_reason_and_the_rest_goes_on(undisturbed, tmp_path, survived, error, reason):
    run_dir = tmp_path / "run"
    job = Job(run_dir, arguments(error))
    assert job.wait() == 0, job.output()
    failures = of_kind(read_records(run_dir), FailureRecord)
    assert [(f.stage, f.method, f.reason) for f in failures] == [
        ("generate", "focus_only", f"out of memory: {reason}")
    ] * 2
    assert clip_count(run_dir) == CLIPS - 2
    missing = damage(run_dir, undisturbed)
    survived(f"out of memory ({error})", 1, replace(missing, lost=missing.lost - 2))


def test_another_error_of_a_method_is_not_taken_for_memory(tmp_path):
    job = Job(tmp_path / "run", arguments("other"))
    assert job.wait() == 1
    assert "shapes cannot be multiplied" in job.output()
    with pytest.raises(RuntimeError, match="shapes"):
        out_of_memory(RuntimeError("shapes cannot be multiplied"))


def limit_address_space(extra_bytes: int) -> None:
    """Let this process map so much more than it maps now."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, resource.RLIM_INFINITY))


def test_memory_that_is_really_refused_by_the_kernel(undisturbed, tmp_path, survived):
    """Materialised scores of a long clip do not fit under the limit; the short clips do."""
    run_dir = tmp_path / "run"
    long = [
        *(word for word in AUDIBLE if not word.startswith("durations")), "durations=[0.64,327.68]",
        *(f"~methods.{name}" for name in ("litefocus", "focus_only", "compensation_only", "authors", "dense")),
        "data.count=1",
    ]  # fmt: skip
    job = Job(run_dir, long, partial(limit_address_space, 3 * 2**30))
    assert job.wait() == 0, job.output()
    (failure,) = of_kind(read_records(run_dir), FailureRecord)
    assert (failure.method, failure.duration_s) == ("naive", 327.68)
    assert failure.reason.startswith("out of memory: ")
    assert clip_count(run_dir) == 1
    survived("out of memory (refused by the kernel)", 1, Damage())
