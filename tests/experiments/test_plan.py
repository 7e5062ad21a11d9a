"""The planner's arithmetic, on made-up calibrations: no clock is read."""

import shlex
import sys
from dataclasses import replace

import pytest
import torch
from clip_material import FakePipeline, method

from experiments import plan as program
from experiments.datasets.prompts import Prompt
from experiments.matrix.calibration import Calibration, Sample, fit_line, measure, samples_of
from experiments.matrix.clips import plan_clips
from experiments.matrix.conditions import Condition
from experiments.matrix.cost import plan_run, timing_hours
from experiments.matrix.memory import Footprint, footprints, peak_gib
from experiments.matrix.shards import predicted_flops
from experiments.pipelines.untrained import build_untrained
from experiments.plan import command_lines, memory_lines, render
from experiments.records import ClipRecord, append_record
from experiments.records.audio_path import audio_path
from litefocus import LiteFocusConfig

LITE = method("litefocus", LiteFocusConfig())
DENSE = method("dense")
S_PER_TFLOP = {"dense": 0.5, "litefocus": 0.75}
PER_STEP_S, START_S, DECODE = 0.02, 0.3, 0.1


def condition(arm, duration, steps=200):
    return Condition(arm, duration, steps, 3.5)


def true_step_s(arm, duration):
    return PER_STEP_S + S_PER_TFLOP[arm.name] * predicted_flops(condition(arm, duration, 1)) / 1e12


def sample(arm, duration, steps=4):
    step = true_step_s(arm, duration)
    decode = DECODE * duration
    return Sample(arm.name, duration, steps, START_S + steps * step + decode, step, decode)


def calibration(durations=(10.0, 20.0)):
    return Calibration([sample(arm, d) for arm in (DENSE, LITE) for d in durations], 16000)


def test_a_device_that_follows_the_cost_model_is_predicted_exactly_at_lengths_never_measured():
    for arm in (DENSE, LITE):
        for duration in (10.0, 40.0, 80.0):
            expected = START_S + 200 * true_step_s(arm, duration) + DECODE * duration
            assert calibration().clip_s(condition(arm, duration)) == pytest.approx(expected, rel=1e-9)


def test_a_measured_length_keeps_its_median_even_off_the_line():
    samples = [*calibration().samples, *[Sample("dense", 80.0, 4, 0.0, step, 0.0) for step in (9.0, 1.0, 7.0)]]
    assert Calibration(samples, 16000).step_s(condition(DENSE, 80.0)) == 7.0


def test_one_length_scales_with_flops():
    one = Calibration([sample(DENSE, 10.0)], 16000)
    ratio = predicted_flops(condition(DENSE, 80.0)) / predicted_flops(condition(DENSE, 10.0))
    assert one.step_s(condition(DENSE, 80.0)) == pytest.approx(true_step_s(DENSE, 10.0) * ratio)


def test_lines_never_have_a_negative_part():
    assert fit_line([1, 2, 3], [5, 7, 9]) == (pytest.approx(3), pytest.approx(2))
    assert fit_line([2], [5]) == (0, 2.5)
    assert fit_line([1, 2], [4, 2]) == (3, 0)  # Falling: noise; the mean.
    assert fit_line([1, 2], [1, 4]) == (0, pytest.approx(9 / 5))  # Through the origin: (1*1 + 2*4) / (1 + 4).


def test_a_method_without_a_clip_or_with_too_few_steps_is_refused():
    short = Calibration([sample(DENSE, 10.0, steps=2), sample(LITE, 10.0)], 16000)
    with pytest.raises(ValueError, match=r"no clip of method dense with at least 3 steps \(it has dense, litefocus\)"):
        short.clip_s(condition(DENSE, 10.0))


def paper(prompts=886, seeds=(0, 1, 2)):
    conditions = [condition(arm, duration) for duration in (10.0, 20.0, 40.0, 80.0) for arm in (DENSE, LITE)]
    return conditions, plan_clips(conditions, [Prompt(f"p{i}", "x") for i in range(prompts)], list(seeds))


