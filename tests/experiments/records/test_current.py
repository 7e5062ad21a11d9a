"""One folder, several starts: what the tables show of clips made with other settings, or scored before more came."""

from dataclasses import replace

import pytest
from listen_material import METHODS, clip, run_record, timing
from quality_material import DENSE, LITE, value

from experiments.records import ClipRecord, FailureRecord, MetricRecord
from experiments.records.current import current, left_out
from experiments.records.run import Run
from experiments.tables.lever_table import lever_table
from experiments.tables.quality_rows import differences, is_best, quality_rows
from experiments.tables.quality_tables import result_tables
from experiments.tables.speed_rows import speed_rows

pytestmark = pytest.mark.usefixtures("intervals_of_few_clips")
PAIR = {name: METHODS[name] for name in (DENSE, LITE)}


def start(run_id, steps=200, seeds=(0,), **config):
    record = run_record(["a", "b"], [10.0], PAIR, seeds, steps=steps, timing={"baseline": DENSE}, **config)
    return replace(record, run_id=run_id)


def clips(method, steps=200, seeds=(0,), latency=100.0):
    condition = f"{method}_10s_{steps}steps_g3.5"
    for prompt in "ab":
        for seed in seeds:
            audio = f"audio/{condition}/{prompt}_{seed}.wav"
            made = clip(condition, method, 10.0, prompt, "Rain", seed, audio, b"x")
            yield replace(made, steps=steps, latency_s=latency)


def score(method, number, steps=200, n=2, run_id="one", **changes):
    record = value(method, number=number, n_scored=n, **changes)
    return replace(record, condition=f"{method}_10s_{steps}steps_g3.5", run_id=run_id)


COMPLETE = [
    start("one"),
    *clips(DENSE),
    *clips(LITE),
    score(DENSE, 2.0),
    score(LITE, 1.0),
    score(LITE, -1.0, baseline=DENSE, half=0.5),
]


def best(records):
    rows, paired = quality_rows(Run(records), "strict"), differences(Run(records), "strict")
    return [row.method for row in rows if is_best(row, "fad", rows, paired)]


def notes(records):
    return {row.method: row.note for row in quality_rows(Run(records), "strict")}


def test_a_complete_folder_has_its_difference_and_no_notes():
    assert best(COMPLETE) == [LITE]
    assert notes(COMPLETE) == {DENSE: "", LITE: ""}
    assert current(COMPLETE) == COMPLETE
    assert left_out(COMPLETE) == {}


def test_scores_of_before_more_clips_came_say_so_and_decide_nothing():
    more = [*COMPLETE, start("two", seeds=(0, 1, 2)), *clips(DENSE, seeds=(1, 2)), *clips(LITE, seeds=(1, 2))]
    expected = "4 of 6 clips not scored yet: run stages=[score]"
    assert notes(more) == {DENSE: expected, LITE: expected}
    assert best(more) == []
    assert differences(Run(more), "strict") == {}
    assert not any(table.name.startswith(("difference", "power")) for table in result_tables(Run(more)))
    assert [row.metrics["fad"].value for row in quality_rows(Run(more), "strict")] == [2.0, 1.0]
    # Scored again, the clips that could not be scored counted.
    again = [*more, score(DENSE, 3.0, n=6), score(LITE, 2.0, n=5, n_failed=1)]
    again.append(score(LITE, -1.0, n=5, n_failed=1, baseline=DENSE, half=0.5))
    assert best(again) == [LITE]
    assert notes(again) == {DENSE: "", LITE: "1 of 6 clips not scored"}


def test_a_value_of_the_best_of_several_clips_has_seen_all_of_them():
    more = [*COMPLETE, start("two", seeds=(0, 1, 2)), *clips(DENSE, seeds=(1, 2)), *clips(LITE, seeds=(1, 2))]
    best_of = {"details": {"candidates": 3}}
    again = [*more, score(DENSE, 3.0, **best_of), score(LITE, 2.0, **best_of)]
    again.append(score(LITE, -1.0, baseline=DENSE, half=0.5, **best_of))
    assert notes(again) == {DENSE: "", LITE: ""}
    assert best(again) == [LITE]


