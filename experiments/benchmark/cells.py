"""Cells of the benchmark: what a configuration may ask for, and what a run folder already holds of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.benchmark.arms import LEVELS, REGIMES
from experiments.records import CellRecord, RoundRecord, RunRecord, of_kind, read_records

SAME_SETTINGS = ("pipeline", "dtype", "threads", "keep_freed_memory", "batch")
Cell = Mapping[str, Any]


def check_cell(cell: Cell) -> Cell:
    """The cell, or ValueError saying what is wrong with it."""
    if cell["level"] not in LEVELS or cell["regime"] not in REGIMES:
        raise ValueError(
            f"cell {cell['level']}/{cell['regime']}: accepted are levels {', '.join(LEVELS)} and regimes "
            f"{', '.join(REGIMES)}"
        )
    if len(set(cell["arms"])) < len(cell["arms"]) or cell["baseline"] not in cell["arms"] or int(cell["rounds"]) < 1:
        raise ValueError(
            f"cell {cell['level']} at {cell['duration_s']} s: arms {list(cell['arms'])} must be distinct and contain "
            f"the baseline {cell['baseline']!r}, and rounds ({cell['rounds']}) be at least 1"
        )
    return cell


def check_same_settings(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Raise ValueError if the folder's rounds were measured under settings that change times."""
    for record in of_kind(read_records(run_dir), RunRecord):
        different = [key for key in SAME_SETTINGS if record.config.get(key) != config.get(key)]
        if different:
            before = {key: record.config.get(key) for key in different}
            raise ValueError(f"{run_dir.name} was measured with {before}: set another out_dir, or the same settings")


def identity(cell: Any) -> tuple[str, float, str]:
    """What tells cells apart: level, duration and regime, of a configured cell or of a record."""
    if isinstance(cell, CellRecord | RoundRecord):
        return cell.level, cell.duration_s, cell.regime
    return str(cell["level"]), float(cell["duration_s"]), str(cell["regime"])


def rounds_done(run_dir: Path, cell: Cell) -> int:
    """Rounds of the cell in the records, at most as many as are asked for."""
    done = [record for record in of_kind(read_records(run_dir), RoundRecord) if identity(record) == identity(cell)]
    return min(len(done), int(cell["rounds"]))
