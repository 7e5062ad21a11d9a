"""A run as pandas frames: the numbers of its records, the newest of each, and pandas only when asked for."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listen_material import METHODS, make_run, metric, run_record, timing
from quality_material import clips_behind, difference, value

import experiments
from experiments.records import append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.records.types import MetricRecord
from experiments.tables.quality_rows import quality_rows

ROOT = Path(__file__).resolve().parents[2]


def test_every_observation_is_a_row_with_its_numbers(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "A dog"}, [10.0], seeds=(0, 1), fail=[("b", 10.0, "litefocus")])
    append_record(tmp_path, timing(10.0, dense=[4.0, 6.0], litefocus=[2.0, 3.0]))
    frames = experiments.frames(tmp_path)
    assert len(frames.clips) == 2 * 2 * 3 - 2
    assert len(frames.failures) == 2
    assert frames.clips["latency_s"].dtype == frames.metrics["value"].dtype == np.float64
    assert frames.clips["seed"].dtype == frames.metrics["n_scored"].dtype == np.int64
    assert set(frames.clips["label"]) == set(METHODS.values())
    dense = frames.scores.query("method == 'dense' and seed == 1").set_index("prompt_id")["value"]
    assert dense.to_dict() == {"a": 0.0, "b": 0.01}
    steps = frames.timings.query("method == 'litefocus'")
    assert steps[["round", "latency_s"]].to_numpy().tolist() == [[0, 2.0], [1, 3.0]]


def test_the_newest_value_counts_and_the_course_within_a_clip_stands_apart(tmp_path):
    records = [
        run_record(["a"], [10.0]),
        value("dense", number=3.0),
        value("dense", number=2.5),
        value("dense", number=9.0, window=0),
        difference("litefocus", "dense", 0.5),
        metric("c", "litefocus", 10.0, value=math.nan),
    ]
    for record in [*records, *clips_behind(value("dense"))]:
        append_record(tmp_path, record)
    frames = experiments.frames(tmp_path)
    assert frames.metrics.query("metric == 'fad'")["value"].tolist() == [2.5]
    assert frames.windows[["window", "value"]].to_numpy().tolist() == [[0, 9.0]]
    assert frames.differences[["method", "baseline", "value"]].to_numpy().tolist() == [["litefocus", "dense", 0.5]]
    assert frames.metrics.query("metric == 'clap'")["value"].isna().all()


def test_frames_agree_with_the_tables(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [5.0, 10.0])
    frames = experiments.frames(tmp_path)
    rows = quality_rows(Run.load(tmp_path), "strict")
    shown = {(r.duration_s, r.method, m): v.value for r in rows for m, v in r.metrics.items()}
    framed = frames.metrics.set_index(["duration_s", "method", "metric"])["value"].to_dict()
    assert framed == shown
    assert len(shown) == 6


@pytest.mark.parametrize("scored", [8, 64])
def test_frames_have_the_intervals_that_the_tables_print(tmp_path, scored):
    """Recorded bounds of a percentile bootstrap, or of few prompts, are printed nowhere."""
    records = [run_record(["a"], [10.0]), value("dense", n_scored=scored), value("litefocus", "clap", n_scored=scored)]
    records += [value("dense", "kl", n_scored=scored, details={}), value("dense", window=1, n_scored=scored)]
    for record in [*records, *clips_behind(*records[1:])]:
        append_record(tmp_path, record)
    frames = experiments.frames(tmp_path)
    rows = quality_rows(Run.load(tmp_path), "strict")
    shown = {(r.method, m): (v.low, v.high) for r in rows for m, v in r.metrics.items()}
    framed = {(row.method, row.metric): (row.low, row.high) for row in frames.metrics.itertuples()}
    assert framed.keys() == shown.keys()
    assert all(framed[key] == pytest.approx(shown[key], nan_ok=True) for key in shown)
    assert math.isnan(framed["dense", "kl"][0])
    assert np.isfinite(framed["litefocus", "clap"]).all() == (scored == 64)
    assert np.isfinite(framed["dense", "fad"]).all()  # a distance between sets: six prompts do
    assert np.isfinite(frames.windows["low"]).all()


def test_a_benchmark_has_its_rounds():
    frames = experiments.frames(ROOT / "results" / "benchmark_cpu")
    assert set(frames.timings["level"]) >= {"op", "step"}
    again = frames.timings.groupby(["level", "regime", "duration_s", "method"])["round"].nunique()
    assert (again == frames.timings.groupby(["level", "regime", "duration_s", "method"]).size()).all()


def test_a_folder_without_records_says_so(tmp_path):
    with pytest.raises(ValueError, match="no records; give the folder of a run"):
        experiments.frames(tmp_path)
    with pytest.raises(FileNotFoundError, match="no run folder"):
        experiments.frames(tmp_path / "missing")


def test_earlier_settings_are_left_out(tmp_path):
    append_record(tmp_path, run_record(["a"], [10.0]))
    earlier = metric("dense_10s_9steps_g3.5", "dense", 10.0, value=0.9)
    make_run(tmp_path, {"a": "Rain"}, [10.0])
    newer = replace(run_record(["a"], [10.0], steps=2), run_id="s")
    for record in (*clips_behind(earlier), earlier, newer):
        append_record(tmp_path, record)
    assert len(of_kind(read_records(tmp_path), MetricRecord)) == 4
    assert len(experiments.frames(tmp_path).metrics) == 3


def test_the_package_alone_loads_no_pandas():
    code = "import sys, experiments; print(sorted({'pandas', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
