"""The generate stage with a fake pipeline: nothing lost, nothing twice, nothing damaged goes unnoticed."""

import contextlib
import re
from unittest import mock

import pytest
import soundfile
from clip_material import FakePipeline
from listen_material import run_record

from experiments.datasets.prompts import Prompt
from experiments.matrix.clips import plan_clips
from experiments.matrix.conditions import Condition, Method
from experiments.matrix.shards import Shard, predicted_flops
from experiments.records import ClipRecord, FailureRecord, append_record, of_kind, read_records
from experiments.run import say_so_far
from experiments.stages import generate
from experiments.stages.generate import batches, generate_clips
from experiments.system.files import sha256_file
from experiments.system.progress import progress

PROMPTS = [Prompt("a", "Rain"), Prompt("b", "Wind")]


def method(name, timing_only=False):
    return Method(name, name, lambda pipe: contextlib.nullcontext(), timing_only)


def conditions(*names, durations=(0.5,)):
    return [Condition(method(name), duration, 2, 3.5) for duration in durations for name in names]


def test_plan_keeps_methods_together_and_skips_timing_only():
    plan = plan_clips([*conditions("x", "y"), Condition(method("z", True), 0.5, 2, 3.5)], PROMPTS, [0, 1])
    assert [(c.prompt.id, c.seed, c.condition.method.name) for c in plan] == [
        (prompt, seed, name) for prompt in "ab" for seed in (0, 1) for name in "xy"
    ]


def test_wavs_have_the_asked_length_and_their_hash_in_the_record(tmp_path):
    generate_clips(FakePipeline(), plan_clips(conditions("x"), PROMPTS, [0]), tmp_path, "run")
    records = of_kind(read_records(tmp_path), ClipRecord)
    assert [record.prompt_id for record in records] == ["a", "b"]
    for record in records:
        samples, rate = soundfile.read(tmp_path / record.audio)
        assert (len(samples), rate) == (8000, 16000)
        assert samples[0] == pytest.approx(ord(record.prompt_id) / 256, abs=2**-15)
        assert sha256_file(tmp_path / record.audio) == record.sha256


def test_progress_follows_the_predicted_cost_of_what_is_missing(tmp_path, monkeypatch):
    bars = []

    def watched(*arguments):
        bars.append(mock.MagicMock(arguments=arguments))
        bars[-1].__enter__.return_value = bars[-1]
        return bars[-1]

    monkeypatch.setattr(generate, "progress", watched)
    plan = plan_clips(conditions("x", durations=(0.5, 4.0)), PROMPTS, [0])
    generate_clips(FakePipeline(), plan[:1], tmp_path, "one")
    generate_clips(FakePipeline(), plan, tmp_path, "two")
    short, long = (predicted_flops(condition) for condition in conditions("x", durations=(0.5, 4.0)))
    assert long > 8.01 * short  # attention grows with the square of the length
    assert bars[-1].arguments[0] == short + 2 * long
    assert bars[-1].update.mock_calls == [mock.call(short), mock.call(long), mock.call(long)]
    assert bars[-1].set_description.mock_calls[-1] == mock.call("generating, 3 of 3 clips, x 4 s", refresh=False)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_length_is_told_once_all_of_its_clips_are_there(tmp_path, batch_size):
    """Also with batches that do not come out even: the rest of a length is made with it, not at the very end."""
    told = {}
    plan = plan_clips(conditions("x", "y", durations=(0.5, 1.0)), PROMPTS, [0])
    generate_clips(
        FakePipeline(), plan, tmp_path, "r", batch_size, False,
        after_length=lambda duration_s: told.update({duration_s: len(read_records(tmp_path))}),
    )  # fmt: skip
    assert told == {0.5: 4, 1.0: 8}


def test_the_first_table_shows_what_a_finished_length_took(tmp_path, capsys):
    plan = conditions("x", "y", durations=(0.5, 1.0))
    append_record(tmp_path, run_record(["a", "b"], [0.5, 1.0], {"x": "Arm X", "y": "Arm Y"}))
    told = []

    def tell(duration_s):
        say_so_far(tmp_path, plan, Shard(), duration_s)
        told.append(capsys.readouterr().out)

    generate_clips(FakePipeline(), plan_clips(plan, PROMPTS, [0]), tmp_path, "r", after_length=tell)
    assert "**The clips of 0.5 s are made**" in told[0]
    assert re.search(r"\| Arm Y +\| \d", told[0])
    assert told[1] == ""  # the report follows
    say_so_far(tmp_path, plan, Shard(0, 2), 0.5)
    assert capsys.readouterr().out == ""


