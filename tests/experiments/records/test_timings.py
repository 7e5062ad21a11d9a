"""Timings of several starts: which count together, and what their intervals are over."""

import math
from dataclasses import replace

import numpy as np
import pytest
from ratio_material import times_faster
from scipy.stats import gmean, ttest_1samp

from experiments.claims.claim import Claim, Endpoint
from experiments.claims.verdicts import measure_claims
from experiments.records import CellRecord, RoundRecord, RunRecord, TimingRecord, append_record
from experiments.records.run import Run
from experiments.stages.timing import is_timed
from experiments.tables.run_tables import all_tables
from experiments.tables.speed_rows import speed_rows
from experiments.trace import trace

CONFIG = {"timing": {"rounds": 2, "starts": 3, "baseline": "dense"}, "keep_freed_memory": False, "stages": ["timing"]}
PLACE = {"commit": "one", "dirty": False, "threads": 2, "device": "cpu", "dtype": "float32", "packages": {"torch": "2"}}
PIPELINE = {"name": "testbed", "sample_rate": 16000, "trained": True, "max_duration_s": 60, "licence": "MIT"}
METHODS = {name: {"name": name, "label": name.title(), "timing_only": False} for name in ("dense", "litefocus")}
LITE = {"one": [2.0, 1.0], "two": [4.0, 2.0], "three": [1.0, 1.0]}


def start(run_id, **changes):
    config, place = changes.pop("config", CONFIG), changes.pop("environment", PLACE)
    config = {"durations": [10.0], "methods": METHODS, **config}
    return replace(RunRecord(run_id, "2026-01-01T00:00:00+00:00", config, place, PIPELINE, []), **changes)


def timing(run_id, litefocus, duration_s=10.0):
    latencies = {"dense": [4.0, 4.0], "litefocus": litefocus, "no_attention": [1.0, 0.5]}
    labels = {name: name.title() for name in latencies}
    memory = dict.fromkeys(latencies, 1.0)
    return TimingRecord(run_id, duration_s, 2, 4, 4, "dense", "no_attention", labels, latencies, memory)


def three():
    return [record for run_id, lite in LITE.items() for record in (start(run_id), timing(run_id, lite))]


def litefocus(records):
    return next(row for row in speed_rows(Run(records)) if row.method == "litefocus")


def test_an_interval_is_over_the_starts_that_timed_a_length():
    row = litefocus(three())
    assert row.speedup == times_faster(*(gmean([4 / a, 4 / b]) for a, b in LITE.values()))
    assert row.step_s == 1.5  # the median of all six rounds
    shares = [(4 - gmean(lite)) / (4 - math.sqrt(0.5)) for lite in LITE.values()]
    interval = ttest_1samp(shares, 0).confidence_interval()
    assert row.share_of_limit == pytest.approx((np.mean(shares), interval.low, interval.high))


def test_a_single_timing_keeps_the_interval_over_its_rounds():
    assert litefocus([start("one"), timing("one", [2.0, 1.0])]).speedup == times_faster(2.0, 4.0)


def test_as_many_timings_count_as_the_newest_start_pools():
    two = {**CONFIG, "timing": {**CONFIG["timing"], "starts": 2}}
    records = three()
    records[4] = start("three", config=two)
    assert [t.run_id for t in Run(records).timings[10.0]] == ["two", "three"]
    records[4] = start("three", config={**CONFIG, "timing": {"rounds": 2, "baseline": "dense"}})  # before the setting
    assert [t.run_id for t in Run(records).timings[10.0]] == ["three"]
    assert litefocus(records).step_s == 1.0


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"environment": {**PLACE, "commit": "two", "dirty": True}}, True),
        ({"environment": {**PLACE, "threads": 1}}, False),
        ({"config": {**CONFIG, "keep_freed_memory": True}}, False),
        ({"config": {**CONFIG, "timing": {**CONFIG["timing"], "rounds": 5}}}, False),
        ({"pipeline": {**PIPELINE, "name": "another"}}, False),
    ],
)
def test_only_timings_taken_alike_count_together(changed, counts):
    records = three()
    records[0] = start("one", **changed)
    assert [t.run_id for t in Run(records).timings[10.0]] == [*(["one"] if counts else []), "two", "three"]


