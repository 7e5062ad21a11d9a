"""The undisturbed run that every disturbed one must equal, and the log of what was injected."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from jobs import CLIPS, Damage, clip_count, finish

from experiments.system.environment import device_name, source_revision

LOG = "LITEFOCUS_FAULT_LOG"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Folder of a run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(run_dir)
    assert clip_count(run_dir) == CLIPS
    return run_dir


@pytest.fixture
def survived():
    """`survived(fault, times, damage)`: assert that nothing was lost, twice or changed, and log it if asked to."""

    def check(fault: str, times: int, found: Damage) -> None:
        if path := os.environ.get(LOG):
            entry = {
                "fault": fault,
                "injected": times,
                "lost": found.lost,
                "duplicated": found.duplicated,
                "bytes_differing": found.bytes_differing,
                "records_differing": found.records_differing,
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "device": device_name(torch.device("cpu")),
                **source_revision(),
            }
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        assert found == Damage()

    return check
