"""Records survive being cut, refuse what they do not know, and come back as they were written."""

import json
import math
import re
from dataclasses import asdict, replace

import pytest
from listen_material import metric, run_record, timing
from probe_material import attention, loss, probe_run

from experiments.datasets.prompts import safe_id
from experiments.records import (
    RECORD_TYPES,
    RECORDS_FILE,
    ClipRecord,
    FailureRecord,
    MetricRecord,
    RecordError,
    RoundRecord,
    append_record,
    of_kind,
    parse_record,
    read_records,
)
from experiments.records.audio_path import audio_path
from experiments.records.fields import shown

CLIP = ClipRecord(
    run_id="r",
    condition="dense_1s_2steps_g3.5",
    method="dense",
    duration_s=1.0,
    steps=2,
    guidance=3.5,
    prompt_id="a",
    caption='rain, "wind"\u2028 and <b>',
    seed=0,
    audio="audio/dense_1s_2steps_g3.5/a_0.wav",
    sha256="0" * 64,
    sample_rate=16000,
    samples=16000,
    latency_s=0.5,
    step_s=float("nan"),
    decode_s=0.1,
)
FAILURE = FailureRecord("r", "timing", "", "naive", 80.0, "needs 30 GiB")


def test_records_come_back_as_written_one_line_each(tmp_path, caplog):
    append_record(tmp_path, FAILURE)
    append_record(tmp_path, CLIP)
    first, second = read_records(tmp_path)
    assert first == FAILURE
    assert math.isnan(second.step_s)
    assert second.caption == CLIP.caption
    assert len((tmp_path / RECORDS_FILE).read_bytes().splitlines()) == 2
    assert caplog.text == "", "a whole line must not be taken for a cut one"


def test_records_are_not_changed_after_the_fact_and_a_value_is_the_headline_unless_said_otherwise():
    assert RECORD_TYPES.keys() == {
        "run", "probe_run", "score_run", "clip", "failure", "timing", "cell", "round", "metric", "probe_loss",
        "attention", "embeddings",
    }  # fmt: skip
    for cls in RECORD_TYPES.values():
        assert cls.__dataclass_params__.frozen, cls
    value = MetricRecord("r", "c", "dense", 1.0, "strict", "fad", 2.0, 1.0, 3.0, 8, 0, "clip", False)
    assert (value.window, value.baseline, value.details) == (-1, "", {})


def test_every_id_that_prompts_make_can_be_read_back(tmp_path):
    ids = ["-0xzrMun0Rs", "_a", "--", "0"]
    assert [safe_id(name) for name in ids] == ids
    for name in ids:
        append_record(tmp_path, replace(CLIP, prompt_id=name, audio=audio_path(CLIP.condition, name, 0), step_s=0.1))
    assert [record.prompt_id for record in read_records(tmp_path)] == ids


def test_what_no_reader_accepts_is_not_written(tmp_path):
    append_record(tmp_path, FAILURE)
    for change in ({"prompt_id": ".."}, {"audio": "../a.wav"}, {"caption": None}):
        with pytest.raises(ValueError, match=f"validation error for ClipRecord\n{next(iter(change))}\n"):
            replace(CLIP, **change)
    hidden = MetricRecord("r", "c", "m", 1.0, "p", "fad", 1.0, 0.0, 2.0, 1, 0, "clip", None, details={"x": ["\ud800"]})
    for half in (hidden, replace(CLIP, caption="a\ud800")):
        with pytest.raises(RecordError, match=f"{RECORDS_FILE}, not written: not a JSON record .*surrogates"):
            append_record(tmp_path, half)
    assert read_records(tmp_path) == [FAILURE]


def test_an_empty_file_is_written_to(tmp_path, caplog):
    (tmp_path / RECORDS_FILE).touch()
    append_record(tmp_path, FAILURE)
    assert read_records(tmp_path) == [FAILURE]
    assert caplog.text == ""


