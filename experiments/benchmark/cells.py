"""Cells of the benchmark: what a configuration may ask for, and what a run folder already holds of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark.arms import GUIDED_LEVELS, LEVELS, REGIMES
from experiments.pipelines.pipeline import select_device
from experiments.records import AA_SUFFIX, CellRecord, RoundRecord, RunRecord, of_kind, read_records
from experiments.system.environment import device_name

SAME_SETTINGS = ("pipeline", "model", "dtype", "threads", "keep_freed_memory", "batch")
Cell = Mapping[str, Any]


def check_cell(cell: Cell, levels: Sequence[str] = LEVELS) -> Cell:
    """The cell, or ValueError saying what is wrong with it."""
    if cell["level"] not in levels or cell["regime"] not in REGIMES:
        raise ValueError(
            f"cell {cell['level']}/{cell['regime']}: accepted are levels {', '.join(levels)} and regimes "
            f"{', '.join(REGIMES)}"
        )
    if len(set(cell["arms"])) < len(cell["arms"]) or cell["baseline"] not in cell["arms"] or int(cell["rounds"]) < 1:
        raise ValueError(
            f"cell {cell['level']} at {cell['duration_s']} s: arms {list(cell['arms'])} must be distinct and contain "
            f"the baseline {cell['baseline']!r}, and rounds ({cell['rounds']}) be at least 1"
        )
    return cell


def check_same_settings(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Raise ValueError if the folder's rounds were measured on another device or under settings that change times."""
    device = device_name(select_device(str(config["device"])))
    for record in of_kind(read_records(run_dir), RunRecord):
        before = {key: record.config.get(key) for key in SAME_SETTINGS if record.config.get(key) != config.get(key)}
        if record.environment["device"] != device:
            before["device"] = record.environment["device"]
        if before:
            raise ValueError(f"{run_dir.name} was measured with {before}: set another out_dir, or the same settings")


def identity(cell: Any) -> tuple[str, float, str]:
    """What tells cells apart: level, duration and regime, of a configured cell or of a record."""
    if isinstance(cell, CellRecord | RoundRecord):
        return cell.level, cell.duration_s, cell.regime
    return str(cell["level"]), float(cell["duration_s"]), str(cell["regime"])


def cell_steps(cell: Cell) -> int:
    """Denoising steps of one call."""
    return int(cell["steps"]) if cell["level"] in GUIDED_LEVELS else 1


def rounds_missing(run_dir: Path, cell: Cell) -> int:
    """Rounds still to be measured: one counts if it holds every arm that is asked for and was not skipped.

    Raises:
        ValueError: the cell was measured with other steps, or new rounds would leave out arms of its records.
    """
    records = read_records(run_dir)
    described = [record for record in of_kind(records, CellRecord) if identity(record) == identity(cell)]
    title = f"cell {cell['level']} at {cell['duration_s']} s in {run_dir.name}"
    if other := sorted({record.steps for record in described} - {cell_steps(cell)}):
        raise ValueError(f"{title} was measured with steps={other[0]}: set another out_dir, or the same steps")
    skipped = set(described[-1].skipped) if described else set()
    wanted = set(cell["arms"]) - skipped
    if cell["again"]:
        wanted.add(str(cell["baseline"]) + AA_SUFFIX)
    own = [record for record in of_kind(records, RoundRecord) if identity(record) == identity(cell)]
    missing = int(cell["rounds"]) - sum(wanted <= set(record.latencies_s) for record in own)
    left_out = {arm for record in own for arm in record.latencies_s if not arm.endswith(AA_SUFFIX)} - set(cell["arms"])
    if missing > 0 and left_out:
        raise ValueError(
            f"{title} also holds {', '.join(sorted(left_out))}: name these arms too, or set another out_dir"
        )
    return max(missing, 0)
