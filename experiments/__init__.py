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


def _sleep_between_parallel_regions() -> None:
    """On a machine that does other work, let OpenMP's threads sleep where they wait for each other, not spin.

    A spinning thread keeps the core that the one it waits for needs. OpenMP reads this before torch loads and never
    again; what the environment says already is left alone, and so is a program that only imports this package.
    """
    if sys.argv[:1] == ["-m"] and os.getloadavg()[0] >= BUSY_LOAD:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


# Running processes over the last minute, from which on the machine counts as shared.
BUSY_LOAD = 0.5
_sleep_between_parallel_regions()
