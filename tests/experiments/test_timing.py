"""Interleaving: every arm once per round, rotating order, warm-up thrown away. A fake clock, no waiting."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from experiments.conditions import Method
from experiments.records import read_records
from experiments.timing import interleave, time_duration
from experiments.untrained import build_untrained


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


def test_when_no_arm_fits_there_is_no_timing(tiny, tmp_path):
    config = SimpleNamespace(rounds=2, warmup=0, baseline="dense", limit="none")
    time_duration(tiny, {"dense": arm("dense", MemoryError())}, 0.32, config, "r", tmp_path)
    assert [(record.kind, record.reason) for record in read_records(tmp_path)] == [
        ("failure", "out of memory: MemoryError")
    ]
