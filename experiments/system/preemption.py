"""Signals of a scheduler: finish the clip in hand, then stop so that the job can be queued again.

SIGUSR1 and SIGUSR2 announce the end of a job's time, SIGTERM the end of the job. Under submitit its own handler queues
the job again; without it the exit code says what happened: 75 (try again) or 143 (ended by SIGTERM).
"""

import logging
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from experiments.system.cli import fail

logger = logging.getLogger(__name__)

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
HELD_BACK = (*WARNINGS, signal.SIGTERM)
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
SCONTROL_TIMEOUT_S = 30


@contextmanager
def signals_held_back() -> Iterator[Callable[[], None]]:
    """Hold the scheduler's signals back; the yielded function, called between clips, acts on one that came.

    What came after its last call is acted on at the end of the block.

    Outside the main thread, where Python takes no handlers, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    received: list[signal.Signals] = []

    def note(number: int, _: Any) -> None:
        received.append(signal.Signals(number))
        logger.warning("%s: the clip in hand is finished first", received[-1].name)

    handlers = {number: signal.signal(number, note) for number in HELD_BACK}

    def act() -> None:
        if received:
            _restore(handlers)
            _stop(received[0], handlers)

    try:
        yield act
        act()
    finally:
        _restore(handlers)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _stop(received: signal.Signals, handlers: Mapping[signal.Signals, Any]) -> None:
    """Queue the job again where somebody can, then leave.

    A job that leaves on its own during SLURM's grace time counts as failed and would not come back.
    """
    again = received in WARNINGS or is_preempted()
    if again:
        for requeue in filter(callable, (handlers[number] for number in WARNINGS)):
            requeue(received, None)
    code = TRY_AGAIN if again else 128 + received
    fail(f"stopped by {received.name}; finished clips are kept, the same command resumes", code)


def is_preempted() -> bool:
    """Whether SLURM takes this job's node for another job. A cancelled job gets SIGTERM too, and should not return."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        # The plain id of one task is that of the whole array: it would show the others too.
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    shown = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job],
        capture_output=True,
        text=True,
        check=False,
        timeout=SCONTROL_TIMEOUT_S,
    )
    return re.search(r"\bPreemptTime=\d", shown.stdout) is not None