def test_what_is_cut_off_is_counted_in_bytes(tmp_path, caplog):
    append_record(tmp_path, FAILURE)
    with (tmp_path / RECORDS_FILE).open("ab") as file:
        file.write(b'{"schema')
    append_record(tmp_path, FAILURE)
    assert ": 8 bytes of an unfinished record" in caplog.text
    caplog.clear()
    # The whole file is one unfinished record of one byte.
    (tmp_path / RECORDS_FILE).write_bytes(b"{")
    append_record(tmp_path, FAILURE)
    assert ": 1 bytes of an unfinished record" in caplog.text
    assert read_records(tmp_path) == [FAILURE]


def test_of_several_records_about_one_clip_the_newest_counts(tmp_path):
    missed = replace(FAILURE, stage="generate", condition=CLIP.condition, prompt_id=CLIP.prompt_id)
    other = replace(CLIP, seed=1, audio=audio_path(CLIP.condition, "a", 1))
    again = replace(CLIP, latency_s=0.25, step_s=0.1)
    for record in (missed, FAILURE, missed, other, replace(CLIP, step_s=0.1), again):
        append_record(tmp_path, record)
    found = read_records(tmp_path)
    assert [record for record in found if not isinstance(record, ClipRecord)] == [FAILURE]
    assert [(clip.seed, clip.latency_s) for clip in of_kind(found, ClipRecord)] == [(1, 0.5), (0, 0.25)]
    append_record(tmp_path, replace(missed, run_id="later"))
    assert read_records(tmp_path)[-1] == replace(missed, run_id="later")
    assert [clip.seed for clip in of_kind(read_records(tmp_path), ClipRecord)] == [1]


def exchanged(one, two):
    """The wavs of two lines, with their hashes, in each other's place."""
    for key in ("audio", "sha256"):
        one[key], two[key] = two[key], one[key]


def both_the_first(one, two):
    two["audio"], two["sha256"] = one["audio"], one["sha256"]


@pytest.mark.parametrize("change", [exchanged, both_the_first])
def test_a_clip_record_that_points_at_the_wav_of_another_condition_is_refused(tmp_path, change):
    lite = "litefocus_1s_2steps_g3.5"
    other = replace(CLIP, condition=lite, method="litefocus", audio=audio_path(lite, "a", 0), sha256="1" * 64)
    lines = [{"schema": 1, "kind": "clip", **asdict(clip)} for clip in (CLIP, other)]
    change(*lines)
    (tmp_path / RECORDS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    message = (
        rf"{RECORDS_FILE}:\d: a clip record has audio 'audio/\w+_1s.*/a_0.wav'; that of its condition, prompt and seed "
    )
    with pytest.raises(RecordError, match=message):
        read_records(tmp_path)


@pytest.mark.parametrize(("value", "ok"), [(0.5, True), (0.5 + 1e-12, True), (0.51, False), (math.nan, False)])
def test_a_value_is_the_mean_of_its_clips_or_the_record_is_refused(value, ok):
    """A number changed by hand would stand in a table above intervals and claims of another one."""
    record = metric("c", "dense", 1.0, per_clip={"a_0": 0.25, "b_0": 0.75})
    line = {"schema": 1, "kind": "metric", **asdict(record), "value": value}
    if ok:
        assert parse_record(line).value == value
    else:
        with pytest.raises(RecordError, match="has value .* where the mean of its per_clip is 0.5; restore the file"):
            parse_record(line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": 0.7, "high": 0.3}, "an interval from 0.7 to 0.3"),
        ({"n_scored": 20}, "n_scored 20 where its per_clip has 2 values of 2 clips"),
        ({"n_references": -3}, "n_references is -3 in a metric record"),
        ({"duration_s": math.nan}, "duration_s is nan in a metric record"),
        ({"duration_s": -0.64}, "duration_s is -0.64 in a metric record"),
    ],
)
def test_a_metric_that_contradicts_itself_is_refused(change, message):
    line = {"schema": 1, "kind": "metric", **asdict(metric("c", "dense", 1.0, per_clip={"a_0": 0.25, "b_0": 0.75}))}
    assert parse_record(line)
    with pytest.raises(RecordError, match=f"{message}.*; restore the file or delete that line"):
        parse_record({**line, **change})


