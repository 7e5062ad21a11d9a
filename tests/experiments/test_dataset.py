"""The results as parquet tables with Croissant metadata: equal to the frames of each run, typed, and described."""

import hashlib
import json
import sys

import pandas as pd
import pytest
from listen_material import make_run, timing

from experiments import frames
from experiments.dataset import tables, write_dataset
from experiments.records import append_record


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two runs, one of them submitted; prompt ids of digits, as AudioCaps has."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("own", "submitted/theirs"):
        (folder / name).mkdir(parents=True)
        make_run(folder / name, {"007": "Rain"}, [0.1])
    append_record(folder / "own", timing(0.1, dense=[4.0], litefocus=[2.0]))
    return folder


def test_a_table_is_the_frames_of_every_run_with_its_folder_in_front(results):
    found = tables(results)
    assert list(found["clips"]["run"].unique()) == ["own", "submitted/theirs"]
    for name in ("clips", "scores", "metrics"):
        own = getattr(frames(results / "own"), name)
        mine = found[name].query("run == 'own'").drop(columns="run").reset_index(drop=True)
        assert list(mine.columns) == list(own.columns)
        assert len(mine) == len(own) > 0
        for column in ("method", "value" if "value" in own else "latency_s"):
            assert list(mine[column]) == list(own[column])
    assert set(found["timings"]["run"]) == {"own"}
    assert "failures" not in found


def test_columns_keep_their_kind(results):
    clips = tables(results)["clips"]
    assert set(clips["prompt_id"]) == {"007"}
    assert (str(clips["duration_s"].dtype), str(clips["seed"].dtype)) == ("float64", "int64")
    assert str(tables(results)["metrics"]["higher_is_better"].dtype) in ("bool", "boolean")


def test_starts_say_where_and_at_which_commit(results):
    start = tables(results)["starts"].iloc[0]
    assert (start["commit"], start["torch"], start["started_at"][:10]) == ("0123456789ab", "2.13.0", "2026-11-23")
    assert json.loads(start["config"])["durations"] == [0.1]


@pytest.fixture
def mlcroissant():
    """The package, its log handler kept from closing the stream on which pytest captures.

    absl, which it imports, closes the stderr of its import as soon as logging is configured anew and stderr is another.
    """
    package = pytest.importorskip("mlcroissant", reason="needs the extra dataset")
    pytest.importorskip("pyarrow", reason="needs the extra dataset")
    from absl import logging

    logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
    return package


def test_the_files_and_their_croissant_description_agree(results, tmp_path, mlcroissant):
    rows = write_dataset(results, tmp_path / "set")
    described = mlcroissant.Dataset(tmp_path / "set" / "croissant.json")
    assert {record_set.id for record_set in described.metadata.record_sets} == set(rows)
    for file in described.metadata.distribution:
        content = (tmp_path / "set" / file.content_url).read_bytes()
        assert (file.sha256, file.content_size) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    for name in ("clips", "metrics"):
        stored = pd.read_parquet(tmp_path / "set" / f"{name}.parquet")
        read = list(described.records(name))
        assert len(read) == rows[name] == len(stored)
        assert [record[f"{name}/method"].decode() for record in read] == list(stored["method"])
