"""Resuming a benchmark: which rounds count, and what a folder that holds other work refuses."""

from pathlib import Path
from typing import Any

import pytest
from start_material import ENVIRONMENT

from experiments.benchmark.cells import check_same_settings, rounds_missing
from experiments.records import CellRecord, RoundRecord, RunRecord, append_record


def cell_record(level: str = "step", steps: int = 1) -> CellRecord:
    labels = {"dense": "Dense", "fast": "Fast", "limit": "Limit", "naive": "Naive"}
    skipped = {"naive": "too big"}
    return CellRecord("r", level, 10.0, "eager", 2, steps, "dense", "limit", labels, [], {}, {}, {}, {}, skipped, "b")


def round_record(probe: float = 10.0) -> RoundRecord:
    latencies = {"dense": 4.0, "fast": 2.0, "limit": 1.0}
    return RoundRecord("r", "step", 10.0, "eager", latencies, dict.fromkeys(latencies, 0.5), probe, 0.1)


def asked_cell(**changes: Any) -> dict[str, Any]:
    values = {"level": "step", "duration_s": 10, "regime": "eager", "arms": ["dense", "fast"], "baseline": "dense"}
    return {**values, "again": False, "rounds": 2, "steps": 4, **changes}


def test_a_round_counts_if_it_holds_every_arm_asked_for_and_not_skipped(tmp_path: Path) -> None:
    for record in (cell_record(), round_record(), round_record(11.0)):
        append_record(tmp_path, record)
    arms = ["dense", "fast", "limit"]
    assert rounds_missing(tmp_path, asked_cell(arms=arms)) == 0
    assert rounds_missing(tmp_path, asked_cell(arms=["dense"])) == 0
    assert rounds_missing(tmp_path, asked_cell(arms=[*arms, "naive"])) == 0  # skipped: too big
    assert rounds_missing(tmp_path, asked_cell(arms=[*arms, "new"])) == 2
    assert rounds_missing(tmp_path, asked_cell(arms=arms, again=True)) == 2
    assert rounds_missing(tmp_path, asked_cell(arms=arms, rounds=5)) == 3
    assert rounds_missing(tmp_path, asked_cell(duration_s=20)) == 2
    with pytest.raises(ValueError, match="also holds limit: name these arms too"):
        rounds_missing(tmp_path, asked_cell(arms=["dense", "fast", "new"]))


def test_a_cell_of_other_steps_is_refused(tmp_path: Path) -> None:
    append_record(tmp_path, cell_record(level="loop", steps=2))
    assert rounds_missing(tmp_path, asked_cell(level="loop", steps=2)) == 2
    with pytest.raises(ValueError, match="cell loop at 10 s in .* was measured with steps=2"):
        rounds_missing(tmp_path, asked_cell(level="loop", steps=4))


def test_a_folder_of_another_device_is_refused(tmp_path: Path) -> None:
    config = {"pipeline": "p", "device": "cpu"}
    environment = {**ENVIRONMENT, "device": "another card"}
    append_record(tmp_path, RunRecord("r", "now", config, environment, {"name": "p", "trained": True}, []))
    with pytest.raises(ValueError, match=r"was measured with \{'device': 'another card'\}"):
        check_same_settings(tmp_path, config)
