"""The table over several runs: a record file that somebody submits appears in it, with its own verdict."""

from dataclasses import replace

import pytest
from listen_material import METHODS, clip, run_record, timing
from quality_material import clips_behind, difference, value
from ratio_material import times_faster

from experiments.leaderboard import KEYS, leaderboard
from experiments.readme import fill_blocks
from experiments.records import append_record

BLOCK = "<!-- results:leaderboard -->\n<!-- /results:leaderboard -->"


def submit(results, *records, name="mine", **config):
    folder = results / "submitted" / name
    folder.mkdir(parents=True)
    append_record(folder, run_record(["a"], [80.0], timing={"baseline": "dense"}, **config))
    for record in records:
        append_record(folder, record)
    return folder


def timed(**latencies):
    return replace(timing(80.0, **latencies), labels={name: name for name in latencies})


def shown(results):
    return [dict(zip(KEYS, row, strict=True)) for row in leaderboard(results).rows]


def test_a_submitted_record_file_appears_in_the_document(tmp_path):
    before = fill_blocks(BLOCK, tmp_path)
    submit(tmp_path, timed(dense=[4.0, 6.0], litefocus=[2.0, 2.0], no_attention=[1.0, 1.0], dense_again=[4.0, 6.0]))
    text = fill_blocks(BLOCK, tmp_path)
    assert "submitted/mine" in text
    assert "submitted/mine" not in before
    dense, lite = sorted(shown(tmp_path), key=lambda row: -row["seconds"])
    assert [row["method"] for row in (dense, lite)] == ["dense", "litefocus"]  # neither the limit nor the repetition
    assert (lite["seconds"], lite["of"]) == (2.0, "step")
    assert (lite["speedup"].value, lite["speedup"].low, lite["speedup"].high) == times_faster(2.0, 3.0)
    assert (lite["commit"], lite["date"]) == ("0123456789ab", "2026-11-23")


def test_a_benchmark_without_a_limit_keeps_its_methods(tmp_path):
    submit(tmp_path, replace(timed(dense=[4.0], litefocus=[2.0]), limit=""))
    assert {row["method"] for row in shown(tmp_path)} == {"dense", "litefocus"}


@pytest.mark.parametrize(
    ("margins", "number", "said"),
    [
        ({"fad": 0.5}, 0.3, "within the margin"),
        ({"fad": 0.5}, 0.45, "not shown: FAD"),  # better than the margin, but not by its interval
        ({}, 0.3, "no margin"),
        ({"kl": 1.0}, 0.3, "not scored"),  # of the metric that has a margin there is no score
    ],
)
def test_quality_is_judged_by_the_margins_of_the_run_itself(tmp_path, margins, number, said):
    plain = value("litefocus", duration=80)
    scores = [plain, difference("litefocus", "dense", number, duration=80)]
    records = [timed(dense=[4.0], litefocus=[2.0]), *clips_behind(*scores), *scores]
    submit(tmp_path, *records, metrics={"margins": margins})
    assert {row["method"]: row["quality"] for row in shown(tmp_path)} == {"dense": "baseline", "litefocus": said}


def test_clips_count_where_no_step_was_timed_and_the_longest_length_up_to_80_s_alone(tmp_path):
    clips = [
        clip(f"{method}_{length}", method, length, "a", "Rain", 0, f"audio/{method}_{length}/a_0.wav", b"")
        for method in METHODS
        for length in (10, 50, 80, 160)
    ]
    submit(tmp_path, *clips)
    rows = shown(tmp_path)
    assert {(row["duration_s"], row["of"], row["seconds"]) for row in rows} == {(80.0, "2 steps", 0.9)}
    assert {row["method"] for row in rows} == set(METHODS.values())


def test_short_clips_do_not_take_part(tmp_path):
    submit(tmp_path, clip("c", "dense", 10, "a", "Rain", 0, "audio/c/a_0.wav", b""))
    assert shown(tmp_path) == []


def test_a_folder_of_shards_alone_takes_part(tmp_path):
    folder = submit(tmp_path, timed(dense=[4.0], litefocus=[2.0]))
    (folder / "records.jsonl").rename(folder / "records.shard-00-of-01.jsonl")
    assert {row["method"] for row in shown(tmp_path)} == {"dense", "litefocus"}


def test_what_is_no_record_file_is_named(tmp_path):
    folder = submit(tmp_path, timed(dense=[4.0], litefocus=[2.0]))
    (folder / "records.jsonl").write_text('{"schema": 1, "kind": "clip"}\n')
    with pytest.raises(ValueError, match="submitted/mine/records.jsonl:1"):
        leaderboard(tmp_path)
    whole = submit(tmp_path, name="another")
    (whole / "records.jsonl").write_text("")
    (folder / "records.jsonl").unlink()
    append_record(folder, timed(dense=[4.0], litefocus=[2.0]))
    with pytest.raises(ValueError, match="submitted/mine: a timing record is of the start 'r', which has no record"):
        leaderboard(tmp_path)
