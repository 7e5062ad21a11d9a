"""Contexts that overlap, in one thread and in several: each run is its own context's, and the model is clean after."""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from conftest import Run

from litefocus import LiteFocusConfig, disable_lite_focus, inject_lite_focus, lite_focus, lite_focus_state, optimized
from litefocus.context import replaced
from litefocus.levers.optimize import active_optimization

FIRST, SECOND = LiteFocusConfig(sparse_ratio=0.3), LiteFocusConfig(sparse_ratio=0.6, seed=4)
OTHER_THREAD = "inside a LiteFocus context of another thread, whose run would change: inject_lite_focus"


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def in_another_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


@pytest.mark.parametrize("injected", [None, LiteFocusConfig(cross_frequency=False)])
def test_a_context_left_out_of_order_takes_only_its_own_patch(audioldm2_unet: Any, run: Run, injected: Any) -> None:
    with lite_focus(audioldm2_unet, SECOND):
        expected = run(audioldm2_unet)
    if injected is not None:
        inject_lite_focus(audioldm2_unet, injected)
    before = run(audioldm2_unet)
    first, second = lite_focus(audioldm2_unet, FIRST), lite_focus(audioldm2_unet, SECOND)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.equal(run(audioldm2_unet), expected)
    second.__exit__(None, None, None)
    assert torch.equal(run(audioldm2_unet), before)
    assert (expected - before).abs().max() > 1e-3


def enter(unet: Any) -> None:
    with lite_focus(unet, SECOND):
        pass


@pytest.mark.parametrize("change", [enter, lambda unet: inject_lite_focus(unet, SECOND), disable_lite_focus])
def test_another_thread_is_refused_before_it_changes_anything(audioldm2_unet: Any, run: Run, change: Any) -> None:
    dense = run(audioldm2_unet)
    with lite_focus(audioldm2_unet, FIRST):
        expected = run(audioldm2_unet)
        with pytest.raises(RuntimeError, match=OTHER_THREAD) as error:
            in_another_thread(lambda: change(audioldm2_unet))
        assert "\n" not in str(error.value)
        assert lite_focus_state(audioldm2_unet) == (12, FIRST)
        assert torch.equal(run(audioldm2_unet), expected)
    assert torch.equal(run(audioldm2_unet), dense)
    in_another_thread(lambda: inject_lite_focus(audioldm2_unet, SECOND))
    assert lite_focus_state(audioldm2_unet) == (12, SECOND)


def test_a_copy_is_in_no_context(audioldm2_unet: Any) -> None:
    with lite_focus(audioldm2_unet, FIRST):
        twin = copy.deepcopy(audioldm2_unet)
        in_another_thread(lambda: disable_lite_focus(twin))
    assert lite_focus_state(twin) is None


@pytest.mark.parametrize("context", [lambda unet: lite_focus(unet, FIRST), optimized])
def test_threads_that_enter_at_once_leave_the_model_as_it_was(audioldm2_unet: Any, run: Run, context: Any) -> None:
    """One is served and three are refused: the one waits inside until the others have had their answer."""
    dense = run(audioldm2_unet)
    with context(audioldm2_unet):
        expected = run(audioldm2_unet)
    together, answered = threading.Barrier(4), threading.Barrier(4)

    def request(_: int) -> Any:
        with ExitStack() as stack, torch.no_grad():
            together.wait(60)
            try:
                stack.enter_context(context(audioldm2_unet))
            except (RuntimeError, ValueError) as error:
                return str(error)
            finally:
                answered.wait(60)
            return run(audioldm2_unet)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(request, range(4)))
    served = [answer for answer in answers if isinstance(answer, torch.Tensor)]
    assert len(served) == 1
    assert torch.equal(served[0], expected)
    assert lite_focus_state(audioldm2_unet) is active_optimization(audioldm2_unet) is None
    assert torch.equal(run(audioldm2_unet), dense)


def adding(number: int) -> Any:
    return lambda forward: lambda x: forward(x) + number


@pytest.mark.parametrize("had_its_own", [False, True])
def test_replaced_methods_come_back_whatever_is_left_first(had_its_own: bool) -> None:
    module = torch.nn.Identity()
    if had_its_own:
        module.forward = lambda x: x + 1000
    start, own = module(torch.zeros(())).item(), vars(module).get("forward")
    first, second = replaced(module, "forward", adding(1)), replaced(module, "forward", adding(10))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert module(torch.zeros(())) == start + 11, "left, and inside of one that is not: it acts until that one is left"
    second.__exit__(None, None, None)
    assert module(torch.zeros(())) == start
    assert vars(module).get("forward") is own