def test_a_difference_that_covers_one_side_only_is_left_out():
    more = [*COMPLETE, start("two", seeds=(0, 1)), *clips(LITE, seeds=(1,)), score(LITE, 1.0, n=4)]
    assert notes(more) == {DENSE: "2 of 4 clips not generated", LITE: ""}
    assert differences(Run(more), "strict") == {}


def test_clips_of_earlier_steps_are_left_out_of_every_number_and_the_note_says_so():
    mixed = [*COMPLETE, start("two", steps=10), *clips(DENSE, 10, latency=5.0), score(DENSE, 9.0, 10, run_id="two")]
    outside = "clips of 200 steps, guidance 3.5 left out: run again with those settings to show them"
    rows = {row.method: row for row in quality_rows(Run(mixed), "strict")}
    assert rows[DENSE].metrics["fad"].value == 9.0
    assert rows[LITE].metrics == {}
    assert rows[DENSE].note == outside
    assert rows[LITE].note == f"no FAD: no clips generated; {outside}"
    assert best(mixed) == []
    assert differences(Run(mixed), "strict") == {}
    speeds = {row.method: (row.clip_s, row.note) for row in speed_rows(Run(mixed))}
    assert speeds == {DENSE: (5.0, outside)}
    levers = lever_table(Run(mixed))
    assert [row[2:4] for row in levers.rows] == [[10, 4.9], [None, None]]
    assert f"{LITE} at 10 s: {outside}." in levers.notes


def test_a_start_with_the_earlier_settings_shows_them_again():
    mixed = [*COMPLETE, start("two", steps=10), *clips(DENSE, 10), score(DENSE, 9.0, 10, run_id="two"), start("three")]
    assert best(mixed) == [LITE]
    assert [row.metrics["fad"].value for row in quality_rows(Run(mixed), "strict")] == [2.0, 1.0]
    assert "clips of 10 steps" in notes(mixed)[DENSE]
    assert notes(mixed)[LITE] == ""


def test_a_difference_to_an_earlier_condition_is_left_out_though_its_own_is_shown():
    alone = start("two", steps=10)
    del alone.config["methods"][LITE]
    told = replace(score(LITE, -1.0, baseline=DENSE), details={"baseline_condition": "dense_10s_200steps_g3.5"})
    mixed = [*COMPLETE, told, alone, *clips(DENSE, 10)]
    assert {r.condition for r in current(mixed) if isinstance(r, ClipRecord) and r.method == LITE} == {
        "litefocus_10s_200steps_g3.5"
    }
    assert [r for r in current(mixed) if isinstance(r, MetricRecord) and r.baseline] == []


def test_failures_that_were_overcome_leave_no_note():
    short = FailureRecord("one", "timing", "", "naive", 10.0, "needs 30 GiB")
    timed = timing(dense=[2.0], naive=[4.0])
    assert [row.note for row in speed_rows(Run([short, timed]))] == ["", ""]
    again = {row.method: row.note for row in speed_rows(Run([timed, short]))}
    assert again == {"dense": "", "naive": "timing: needs 30 GiB"}
    assert [row.note for row in speed_rows(Run([short, short]))] == ["timing: needs 30 GiB"]
    assert [row.label for row in speed_rows(Run([start("one"), replace(short, method=LITE)]))] == ["LiteFocus"]
    elsewhere = {row.method: row.note for row in speed_rows(Run([replace(short, duration_s=20.0), timed]))}
    assert elsewhere["naive"] == "timing: needs 30 GiB"
    unmade = FailureRecord("one", "score", "dense_10s_200steps_g3.5", DENSE, 10.0, "no clips were generated")
    assert notes([COMPLETE[0], unmade, *COMPLETE[1:]])[DENSE] == ""
    assert speed_rows(Run([COMPLETE[0], unmade, *COMPLETE[1:]]))[0].note == ""


def test_a_start_that_only_timed_changes_nothing():
    assert best([*COMPLETE, start("two", steps=10, stages=["timing", "report"])]) == [LITE]
