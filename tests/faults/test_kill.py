"""SIGKILL at any moment: a resumed run equals an undisturbed one, byte for byte."""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from jobs import AUDIBLE, CLIPS, Damage, Job, clip_count, damage, finish

KILLS = 50
SEED = 20260
# File operations below the run folder that Python announces before it does them.
OPERATIONS = ("open", "os.rename", "os.truncate", "os.remove", "os.mkdir")


@pytest.mark.slow
def test_fifty_kills_at_random_moments(undisturbed, tmp_path, survived):
    """Start, kill after a random part of a run's length, start again; a run that gets through is compared."""
    draw = random.Random(SEED)
    length_s = _length_s(tmp_path / "length")
    found, kills, run = Damage(), 0, 0
    while kills < KILLS:
        run_dir = tmp_path / f"run{run}"
        job = Job(run_dir)
        job.process.join(draw.uniform(0, length_s))
        if job.kill():
            kills += 1
        else:
            assert job.wait() == 0, job.output()
            found += damage(run_dir, undisturbed)
            run += 1
    finish(tmp_path / f"run{run}")
    found += damage(tmp_path / f"run{run}", undisturbed)
    survived("kill -9 at a random moment", kills, found)


def _length_s(run_dir):
    start = time.monotonic()
    finish(run_dir)
    return time.monotonic() - start


def die_at(number: int, run_dir: str) -> None:
    """SIGKILL this process right before its so-manieth file operation below the run folder."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in OPERATIONS and any(
            str(a).startswith(f"{run_dir}/") for a in arguments if isinstance(a, str | Path)
        ):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.slow
def test_a_kill_before_every_file_operation_of_the_first_clips(undisturbed, tmp_path, survived):
    """Between opening, renaming and recording: the same folder dies at operation 1, then 2, then 3, ... of a start."""
    run_dir = tmp_path / "run"
    kills = 0
    for number in range(1, 25):
        job = Job(run_dir, AUDIBLE, partial(die_at, number, str(run_dir)))
        if job.wait() == -signal.SIGKILL:
            kills += 1
    assert 0 < clip_count(run_dir) <= CLIPS
    finish(run_dir)
    survived("kill -9 before a file operation", kills, damage(run_dir, undisturbed))