def test_a_bar_shows_no_more_digits_than_a_reader_wants():
    bar = progress(368.64, "loss", "s of audio")
    bar.update(30.720000000000002)
    assert "30.72/368.64 s of audio" in str(bar)
    bar.close()


def test_a_restart_generates_only_what_is_missing(tmp_path):
    plan = plan_clips(conditions("x", "y"), PROMPTS, [0])
    with pytest.raises(KeyboardInterrupt):
        generate_clips(FakePipeline(fail_at=3), plan, tmp_path, "one")
    assert len(read_records(tmp_path)) == 2
    again = FakePipeline()
    generate_clips(again, plan, tmp_path, "two")
    assert again.calls == [["b"], ["b"]]
    assert len({record.audio for record in read_records(tmp_path)}) == len(read_records(tmp_path)) == 4


def test_a_stop_between_clips_loses_none_and_starts_none(tmp_path):
    calls = []

    def stop_at_third():
        calls.append(len(read_records(tmp_path)))
        if len(calls) == 3:
            raise SystemExit

    pipeline = FakePipeline()
    with pytest.raises(SystemExit):
        generate_clips(
            pipeline, plan_clips(conditions("x"), PROMPTS, [0, 1]), tmp_path, "r", between_clips=stop_at_third
        )
    assert (calls, len(pipeline.calls), len(read_records(tmp_path))) == ([0, 1, 2], 2, 2)


def test_a_deleted_wav_is_made_again(tmp_path):
    plan = plan_clips(conditions("x"), PROMPTS, [0])
    generate_clips(FakePipeline(), plan, tmp_path, "one")
    (tmp_path / plan[0].audio).unlink()
    again = FakePipeline()
    generate_clips(again, plan, tmp_path, "two")
    assert again.calls == [["a"]]


def test_a_replaced_wav_is_refused(tmp_path):
    plan = plan_clips(conditions("x"), PROMPTS, [0])
    generate_clips(FakePipeline(), plan, tmp_path, "one")
    path = tmp_path / plan[0].audio
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"audio/x_0.5s_2steps_g3.5/a_0.wav: its content is not what was recorded"):
        generate_clips(FakePipeline(), plan, tmp_path, "two")


def test_non_finite_audio_is_a_failure_record_and_the_rest_goes_on(tmp_path):
    plan = plan_clips(conditions("x"), PROMPTS, [0])
    generate_clips(FakePipeline(bad="a"), plan, tmp_path, "run")
    (failure,) = of_kind(read_records(tmp_path), FailureRecord)
    assert (failure.prompt_id, failure.reason) == ("a", "1 non-finite samples in the generated audio")
    assert [record.prompt_id for record in of_kind(read_records(tmp_path), ClipRecord)] == ["b"]
    assert not (tmp_path / plan[0].audio).exists()


def test_no_disk_space_is_said_before_any_work(tmp_path, monkeypatch):
    pipeline = FakePipeline()
    usage = generate.shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(generate.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="no disk space: .* 1 MiB free"):
        generate_clips(pipeline, plan_clips(conditions("x"), PROMPTS, [0]), tmp_path, "run")
    assert pipeline.calls == []


def test_a_failing_write_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OSError, match="No space left"):
        generate_clips(FakePipeline(), plan_clips(conditions("x"), PROMPTS, [0]), tmp_path, "run")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("exact", "calls"), [(True, [["a"], ["a"], ["b"], ["b"]]), (False, [["a", "b"], ["a", "b"]])])
def test_a_batch_is_one_condition_and_exact_batches_run_clip_by_clip(tmp_path, exact, calls):
    pipeline = FakePipeline()
    plan = plan_clips(conditions("x", "y"), PROMPTS, [0])
    generate_clips(pipeline, plan, tmp_path, "run", batch_size=2, exact_batches=exact)
    assert pipeline.calls == calls


def test_batches_cover_every_clip_once():
    plan = plan_clips(conditions("x", "y"), PROMPTS, [0, 1, 2])
    groups = list(batches(plan, 4))
    assert sorted(clip.audio for group in groups for clip in group) == sorted(clip.audio for clip in plan)
    assert all(len({clip.condition.id for clip in group}) == 1 and len(group) <= 4 for group in groups)


def test_a_changed_caption_under_the_same_id_is_refused(tmp_path):
    generate_clips(FakePipeline(), plan_clips(conditions("x"), PROMPTS, [0]), tmp_path, "one")
    changed = plan_clips(conditions("x"), [Prompt("a", "Hail")], [0])
    with pytest.raises(ValueError, match="was made for the caption 'Rain', now it says 'Hail'"):
        generate_clips(FakePipeline(), changed, tmp_path, "two")
