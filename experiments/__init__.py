"""Experiments with LiteFocus: `python -m experiments.run` makes a run folder, `frames(folder)` reads it into pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from experiments.dataframes import Frames


def frames(run_dir: str | os.PathLike[str]) -> Frames:
    """A run folder as tidy pandas frames: clips, scores, metrics, windows, differences, timings, failures.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: the folder holds no records.
    """
    from experiments.dataframes import frames_of  # pandas comes with the first call, not with the package

    return frames_of(run_dir)
