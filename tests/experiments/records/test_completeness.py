"""A folder holds what its records speak of: the start of every number, and the clips behind every score."""

import re
from dataclasses import replace

import pytest
from listen_material import clip, failure, metric, run_record, timing

from experiments.records import append_record
from experiments.records.run import Run

NAME = "dense_10s_2steps_g3.5"
FIRST, SECOND = "records.shard-00-of-02.jsonl", "records.shard-01-of-02.jsonl"


def clip_of(prompt, run_id="r"):
    return replace(clip(NAME, "dense", 10, prompt, "Rain", 0, f"audio/{NAME}/{prompt}_0.wav", b""), run_id=run_id)


def refused(folder):
    with pytest.raises(ValueError, match=re.escape(f"{folder}: ")) as caught:
        Run.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_measurement_of_no_start_is_refused_by_name(tmp_path):
    append_record(tmp_path, run_record(["a"], [10.0]))
    append_record(tmp_path, timing(dense=[1.0]))
    assert len(Run.load(tmp_path).records) == 2
    append_record(tmp_path, replace(timing(dense=[2.0]), run_id="elsewhere"))
    assert "a timing record is of the start 'elsewhere', which has no record" in refused(tmp_path)


def test_clips_of_no_start_are_read_and_told(tmp_path, caplog):
    for record in (run_record(["a", "b"], [10.0]), clip_of("a"), clip_of("b", "lost")):
        append_record(tmp_path, record)
    assert len(Run.load(tmp_path).records) == 3
    assert "commit and machine of 1 clips are unknown (start lost)" in caplog.text


def test_a_score_of_more_clips_than_are_recorded_names_the_shard_that_is_missing(tmp_path):
    append_record(tmp_path, run_record(["a", "b"], [10.0]))
    append_record(tmp_path, metric(NAME, "dense", 10, n_scored=2))
    append_record(tmp_path, clip_of("a"), FIRST)
    append_record(tmp_path, clip_of("b"), SECOND)
    assert len(Run.load(tmp_path).records) == 4
    (tmp_path / SECOND).rename(tmp_path / "elsewhere")
    assert f"clap of {NAME} is of 2 clips, the records hold 1 of them; {SECOND} is missing" in refused(tmp_path)
    (tmp_path / FIRST).unlink()
    assert "the records hold 0 of them; restore the folder's record files" in refused(tmp_path)


def test_a_clip_that_was_scored_and_failed_when_it_was_made_again_is_no_missing_one(tmp_path):
    again = replace(run_record(["a"], [10.0]), run_id="again", number=1)
    lost = replace(failure(NAME, "dense", 10, "a", 0), run_id="again")
    for record in (run_record(["a"], [10.0]), clip_of("a"), metric(NAME, "dense", 10, n_scored=1), again, lost):
        append_record(tmp_path, record)
    assert len(Run.load(tmp_path).records) == 4
