"""Clips that were made again after they were scored: the tables show no score of wavs that are no longer there."""

from dataclasses import replace

import pytest
from listen_material import METHODS, clip, metric, run_record
from quality_material import DENSE, LITE

from experiments.records import FailureRecord, MetricRecord, append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.tables.quality_rows import quality_rows
from experiments.tables.speed_rows import speed_rows
from experiments.trace import trace

CONDITION = {name: f"{name}_10s_2steps_g3.5" for name in (DENSE, LITE)}


def start(run_dir, run_id, number):
    record = run_record(["a", "b"], [10.0], {name: METHODS[name] for name in (DENSE, LITE)}, steps=2)
    append_record(run_dir, replace(record, run_id=run_id, number=number))


def make(run_dir, method, run_id="one", content=b"x", seed=0, prompts="ab"):
    for prompt in prompts:
        audio = f"audio/{CONDITION[method]}/{prompt}_{seed}.wav"
        made = clip(CONDITION[method], method, 10.0, prompt, "Rain", seed, audio, content)
        append_record(run_dir, replace(made, run_id=run_id))


def score(run_dir, method, run_id="one", baseline=""):
    details = {"baseline_condition": CONDITION[baseline]} if baseline else {}
    found = metric(CONDITION[method], method, 10.0, "fad", baseline=baseline, details=details, n_scored=2)
    append_record(run_dir, replace(found, run_id=run_id))


@pytest.fixture
def scored(tmp_path):
    start(tmp_path, "one", 1)
    for method in (DENSE, LITE):
        make(tmp_path, method)
    score(tmp_path, DENSE)
    score(tmp_path, LITE)
    score(tmp_path, LITE, baseline=DENSE)
    start(tmp_path, "two", 2)
    return tmp_path


def shown(run_dir):
    return [(m.run_id, m.method, m.baseline) for m in of_kind(read_records(run_dir), MetricRecord)]


ALL = [("one", DENSE, ""), ("one", LITE, ""), ("one", LITE, DENSE)]
REASON = "scored before 2 clips were made again; run stages=[score,report]"


@pytest.mark.parametrize(("again", "left"), [(LITE, ALL[:1]), (DENSE, ALL[1:2])])
def test_scores_of_clips_that_were_made_again_are_left_out_and_the_row_says_so(scored, again, left):
    make(scored, again, "two", b"other")
    assert shown(scored) == left
    run = Run.load(scored)
    notes = {row.method: row.note for row in quality_rows(run, "strict")}
    assert notes[again] == f"no FAD: score: {REASON}"
    assert "made again" not in notes[LITE if again == DENSE else DENSE]
    assert {row.method: row.note for row in speed_rows(run)}[again] == f"score: {REASON}"
    with pytest.raises(ValueError, match="comes of no record of a score"):
        trace(scored, "quality", f"10 {again}", "fad")


def test_a_shards_clips_count_by_the_number_of_their_start(scored):
    for line in (scored / "records.jsonl").read_text().splitlines(keepends=True)[-1:]:
        (scored / "records.shard-00-of-02.jsonl").write_text(line.replace('"two"', '"shard"'))
    audio = f"audio/{CONDITION[LITE]}/a_0.wav"
    made = replace(clip(CONDITION[LITE], LITE, 10.0, "a", "Rain", 0, audio, b"other"), run_id="shard")
    append_record(scored, made, "records.shard-00-of-02.jsonl")
    assert shown(scored) == ALL[:1]
    assert [f.reason for f in of_kind(read_records(scored), FailureRecord)] == [
        REASON.replace("2 clips were", "1 clip was")
    ]


def test_scored_again_they_are_shown_and_nothing_is_left_to_say(scored):
    make(scored, LITE, "two", b"other")
    for baseline in ("", DENSE):
        score(scored, LITE, "two", baseline)
    assert shown(scored) == [ALL[0], ("two", LITE, ""), ("two", LITE, DENSE)]
    assert of_kind(read_records(scored), FailureRecord) == []


def test_the_same_bits_again_and_clips_that_are_new_leave_the_scores(scored):
    make(scored, LITE, "two")
    make(scored, LITE, "two", b"new", seed=1)
    make(scored, LITE, "two", b"other", prompts="a")
    start(scored, "three", 3)
    make(scored, LITE, "three", prompts="a")  # and back to what was scored
    assert shown(scored) == ALL
    assert of_kind(read_records(scored), FailureRecord) == []