@pytest.mark.parametrize("node", [{"timing": "x"}, {"metrics": "x"}, {"data": 3}, {"stages": None}, {"timing": None}])
def test_a_start_whose_settings_no_table_could_read_is_refused(node):
    line = {"schema": 1, "kind": "run", **asdict(run_record(["a"], [1.0]))}
    assert parse_record(line)
    with pytest.raises(RecordError, match=rf"config.{next(iter(node))}.* is .* in a run record"):
        parse_record({**line, "config": {**line["config"], **node}})


def test_an_empty_folder_has_no_records(tmp_path):
    assert read_records(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=rf"^no run folder at .*/{name}; give the folder of a run, .*$"):
            read_records(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_line_cut_by_a_kill_is_left_out_and_then_overwritten(tmp_path, kept, caplog):
    failures = [replace(FAILURE, seed=seed) for seed in range(kept + 1)]
    for failure in failures[:kept]:
        append_record(tmp_path, failure)
    path = tmp_path / RECORDS_FILE
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "kind": "cl')
    assert read_records(tmp_path) == failures[:kept]
    assert "left out" in caplog.text
    append_record(tmp_path, failures[kept])
    assert read_records(tmp_path) == failures
    assert "cut off" in caplog.text


def test_of_identical_lines_one_counts_and_the_others_are_told(tmp_path, caplog):
    round_of = RoundRecord("r", "step", 80.0, "eager", {"dense": 1.0}, {"dense": None}, 100.0, 0.5)
    rounds = [round_of, replace(round_of, latencies_s={"dense": 2.0})]
    for record in rounds:
        append_record(tmp_path, record)
    whole = tmp_path / RECORDS_FILE
    (tmp_path / "records.shard-00-of-02.jsonl").write_bytes(whole.read_bytes())
    assert read_records(tmp_path) == rounds
    assert "shard-00-of-02.jsonl: 2 lines are copies of earlier ones and are left out" in caplog.text
    whole.write_bytes(whole.read_bytes() * 2)
    assert read_records(tmp_path) == rounds


@pytest.mark.parametrize(
    "name", ["records.shard-00-of-02 (copy).jsonl", "records (1).jsonl", "records.shard-x-of-02.jsonl"]
)
def test_a_file_that_is_only_named_like_one_of_records_is_refused(tmp_path, name):
    append_record(tmp_path, FAILURE)
    append_record(tmp_path, CLIP, "records.shard-00-of-02.jsonl")
    assert len(read_records(tmp_path)) == 2
    (tmp_path / name).write_bytes((tmp_path / RECORDS_FILE).read_bytes())
    with pytest.raises(RecordError, match=f"{re.escape(name)}: no name of a record file; accepted are .* delete it"):
        read_records(tmp_path)


def test_damage_inside_the_file_is_named_with_its_line(tmp_path):
    append_record(tmp_path, FAILURE)
    path = tmp_path / RECORDS_FILE
    path.write_bytes(path.read_bytes() + b"not json\n")
    with pytest.raises(RecordError, match=rf"{RECORDS_FILE}:2: not a JSON record"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "got schema version 99, this program reads 1"),
        ({"schema": None}, "got schema version None"),
        (
            {"kind": "rumour"},
            "got kind 'rumour', accepted: attention, cell, clip, embeddings, failure, metric",
        ),
        ({"extra": 1}, r"unknown fields \['extra'\]"),
        ({"reason": ...}, "incomplete failure record"),
        ({"duration_s": "x"}, "duration_s is 'x' in a failure record, accepted is a valid number"),
        ({"method": ".."}, r"method is '\.\.' in a failure record, which is no safe name"),
    ],
)
def test_unknown_records_are_refused(tmp_path, change, message):
    append_record(tmp_path, FAILURE)
    data = json.loads((tmp_path / RECORDS_FILE).read_text())
    data.update(change)
    data = {key: value for key, value in data.items() if value is not ...}
    with pytest.raises(RecordError, match=message):
        parse_record(data)