def test_other_arms_and_lengths_count_apart():
    records = three()
    fewer = records[1].latencies_s | {}
    del fewer["no_attention"]
    records[1] = replace(records[1], latencies_s=fewer)
    records.append(timing("three", [1.0, 1.0], duration_s=5.0))
    assert {d: [t.run_id for t in found] for d, found in Run(records).timings.items()} == {
        5.0: ["three"],
        10.0: ["two", "three"],
    }


def test_a_start_times_a_length_until_there_are_enough():
    arms = dict.fromkeys(timing("one", [1.0, 1.0]).latencies_s)
    records = three()
    for enough in range(3):
        assert not is_timed(records[: 2 * enough], 10.0, arms, CONFIG, PLACE)
    assert is_timed(records, 10.0, arms, CONFIG, PLACE)
    more = {**CONFIG, "timing": {**CONFIG["timing"], "starts": 4}}
    assert not is_timed(records, 10.0, arms, more, PLACE)
    assert not is_timed(records, 10.0, arms, CONFIG, {**PLACE, "commit": "two"})  # the code may be faster now


def test_claims_and_traces_name_every_start(tmp_path):
    (tmp_path / "run").mkdir()
    for record in three():
        append_record(tmp_path / "run", record)
    place = Endpoint("run", "speed", "10 litefocus", "speedup")
    claim = Claim("a", "ours", "a sentence", place, "somewhere", "a command", above=1.2)
    (found,) = measure_claims([claim], tmp_path)
    speedups = [gmean([4 / a, 4 / b]) for a, b in LITE.values()]
    assert found.measured.value == pytest.approx(gmean(speedups), rel=1e-4)
    assert found.measured.p == pytest.approx(ttest_1samp(np.log(speedups), math.log(1.2)).pvalue, rel=1e-4)
    assert (found.measured.count, found.measured.of, found.measured.starts) == (3, "starts", ["one", "three", "two"])
    lines = trace(tmp_path / "run", "speed", "10 litefocus", "speedup")
    assert [line.split(", start ")[1] for line in lines if line.startswith("record:")] == ["one", "two", "three"]


def test_rounds_of_a_benchmark_that_was_resumed_are_rounds(tmp_path):
    """Two starts, three rounds: the cell is one, and its interval is over rounds."""
    (tmp_path / "run").mkdir()
    labels = {"dense": "Dense", "litefocus": "LiteFocus"}
    cell = CellRecord("one", "step", 10.0, "eager", 2, 1, "dense", "", labels, [], {}, {}, {}, {}, {}, "")
    rounds = [("one", 2.0), ("two", 1.0), ("two", 2.0)]
    timed = [
        RoundRecord(run_id, "step", 10.0, "eager", {"dense": 4.0, "litefocus": lite}, {}, 1.0, 0.1)
        for run_id, lite in rounds
    ]
    for record in (start("one"), start("two"), cell, *timed):
        append_record(tmp_path / "run", record)
    place = Endpoint("run", "step_eager_speedup", "LiteFocus", "speedup_10s")
    (found,) = measure_claims([Claim("a", "ours", "a sentence", place, "here", "a command", above=1.2)], tmp_path)
    assert (found.measured.count, found.measured.of, found.measured.starts) == (3, "rounds", ["one", "two"])
    assert found.measured.value == pytest.approx(gmean([2.0, 4.0, 2.0]), rel=1e-4)


def test_two_timings_of_one_start_are_no_two_starts():
    repeated = [start("one"), timing("one", [2.0, 2.0]), timing("one", [4.0, 2.0])]
    assert [t.latencies_s["litefocus"] for t in Run(repeated).timings[10.0]] == [[4.0, 2.0]]


def test_the_table_says_how_many_starts():
    (table,) = (t for t in all_tables(Run(three())).values() if t.name == "speed")
    assert "Timed by 3 starts, 2 rounds each." in table.notes
    (table,) = (t for t in all_tables(Run(three()[:2])).values() if t.name == "speed")
    assert not [note for note in table.notes if note.startswith("Timed by")]
