"""Interleaving: every arm once per round, rotating order, warm-up thrown away. A fake clock, no waiting."""

import pytest

from experiments.timing import interleave


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
