"""Every start behind a table is named: its commit, its machine, and nothing of starts that made none of it."""

from dataclasses import replace

import pytest
from listen_material import clip, run_record, timing

from experiments.records.provenance import provenance, settings_line, starts_of


def start(run_id, commit, threads, started_at):
    record = run_record(["a"], [10.0])
    environment = {**record.environment, "commit": commit, "dirty": False, "threads": threads}
    return replace(record, run_id=run_id, environment=environment, started_at=started_at)


FIRST, SECOND = start("r1", "a" * 40, 1, "Monday"), start("r2", "b" * 40, 2, "Tuesday")


def test_one_start_is_named_once():
    line = provenance([FIRST, FIRST])
    assert ", commit aaaaaaaaaaaa, started Monday." in line
    assert "(1 thread)" in line


def test_two_starts_are_both_named():
    line = provenance([FIRST, SECOND])
    assert ", commits aaaaaaaaaaaa, bbbbbbbbbbbb, started Monday to Tuesday." in line
    assert "(1 thread)" in line
    assert "(2 threads)" in line


def test_settings_are_those_of_the_clips_and_without_clips_those_asked_for():
    record = run_record(["a", "b"], [10.0])
    record.config.update(steps=200, guidance=3.5, seeds=[0, 1, 2])
    name = record.pipeline["name"]
    assert settings_line([record]) == f"Settings: {name}, 2 prompts, 3 seeds, 200 steps, guidance 3.5."
    record.pipeline["unet_parameters"] = 2_600_000
    one = replace(clip("c", "dense", 10.0, "a", "Rain", 0, "audio/c/a_0.wav", b""), steps=25, guidance=3.0)
    clips = [
        one,
        replace(one, prompt_id="b", audio="audio/c/b_0.wav"),
        replace(one, duration_s=20.0, steps=200, method="x"),
    ]
    expected = (
        "(UNet of 2.6 M parameters), 1 or 2 prompts by length, 1 seed, 25 or 200 steps, guidance 3, preset strict."
    )
    assert settings_line([record, *clips], "strict") == f"Settings: {name} {expected}"


def test_a_start_that_made_none_of_the_numbers_is_left_out():
    made = replace(timing(dense=[1.0]), run_id="r2")
    assert starts_of([made], [FIRST, SECOND]) == [SECOND]
    assert starts_of([], [FIRST, SECOND]) == [FIRST, SECOND]


def test_no_start_stands_in_for_one_that_has_no_record():
    with pytest.raises(ValueError, match="^no record of the start r2, which made these numbers; restore"):
        starts_of([replace(timing(dense=[1.0]), run_id="r2")], [FIRST])