def test_hours_disk_and_shards_of_the_paper_sweep():
    conditions, clips = paper()
    plan = plan_run(clips, calibration(), shard_hours=10)
    assert plan.clips == 886 * 3 * 4 * 2
    for arm in (DENSE, LITE):
        expected = 886 * 3 * sum(calibration().clip_s(condition(arm, d)) for d in (10.0, 20.0, 40.0, 80.0)) / 3600
        assert plan.hours[arm.name] == pytest.approx(expected)
    assert plan.disk_gib == pytest.approx(886 * 3 * 2 * (150 * 16000 * 2 + 4 * 5120) / 2**30)
    assert sum(plan.shard_hours) == pytest.approx(sum(plan.hours.values()))
    assert len(plan.shard_hours) == -(-sum(plan.hours.values()) // 10)
    # The device's true costs are not the FLOPs that shards are dealt out by; they end together all the same.
    assert max(plan.shard_hours) / min(plan.shard_hours) < 1.05
    text = render(plan, conditions, calibration().samples, "timing: none")
    assert "\ntiming: none\n" in text
    assert f"clips: {plan.clips}" in text
    assert "measured at 10, 20 s; other lengths by the cost model" in text


def test_the_printed_command_quotes_what_a_shell_would_change():
    sharded, last = command_lines(
        ["+sweep=paper", "seeds=[0,1]"], 8, "slurm_gpu", ["timing", "score", "report"]
    ).splitlines()
    assert sharded == (
        "python -m experiments.run -m +sweep=paper 'seeds=[0,1]' hydra/launcher=slurm_gpu shard.count=8 "
        "'shard.index=range(8)' 'stages=[generate]'"
    )
    assert last == "python -m experiments.run +sweep=paper 'seeds=[0,1]' 'stages=[timing,score,report]'"
    asked = ["+sweep=paper", "stages=[generate]"]
    assert command_lines(asked, 1, "slurm_gpu", []) == "python -m experiments.run +sweep=paper 'stages=[generate]'"
    assert "-m +" not in command_lines(["+sweep=paper"], 1, "slurm_gpu", ["report"])
    words = ["~methods.naive", 'data.file=it\'s; rm -r `x` & "y" > z', "name=my run"]
    first, last = command_lines(words, 1, "slurm_gpu", ["report"]).splitlines()
    assert shlex.split(first) == ["python", "-m", "experiments.run", *words, "stages=[generate]"]
    assert shlex.split(last) == ["python", "-m", "experiments.run", *words, "stages=[report]"]


def test_timing_steps_are_counted_for_every_arm_the_baseline_twice():
    """(5 rounds + 1 of warm-up + 1 for memory) x steps; an arm that was not measured costs by its FLOPs."""
    timing = {"rounds": 5, "warmup": 1, "baseline": "dense"}
    removed = replace(method("no_attention"), timing_only=True)
    reuse = replace(method("reuse"), needs_schedule=True)  # a step alone says nothing of it, so it is not timed
    hours, unknown = timing_hours([DENSE, LITE, removed, reuse], [10.0, 80.0], calibration(), timing)
    share = [predicted_flops(condition(removed, d)) / predicted_flops(condition(DENSE, d)) for d in (10.0, 80.0)]
    a_round = sum(true_step_s(arm, d) for arm in (DENSE, DENSE, LITE) for d in (10.0, 80.0))
    a_round += sum(true_step_s(DENSE, d) * s for d, s in zip((10.0, 80.0), share, strict=True))
    assert hours == pytest.approx(7 * a_round / 3600)
    assert unknown == ["no_attention"]
    assert timing_hours([removed], [10.0], calibration(), timing) == (0.0, ["no_attention"])


def test_a_footprint_gives_the_largest_batch_of_a_card():
    whole = Footprint(weights=4.0, step=0.4, decode=1.5, in_chunks=0.4)
    assert whole.peak_gib("float32") == 5.5
    assert whole.peak_gib("bfloat16", batch=4) == (4.0 + 4 * 1.5) / 2
    # 20 GiB of 24 with 1 GiB and 15% free: 4 + 8 x 1.5 = 16 fits, twice as many do not; in chunks 4 + 32 x 0.4 do.
    assert [whole.largest_batch("float32", 24.0, chunks) for chunks in (False, True)] == [8, 32]
    assert whole.largest_batch("float32", 5.0) == 0
    lines = memory_lines({10.0: whole, 80.0: Footprint(4.0, 4.0, 12.0, 0.5)}, ["+sweep=paper", "dtype=float32"], 24.0)
    assert lines[1:6] == [
        "dtype       weights  at 10 s  at 80 s",
        "float32     4.00     5.50     16.00",
        "float16     2.00     2.75     8.00",
        "its step             0.40     4.00",
        "its decode           1.50     12.00",
    ]
    assert "float32 batches of 1; float32, decoded in chunks, batches of 4; float16 batches of 2" in lines[6]
    assert lines[7] == (
        "most at once: python -m experiments.run +sweep=paper dtype=float16 batch_size=8 exact_batches=false "
        "decode_in_chunks.beyond_frames=512"
    )
    assert "in chunks" not in memory_lines({10.0: whole._replace(in_chunks=1.5)}, [], 24.0)[6]
    assert "not every length fits" in memory_lines({10.0: whole}, [], 2.0)[-1]


def test_live_tensors_are_counted_until_they_are_freed():
    """1 MiB each: two alive at most, however many are made; a view and what was there before count nothing."""
    given = torch.empty(2**18, device="meta")

    def call():
        first = given * 2
        second = (first + 1).view(2**9, 2**9)
        del first
        return second.T[:3] * 2 + given[0]

    assert peak_gib(call, [given]) == 2 * 2**20 / 2**30
    query, value = torch.empty(1, 1, 4096, 64, device="meta"), torch.empty(1, 1, 4096, 64, device="meta")
    attended = torch.nn.functional.scaled_dot_product_attention
    assert peak_gib(lambda: attended(query, query, value), [query, value]) == 4096 * 64 * 4 / 2**30


def test_memory_grows_with_the_length_and_decoding_in_chunks_does_not():
    pipeline = build_untrained(
        torch.device("cpu"), torch.float32, name="x", seed=0, size="tiny", trained=False, training_length_s=10.24
    )
    pipeline.decode_in_chunks = None
    found = footprints(pipeline, [40.0, 80.0, 160.0])
    short, middle, long = found.values()
    parameters = sum(
        p.numel() for part in ("unet", "vae", "vocoder") for p in getattr(pipeline.pipe, part).parameters()
    )
    assert short.weights == parameters * 4 / 2**30
    assert long.step == pytest.approx(2 * middle.step, rel=0.01)
    assert long.decode == pytest.approx(2 * middle.decode, rel=0.01)
    assert long.in_chunks < 0.25 * long.decode
    assert long.in_chunks < 1.5 * short.in_chunks  # the spectrogram and the wave grow
    assert {p.device.type for p in pipeline.pipe.unet.parameters()} == {"cpu"}


def test_a_method_that_skips_steps_is_planned_by_the_mean_of_its_steps():
    reuse = replace(method("feature_reuse_5"), needs_schedule=True)
    # 20 steps: 4 of 1 s, 16 of 0.1 s, whose median is 0.1 s; half a second of decoding.
    record = ClipRecord("r", "c", reuse.name, 1.0, 20, 3.5, "p", "x", 0, "audio/c/p_0.wav", "", 16000, 1, 6.1, 0.1, 0.5)
    planned = condition(reuse, 1.0, steps=40)
    assert Calibration(samples_of([record], [planned]), 16000).clip_s(planned) == pytest.approx(40 * 0.28 + 0.5)
    assert samples_of([record])[0].step_s == 0.1


def test_measuring_interleaves_methods_and_throws_the_first_round_away():
    pipeline = FakePipeline()
    samples = measure(pipeline, [condition(DENSE, 1.0), condition(LITE, 1.0)], [0.5, 1.0], steps=3, rounds=2)
    assert [(s.method, s.duration_s) for s in samples] == 2 * [
        (name, duration) for duration in (0.5, 1.0) for name in ("dense", "litefocus")
    ]
    assert len(pipeline.calls) == 12
    with pytest.raises(ValueError, match=r"steps >= 3 and rounds >= 1"):
        measure(pipeline, [condition(DENSE, 1.0)], [1.0], steps=2, rounds=1)


def test_the_command_plans_from_a_stored_run(tmp_path, monkeypatch, capsys):
    for name in ("dense", "litefocus", "focus_only", "compensation_only", "naive", "authors"):
        audio = audio_path(name, "p", 0)
        record = ClipRecord("r", name, name, 1.0, 4, 3.5, "p", "x", 0, audio, "", 16000, 16000, 1.5, 0.25, 0.25)
        append_record(tmp_path, record)
    arguments = ["+sweep=smoke", "steps=10", "durations=[1]", "data.limit=2", "plan.shard_hours=0.005"]
    monkeypatch.setattr(sys, "argv", ["plan", *arguments, f"plan.calibration={tmp_path}"])
    program.main()
    out = capsys.readouterr().out
    # 0.25 s to start, ten steps of 0.25 s, 0.25 s of decoding: 3 s a clip, 12 clips, two groups of 18 s each.
    assert "clips: 12\n" in out
    assert "device-hours: 0.01 (measured at 1 s" in out
    assert "shards: 2, of 0.005 to 0.005 hours" in out
    assert "shard.count=2 'shard.index=range(2)'" in out
    assert "plan." not in out.split("\n\n")[1]
    assert "timing: 0.00" in out
    assert "device-hours of steps, 5 rounds of every arm; no_attention by FLOPs alone: not in the calibration\n" in out
    assert "memory: left out" in out
    assert "'stages=[timing,report]'" in out
    monkeypatch.setattr(sys, "argv", ["plan", *arguments, f"plan.calibration={tmp_path}/nowhere"])
    with pytest.raises(SystemExit, match="2"):
        program.main()
