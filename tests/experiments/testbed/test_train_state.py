"""What makes trainings resumable: records that survive a kill, digests that name caches."""

import json
from pathlib import Path

import pytest

from experiments.testbed.training.train_state import append_record, content_digest


def test_a_line_that_a_kill_cut_off_is_dropped_by_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "run" / "record.jsonl"
    append_record(path, {"step": 1})
    append_record(path, {"step": 2})
    path.write_bytes(path.read_bytes()[:-6])
    append_record(path, {"step": 3})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 1}, {"step": 3}]


def test_a_digest_changes_with_values_and_with_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("1")
    first = content_digest("corpus", 7.68, tmp_path)
    (tmp_path / "notes.md").write_text("not a part")
    assert content_digest("corpus", 7.68, tmp_path) == first
    assert content_digest("corpus", 5.12, tmp_path) != first
    (tmp_path / "config.json").write_text("2")
    assert content_digest("corpus", 7.68, tmp_path) != first
    with pytest.raises(FileNotFoundError, match="holds no weights or vocabulary: train that part first"):
        content_digest(tmp_path / "missing")