@pytest.mark.parametrize("change", [{"kind": "k" * 10**6}, {"schema": ["s" * 10**6]}, {"f" * 10**6: 1}])
def test_a_value_of_any_size_gives_a_short_message(change):
    with pytest.raises(RecordError) as caught:
        parse_record({"schema": 1, "kind": "failure", **change})
    assert len(str(caught.value)) < 500


def test_a_value_of_eighty_characters_is_shown_whole():
    assert [shown("x" * 78), shown("x" * 79)] == [f"'{'x' * 78}'", f"'{'x' * 76}..."]


@pytest.mark.parametrize("data", [[], "text", 3, None])
def test_a_record_is_an_object(data):
    with pytest.raises(RecordError, match="a record is a JSON object"):
        parse_record(data)


def test_of_kind_keeps_order():
    assert of_kind([CLIP, FAILURE, CLIP], FailureRecord) == [FAILURE]


ROUND = RoundRecord("r", "step", 80.0, "eager", {"dense": 1.0}, {"dense": None}, 100.0, 0.5)
SCORE = MetricRecord("r", "c", "dense", 1.0, "strict", "fad", 2.0, 1.0, 3.0, 8, 0, "clip", False)


def lines_of(record):
    return {"schema": 1, "kind": record.kind, **asdict(record)}


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        (run_record(["a"], [1.0]), {"environment": {}}, r"incomplete run record \(no environment.commit\)"),
        (run_record(["a"], [1.0]), {"pipeline": {}}, r"incomplete run record \(no pipeline.name\)"),
        (run_record(["a"], [1.0]), {"config": {"methods": {"a": {}}}}, r"\(no config.methods.a.name\)"),
        (run_record(["a"], [1.0]), {"config": {"durations": [1.0]}}, "which asks for clips and does not say seeds"),
        (probe_run(), {"config": {}}, r"incomplete probe_run record \(no config.methods\)"),
        (attention(), {"structure": {}}, r"incomplete attention record \(no structure.site\)"),
        (
            attention(),
            {"structure": {**attention().structure, "uniform_same_frequency": 0.0}},
            "structure.uniform_same_frequency is 0.0 in an? attention record, accepted is greater than 0",
        ),
        (ROUND, {"latencies_s": {"dense": 0.0}}, "latencies_s.dense is 0.0 in a round record, accepted is greater"),
        (ROUND, {"latencies_s": {"dense": -1.0}}, "latencies_s.dense is -1.0"),
        (ROUND, {"latencies_s": {"dense": math.nan}}, "latencies_s.dense is nan"),
        (ROUND, {"probe_gflops": 0.0}, "probe_gflops is 0.0"),
        (timing(dense=[1.0]), {"latencies_s": {"dense": [1e308]}}, r"latencies_s.dense.0 is 1e\+308"),
        (timing(dense=[1.0]), {"latencies_s": {"dense": [math.inf]}}, "latencies_s.dense.0 is inf"),
        (SCORE, {"details": {"per_clip": [1.0]}}, r"details.per_clip is \[1.0\]"),
        (SCORE, {"details": {"per_clip": "abc"}}, "details.per_clip is 'abc'"),
        (SCORE, {"details": {"per_clip": {"a": None}}}, "details.per_clip.a is None"),
        (SCORE, {"details": {"candidates": 0}}, "details.candidates is 0"),
        (SCORE, {"n_scored": -5}, "n_scored is -5"),
        (loss("dense", [1.0, 2.0]), {"losses": [1.0]}, "a probe_loss record has other than one of its losses for each"),
        (loss("dense", [1.0, 2.0]), {"clip_ids": ["a", "a"]}, "a probe_loss record has other than one of its losses"),
    ],
)
def test_what_tables_cannot_read_is_refused_with_its_line(tmp_path, record, change, message):
    append_record(tmp_path, record)
    (before,) = read_records(tmp_path)
    assert lines_of(before) == lines_of(record)
    path = tmp_path / RECORDS_FILE
    path.write_text(json.dumps({**lines_of(record), **change}) + "\n")
    with pytest.raises(RecordError, match=rf"{RECORDS_FILE}:1: .*{message}.*; restore the file or delete that line$"):
        read_records(tmp_path)
