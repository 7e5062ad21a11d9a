"""The length-aware schedule: which rule serves, on real UNets, and what is refused."""

import copy
import pickle
import re
from typing import Any

import pytest
import torch
from conftest import Run

from litefocus import LengthRule, LengthSchedule, LiteFocusConfig, TokenGrid, lite_focus, scheduled_focus
from litefocus.cost import keys_per_query

PAPER = LiteFocusConfig(sparse_ratio=0.3, stream="count")
LINEAR = LiteFocusConfig(window_frames=2, max_cross_keys=5, seed=3, stream="count")
# The fixture's level 0 has T / 2 token frames: 12 for 24 latent frames.
SCHEDULE = LengthSchedule((LengthRule(8, None), LengthRule(12, PAPER), LengthRule(None, LINEAR)))


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def test_the_first_rule_that_is_long_enough_serves() -> None:
    chosen = [SCHEDULE.select(frames) for frames in (1, 8, 9, 12, 13, 4000)]
    assert chosen == [None, None, PAPER, PAPER, LINEAR, LINEAR]


def test_each_length_gets_the_output_of_its_rule(audioldm2_unet: Any, run: Run) -> None:
    dense = run(audioldm2_unet, time=16)
    expected = {}
    for time, config in ((24, PAPER), (40, LINEAR)):
        with lite_focus(audioldm2_unet, config):
            expected[time] = run(audioldm2_unet, time=time)
    with scheduled_focus(audioldm2_unet, SCHEDULE) as sites:
        assert sites == 12
        torch.testing.assert_close(run(audioldm2_unet, time=16), dense, rtol=1e-5, atol=1e-6)
    for time in expected:
        with scheduled_focus(audioldm2_unet, SCHEDULE):
            assert torch.equal(run(audioldm2_unet, time=time), expected[time])
    assert torch.equal(run(audioldm2_unet, time=16), dense)


def test_keys_advance_with_the_forwards(audioldm2_unet: Any, run: Run) -> None:
    with lite_focus(audioldm2_unet, PAPER):
        expected = [run(audioldm2_unet) for _ in range(2)]
    assert not torch.equal(*expected)
    with scheduled_focus(audioldm2_unet, SCHEDULE):
        assert all(torch.equal(run(audioldm2_unet), x) for x in expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda unet: pickle.loads(pickle.dumps(unet))])
def test_a_copy_of_a_scheduled_model_draws_its_own_keys(audioldm2_unet: Any, run: Run, copied: Any) -> None:
    with lite_focus(audioldm2_unet, PAPER):
        expected = [run(audioldm2_unet) for _ in range(2)]
    assert not torch.equal(*expected)
    with scheduled_focus(audioldm2_unet, SCHEDULE):
        twin = copied(audioldm2_unet)
        for model in (twin, audioldm2_unet):
            assert all(torch.equal(run(model), x) for x in expected)


def test_cost_follows_the_schedule() -> None:
    # 8 frames dense: 64 keys. 12 frames: 12 + int(0.3 * 96). 100 frames: 3 * 2 + 5.
    assert [keys_per_query(TokenGrid(t, 8), SCHEDULE) for t in (8, 12, 100)] == [64, 40, 11]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((), "schedule with max_frames []: accepted are rules whose last one"),
        ((LengthRule(8, None),), "schedule with max_frames [8]: accepted are rules whose last one"),
        ((LengthRule(8, None), LengthRule(8, PAPER), LengthRule(None, PAPER)), "accepted are ascending whole numbers"),
        ((LengthRule(0, None), LengthRule(None, PAPER)), "accepted are ascending whole numbers from 1"),
        (
            (LengthRule(8, LiteFocusConfig(levels=(0, 1))), LengthRule(None, PAPER)),
            "schedule whose rules patch different levels, blocks or axes",
        ),
        (
            (LengthRule(8, None), LengthRule(None, LiteFocusConfig(levels=(0, 1)))),
            "schedule with levels=(0, 1): accepted is one level, whose frames max_frames counts",
        ),
    ],
)
def test_bad_schedule_is_one_clear_line(rules: tuple[LengthRule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LengthSchedule(rules)


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        (None, "NoneType"),
        (LengthRule(None, None), "LengthRule"),
        ([(100, None)], "tuple"),
        ([PAPER], "LiteFocusConfig"),
    ],
)
def test_anything_but_rules_is_one_clear_line(rules: Any, kind: str) -> None:
    message = f"rules of type {kind}: accepted is a list of LengthRule, like [LengthRule(100, None), LengthRule(None,"
    with pytest.raises(TypeError, match=re.escape(message)) as error:
        LengthSchedule(rules)
    assert "\n" not in str(error.value)


def test_bad_rule_is_one_clear_line() -> None:
    for limit in (10.5, "8", True):
        with pytest.raises(ValueError, match=re.escape(f"max_frames={limit!r}: accepted are whole numbers from 1")):
            LengthRule(limit, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"config of type dict in a LengthRule: accepted are LiteFocusConfig\(...\)"):
        LengthRule(None, {"sparse_ratio": 0.1})  # type: ignore[arg-type]
