"""Interleaving: every arm once per round, rotating order, warm-up thrown away. A fake clock, no waiting."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from start_material import ENVIRONMENT, PIPELINE

from experiments.matrix.conditions import Method
from experiments.pipelines.untrained import build_untrained
from experiments.records import FailureRecord, RunRecord, TimingRecord, read_records
from experiments.stages.timing import interleave, is_timed, time_duration


class FakeClock:
    """A clock that an arm moves forward by its own cost."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def arm(self, cost, log, name):
        def call():
            log.append(name)
            self.now += cost * (1 + len(log))

        return call


def test_every_arm_once_per_round_in_rotating_order():
    clock, log = FakeClock(), []
    arms = {name: clock.arm(cost, log, name) for name, cost in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    first, *others = interleave(arms, rounds=3, warmup=1, clock=clock)
    rounds = ["".join(log[i : i + 3]) for i in range(0, 12, 3)]
    assert rounds == ["cab", "abc", "bca", "cab"]
    assert [list(each) for each in others] == [["b", "c", "a"], ["c", "a", "b"]]
    # Round one follows the warm-up's three calls: call k of the log costs cost * (k + 1).
    assert first == pytest.approx({"a": 1.0 * 5, "b": 2.0 * 6, "c": 3.0 * 7})


def test_a_round_pairs_all_arms():
    clock, log = FakeClock(), []
    arms = {"a": clock.arm(1.0, log, "a"), "b": clock.arm(1.0, log, "b")}
    rounds = list(interleave(arms, rounds=4, warmup=0, clock=clock))
    assert [abs(each["a"] - each["b"]) for each in rounds] == pytest.approx([1.0] * 4)


def test_a_round_is_handed_over_as_soon_as_it_is_complete():
    clock, log = FakeClock(), []
    rounds = interleave({"a": clock.arm(1.0, log, "a"), "b": clock.arm(1.0, log, "b")}, rounds=9, warmup=1, clock=clock)
    next(rounds)
    assert log == ["b", "a", "a", "b"]


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 0), (1, -1)])
def test_bad_rounds(rounds, warmup):
    with pytest.raises(ValueError, match="accepted are rounds >= 1 and warmup >= 0"):
        list(interleave({"a": lambda: None}, rounds=rounds, warmup=warmup))


@pytest.fixture(scope="module")
def tiny():
    return build_untrained(
        torch.device("cpu"), torch.float32, name="t", seed=0, size="tiny", trained=False, training_length_s=10.24
    )


def arm(name, error=None):
    @contextmanager
    def patch(pipe):
        if error is not None:
            raise error
        yield

    return Method(name, name.title(), patch)


def test_an_arm_that_runs_out_of_memory_is_recorded_and_the_others_are_timed(tiny, tmp_path):
    arms = {"dense": arm("dense"), "huge": arm("huge", torch.OutOfMemoryError("CUDA out of memory."))}
    config = SimpleNamespace(rounds=2, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, arms, 0.32, config, "r", tmp_path)
    failure, timing = read_records(tmp_path)
    assert (failure.stage, failure.method, failure.reason) == ("timing", "huge", "out of memory: CUDA out of memory.")
    assert set(timing.latencies_s) == set(timing.peak_memory_gib) == set(timing.labels) == {"dense", "dense_again"}


def test_methods_are_put_in_before_the_clock_and_taken_out_after_it(tiny, tmp_path, monkeypatch):
    """Packing the weights of a fast method takes as long as half a step: it is no part of the step."""
    seen = []

    @contextmanager
    def patch(pipe):
        assert pipe.unet is not tiny.pipe.unet
        seen.append("in")
        yield
        seen.append("out")

    monkeypatch.setattr("experiments.stages.timing.now", lambda device: seen.append("clock") or len(seen))
    config = SimpleNamespace(rounds=2, warmup=1, baseline="dense", limit="none")
    time_duration(tiny, {"dense": Method("dense", "Dense", patch)}, 0.32, config, "r", tmp_path)
    assert seen == ["in", "out", "in", *["clock"] * 12, "out"]  # memory alone, then three rounds of it and its A/A arm


def test_a_value_that_is_not_finite_is_an_error(tiny, tmp_path):
    @contextmanager
    def patch(pipe):
        handle = pipe.unet.conv_out.register_forward_hook(lambda module, args, output: output * float("nan"))
        yield
        handle.remove()

    config = SimpleNamespace(rounds=1, warmup=0, baseline="dense", limit="none")
    with pytest.raises(FloatingPointError, match="^dense: the UNet step gave a non-finite value"):
        time_duration(tiny, {"dense": Method("dense", "Dense", patch)}, 0.32, config, "r", tmp_path)


def test_an_arm_that_works_across_steps_is_left_out_with_its_reason(tiny, tmp_path):
    across = replace(arm("reuse", RuntimeError("entered")), needs_schedule=True)
    config = SimpleNamespace(rounds=1, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, {"dense": arm("dense"), "reuse": across}, 0.32, config, "r", tmp_path)
    failure, timing = read_records(tmp_path)
    assert (failure.method, failure.reason[:22]) == ("reuse", "works across the steps")
    assert set(timing.latencies_s) == {"dense", "dense_again"}


def test_a_length_is_timed_again_only_if_something_that_counts_changed():
    config = {"timing": {"rounds": 1}, "keep_freed_memory": False}
    start = RunRecord("r", "now", config, ENVIRONMENT, PIPELINE, [])
    names = {"dense": [1.0], "dense_again": [1.0]}
    timing = TimingRecord("r", 1.0, 2, 4, 4, "dense", "none", dict.fromkeys(names, "x"), names, dict.fromkeys(names))
    failed = FailureRecord("r", "timing", "", "huge", 1.0, "out of memory")
    arms = {"dense": arm("dense"), "huge": arm("huge")}
    records = [start, failed, timing]
    assert is_timed(records, 1.0, arms, config, ENVIRONMENT)
    assert not is_timed(records, 2.0, arms, config, ENVIRONMENT)
    assert not is_timed(records, 1.0, {**arms, "new": arm("new")}, config, ENVIRONMENT)
    assert not is_timed(records, 1.0, {"dense": arms["dense"]}, config, ENVIRONMENT)
    assert not is_timed(records, 1.0, arms, {**config, "timing": {"rounds": 2}}, ENVIRONMENT)
    assert not is_timed(records, 1.0, arms, {**config, "keep_freed_memory": True}, ENVIRONMENT)
    assert not is_timed(records, 1.0, arms, config, {**ENVIRONMENT, "threads": 2})
    newer = replace(timing, run_id="other", latencies_s={"dense": [1.0]})
    assert not is_timed([*records, newer], 1.0, arms, config, ENVIRONMENT)


def test_when_no_arm_fits_there_is_no_timing(tiny, tmp_path):
    config = SimpleNamespace(rounds=2, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, {"dense": arm("dense", MemoryError())}, 0.32, config, "r", tmp_path)
    assert [(record.kind, record.reason) for record in read_records(tmp_path)] == [
        ("failure", "out of memory: MemoryError")
    ]
