"""Interleaving: every arm once per round, rotating order, warm-up thrown away. A fake clock, no waiting."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

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
    latencies = interleave(arms, rounds=3, warmup=1, clock=clock)
    rounds = ["".join(log[i : i + 3]) for i in range(0, 12, 3)]
    assert rounds == ["cab", "abc", "bca", "cab"]
    assert {name: len(values) for name, values in latencies.items()} == {"a": 3, "b": 3, "c": 3}
    # Round one follows the warm-up's three calls: call k of the log costs cost * (k + 1).
    assert latencies["a"][0] == pytest.approx(1.0 * 5)
    assert latencies["b"][0] == pytest.approx(2.0 * 6)
    assert latencies["c"][0] == pytest.approx(3.0 * 7)


def test_a_round_pairs_all_arms():
    clock, log = FakeClock(), []
    latencies = interleave(
        {"a": clock.arm(1.0, log, "a"), "b": clock.arm(1.0, log, "b")}, rounds=4, warmup=0, clock=clock
    )
    assert all(abs(a - b) == pytest.approx(1.0) for a, b in zip(latencies["a"], latencies["b"], strict=True))


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 0), (1, -1)])
def test_bad_rounds(rounds, warmup):
    with pytest.raises(ValueError, match="accepted are rounds >= 1 and warmup >= 0"):
        interleave({"a": lambda: None}, rounds=rounds, warmup=warmup)


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


def test_an_arm_that_works_across_steps_is_left_out_with_its_reason(tiny, tmp_path):
    across = replace(arm("reuse", RuntimeError("entered")), needs_schedule=True)
    config = SimpleNamespace(rounds=1, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, {"dense": arm("dense"), "reuse": across}, 0.32, config, "r", tmp_path)
    failure, timing = read_records(tmp_path)
    assert (failure.method, failure.reason[:22]) == ("reuse", "works across the steps")
    assert set(timing.latencies_s) == {"dense", "dense_again"}


def test_a_length_is_timed_again_only_if_something_that_counts_changed():
    config = {"timing": {"rounds": 1}, "keep_freed_memory": False}
    start = RunRecord("r", "now", config, {"threads": 1}, {}, [])
    names = {"dense": [1.0], "dense_again": [1.0]}
    timing = TimingRecord("r", 1.0, 2, 4, 4, "dense", "none", dict.fromkeys(names, "x"), names, dict.fromkeys(names))
    failed = FailureRecord("r", "timing", "", "huge", 1.0, "out of memory")
    arms = {"dense": arm("dense"), "huge": arm("huge")}
    records = [start, failed, timing]
    assert is_timed(records, 1.0, arms, config, {"threads": 1})
    assert not is_timed(records, 2.0, arms, config, {"threads": 1})
    assert not is_timed(records, 1.0, {**arms, "new": arm("new")}, config, {"threads": 1})
    assert not is_timed(records, 1.0, {"dense": arms["dense"]}, config, {"threads": 1})
    assert not is_timed(records, 1.0, arms, {**config, "timing": {"rounds": 2}}, {"threads": 1})
    assert not is_timed(records, 1.0, arms, {**config, "keep_freed_memory": True}, {"threads": 1})
    assert not is_timed(records, 1.0, arms, config, {"threads": 2})
    newer = replace(timing, run_id="other", latencies_s={"dense": [1.0]})
    assert not is_timed([*records, newer], 1.0, arms, config, {"threads": 1})


def test_when_no_arm_fits_there_is_no_timing(tiny, tmp_path):
    config = SimpleNamespace(rounds=2, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, {"dense": arm("dense", MemoryError())}, 0.32, config, "r", tmp_path)
    assert [(record.kind, record.reason) for record in read_records(tmp_path)] == [
        ("failure", "out of memory: MemoryError")
    ]
