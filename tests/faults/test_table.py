"""docs/reliability.md shows what was logged, and no fault that lost anything is called survived."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("fault_table", HERE / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(fault, injected, lost=0):
    return {
        "fault": fault, "injected": injected, "lost": lost, "duplicated": 0, "bytes_differing": 0,
        "measured_at": "2026-11-25T00:00:00+00:00", "device": "CPU", "commit": "0" * 40, "dirty": False,
    }  # fmt: skip


def test_counts_of_one_fault_are_added(table):
    text = table.fault_table([entry("kill", 50), entry("disk", 1, lost=2), entry("kill", 3)])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == [["kill", "53", "0", "0", "0"], ["disk", "1", "2", "0", "0"]]


def test_the_document_is_what_the_log_gives(table):
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert table.fill(text, ROOT / "results" / "reliability") == text


def test_a_document_without_its_block_is_an_error(table):
    with pytest.raises(ValueError, match="0 blocks reliability:faults"):
        table.fill("nothing here")
