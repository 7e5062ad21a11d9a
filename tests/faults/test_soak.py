"""Hundreds of conditions in one process hold no more memory and no more files than the first hundred."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONDITIONS = 300
WARM = 100
# The allocator's arenas breathe by a few MiB; one leaked clip or figure per condition would be 200 of them.
GROWTH_MIB = 32


@pytest.mark.slow
def test_memory_and_open_files_stay_flat():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", str(CONDITIONS)],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    rounds = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert rounds[-1]["conditions"] >= CONDITIONS
    warm = [entry for entry in rounds if entry["conditions"] >= WARM]
    if path := os.environ.get("LITEFOCUS_SOAK_LOG"):
        Path(path).write_text("".join(json.dumps(entry) + "\n" for entry in rounds), encoding="utf-8")
    assert {entry["open_files"] for entry in warm} == {warm[0]["open_files"]}
    assert warm[-1]["rss_mib"] - warm[0]["rss_mib"] < GROWTH_MIB
