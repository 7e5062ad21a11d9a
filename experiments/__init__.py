"""Experiments with LiteFocus: `python -m experiments.run` makes a run folder, `frames(folder)` reads it into pandas."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.dataframes import Frames


def frames(run_dir: str | os.PathLike[str]) -> Frames:
    """A run folder as tidy pandas frames: clips, scores, metrics, windows, differences, timings, failures.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: the folder holds no records.
    """
    from experiments.dataframes import frames_of  # pandas comes with the first call, not with the package
    from experiments.records.run import Run

    return frames_of(Run.load(Path(run_dir)))


def _wait_briefly() -> None:
    """Let OpenMP's threads that wait for each other sleep: at once beside other work, else after 50 microseconds.

    A spinning thread keeps the core that the one it waits for needs; libgomp's own 13 milliseconds nearly stop a run on
    a shared machine. A command that begins alone may get company later, so it too spins for as long only as the other
    thread takes on an idle core. GNU's OpenMP, which torch's wheels bring, reads this before torch loads and never
    again; what the environment says already is left alone, and so is a program that only imports this package.
    """
    if sys.argv[:1] != ["-m"] or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        return
    if os.getloadavg()[0] >= BUSY_LOAD:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    else:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


# Running processes over the last minute, from which on the machine counts as shared.
BUSY_LOAD = 0.5
# What libgomp takes where it starts more threads than there are cores (its default otherwise: 300000).
SPIN_COUNT = "1000"
_wait_briefly()
