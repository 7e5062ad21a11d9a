"""A scheduler's signal waits for the clip in hand; then the job is queued again, or its exit code says why not."""

import os
import signal
import sys
import threading

import pytest

from experiments.system.preemption import HELD_BACK, signals_held_back


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers():
    """The test's own handlers back in place, and no SLURM around."""
    before = {number: signal.getsignal(number) for number in HELD_BACK}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A SLURM that says whether the job is preempted."""

    def answer(preempt_time):
        program = tmp_path / "scontrol"
        job = f"JobId=7 PreemptEligibleTime=2026-01-01 PreemptTime={preempt_time}"
        program.write_text(f"#!/bin/sh\n[ \"$*\" = '--oneliner show job 7_3' ] && echo '{job}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        for name, value in (("JOB_ID", "7"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "3")):
            monkeypatch.setenv(f"SLURM_{name}", value)

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return answer


def clips_until_stopped(number, clips=5, at=2):
    """Clips that were finished when a signal came within clip `at`, and the exit code."""
    finished = []

    def work():
        with signals_held_back() as act:
            for clip in range(clips):
                act()
                if clip == at:
                    send(number)
                finished.append(clip)

    with pytest.raises(SystemExit) as stop:
        work()
    return finished, stop.value.code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGTERM, 143)])
def test_the_clip_in_hand_is_finished_then_the_exit_code_says_why(scontrol, capsys, number, code):
    assert clips_until_stopped(number) == ([0, 1, 2], code)
    assert f"error: stopped by {number.name}; finished clips are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "preempt_time", "queued"),
    [
        (signal.SIGUSR2, "None", True),  # the time is nearly up
        (signal.SIGUSR1, "None", True),  # the same, where the site sends the other signal
        (signal.SIGTERM, "2026-01-01T10:00:00", True),  # another job takes the node
        (signal.SIGTERM, "None", False),  # the user cancelled the job: it must not come back
    ],
)
def test_the_job_is_queued_again_unless_it_was_cancelled(scontrol, number, preempt_time, queued):
    scontrol(preempt_time)
    calls = []

    def requeue(received, frame):
        calls.append(received)
        sys.exit(-1)  # as submitit's handler does

    signal.signal(signal.SIGUSR2, requeue)
    finished, code = clips_until_stopped(number)
    assert finished == [0, 1, 2]
    assert (calls, code) == (([number], -1) if queued else ([], 143))


def test_a_signal_within_the_last_clip_is_not_lost(scontrol):
    assert clips_until_stopped(signal.SIGTERM, clips=3, at=2) == ([0, 1, 2], 143)


def test_without_a_signal_handlers_are_as_before(handlers):
    with signals_held_back() as act:
        act()
        assert signal.getsignal(signal.SIGTERM) is not handlers[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in HELD_BACK} == handlers


def test_outside_the_main_thread_nothing_is_held_back(handlers):
    seen = []

    def work():
        with signals_held_back() as act:
            act()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers[signal.SIGTERM]]
