"""Patches beside each other, beside other processors and beside other forwards: nothing is lost or left behind."""

import copy
from typing import Any

import pytest
import torch
from conftest import Run
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from litefocus import LiteFocusConfig, TokenGrid, disable_lite_focus, inject_lite_focus, lite_focus, lite_focus_state
from litefocus.patch import SitePatch, patched
from litefocus.sites import find_sites


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def test_context_restarts_the_keys_and_returns_to_the_patch_before(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    config = LiteFocusConfig(seed=5, stream="count")
    with lite_focus(audioldm2_unet, config) as sites:
        assert sites == 12
        first, second = run(audioldm2_unet), run(audioldm2_unet)
    with lite_focus(audioldm2_unet, config):
        assert torch.equal(run(audioldm2_unet), first)
    assert not torch.equal(first, second)
    assert torch.equal(run(audioldm2_unet), before)
    focus = LiteFocusConfig(cross_frequency=False)
    inject_lite_focus(audioldm2_unet, focus)
    focused = run(audioldm2_unet)
    with pytest.raises(KeyError), lite_focus(audioldm2_unet, config):
        raise KeyError
    assert torch.equal(run(audioldm2_unet), focused)


@pytest.mark.parametrize("outer", [None, {"sparse_ratio": 0.9}])
@pytest.mark.parametrize("body", [disable_lite_focus, lambda unet: inject_lite_focus(unet, {"sparse_ratio": 0.5})])
def test_context_ends_as_it_began_whatever_its_body_does(audioldm2_unet: Any, run: Run, outer: Any, body: Any) -> None:
    before = run(audioldm2_unet)
    if outer is not None:
        inject_lite_focus(audioldm2_unet, {**outer, "resample": "fixed"})
    expected = run(audioldm2_unet)
    with lite_focus(audioldm2_unet):
        body(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), expected)
    disable_lite_focus(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in audioldm2_unet.modules())


def test_contexts_left_in_the_wrong_order_leave_nothing(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    first, second = lite_focus(audioldm2_unet), lite_focus(audioldm2_unet, {"sparse_ratio": 0.5})
    for context in (first, second):
        context.__enter__()
    for context in (first, second):
        context.__exit__(None, None, None)
    assert torch.equal(run(audioldm2_unet), before)
    assert not hasattr(audioldm2_unet, "_litefocus_patch")


@pytest.mark.parametrize("failing", [0, 3])
@pytest.mark.parametrize("where", ["build", "set_processor"])
def test_a_patch_that_cannot_be_installed_leaves_the_one_before(
    audioldm2_unet: Any, run: Run, monkeypatch: Any, failing: int, where: str
) -> None:
    sites = find_sites(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, {"resample": "fixed"})
    expected = run(audioldm2_unet)

    def fail(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyError("build")

    def build(number: int) -> Any:
        if number == failing:
            fail()

    if where == "set_processor":
        monkeypatch.setattr(sites[failing].attention, "set_processor", fail, raising=False)
    patch = SitePatch(audioldm2_unet, sites, build if where == "build" else lambda number: None)
    with pytest.raises(KeyError, match="build"), patched(patch):
        pass
    assert torch.equal(run(audioldm2_unet), expected)


def test_two_models_keep_their_own_config(audioldm2_unet: Any, run: Run) -> None:
    other = copy.deepcopy(audioldm2_unet)
    before = run(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.2})
    inject_lite_focus(other, {"sparse_ratio": 0.9})
    inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.2})
    assert not torch.equal(run(other), run(audioldm2_unet))
    disable_lite_focus(other)
    assert torch.equal(run(other), before)
    assert not torch.equal(run(audioldm2_unet), before)


def test_a_copy_of_a_patched_model_stands_alone(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, stream="count")
    twin = copy.deepcopy(audioldm2_unet)
    first = run(twin)
    assert not torch.equal(run(twin), first)
    assert torch.equal(run(audioldm2_unet), first)
    disable_lite_focus(twin)
    assert torch.equal(run(twin), before)


@pytest.mark.parametrize(
    ("grid", "message"),
    [(None, "called outside its transformer's forward"), (TokenGrid(20, 8), "of 96 tokens inside a forward of 20 x 8")],
)
def test_a_wrong_grid_is_an_error(audioldm2_unet: Any, run: Run, grid: Any, message: str) -> None:
    inject_lite_focus(audioldm2_unet)
    site = find_sites(audioldm2_unet)[0]

    def set_grid(*_: Any) -> None:
        site.attention.processor.tracker._thread.grid = grid

    site.transformer.transformer_blocks[0].register_forward_pre_hook(set_grid)
    with pytest.raises(RuntimeError, match=message) as error:
        run(audioldm2_unet)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("replace", ["set_attention_slice", "set_attn_processor"])
def test_a_replaced_processor_is_an_error_and_stays(audioldm2_unet: Any, run: Run, replace: str) -> None:
    argument = "max" if replace == "set_attention_slice" else AttnProcessor()
    before = run(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, {"resample": "fixed"})
    focused = run(audioldm2_unet)
    getattr(audioldm2_unet, replace)(argument)
    message = r"the processor of down_blocks.1.attentions.0.transformer_blocks.0.attn1 was replaced after inject"
    with pytest.raises(RuntimeError, match=message) as error:
        run(audioldm2_unet)
    assert "\n" not in str(error.value)
    theirs = dict(audioldm2_unet.attn_processors)
    disable_lite_focus(audioldm2_unet)
    assert audioldm2_unet.attn_processors == theirs
    torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-4, atol=1e-5)
    inject_lite_focus(audioldm2_unet, {"resample": "fixed"})
    torch.testing.assert_close(run(audioldm2_unet), focused, rtol=1e-4, atol=1e-5)
    disable_lite_focus(audioldm2_unet)
    assert audioldm2_unet.attn_processors == theirs


def set_saved_processors(unet: Any) -> None:
    saved = dict(unet.attn_processors)
    disable_lite_focus(unet)
    unet.set_attn_processor(saved)


def unfuse_afterwards(unet: Any) -> None:
    unet.fuse_qkv_projections()
    disable_lite_focus(unet)
    unet.unfuse_qkv_projections()


@pytest.mark.parametrize("bring_back", [set_saved_processors, unfuse_afterwards])
def test_processors_of_ours_that_come_back_are_taken_out(
    audioldm_unet: Any, run_audioldm: Run, bring_back: Any
) -> None:
    dense, config = run_audioldm(audioldm_unet), {"sparse_ratio": 0.3, "resample": "fixed"}
    inject_lite_focus(audioldm_unet, config)
    expected = run_audioldm(audioldm_unet)
    bring_back(audioldm_unet)
    with pytest.raises(RuntimeError, match=r"or disable_lite_focus\(\) first"):
        run_audioldm(audioldm_unet)
    with lite_focus(audioldm_unet, config):
        assert torch.equal(run_audioldm(audioldm_unet), expected)
    torch.testing.assert_close(run_audioldm(audioldm_unet), dense, rtol=1e-5, atol=1e-5)
    inject_lite_focus(audioldm_unet, config)
    bring_back(audioldm_unet)
    disable_lite_focus(audioldm_unet)
    torch.testing.assert_close(run_audioldm(audioldm_unet), dense, rtol=1e-5, atol=1e-5)
    assert {type(processor) for processor in audioldm_unet.attn_processors.values()} == {AttnProcessor2_0}


class Learned(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.5))
        self.stock = AttnProcessor2_0()

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.stock(*args, **kwargs) * self.gain


def test_a_processor_with_weights_is_refused_and_keeps_them(audioldm2_unet: Any, run: Run) -> None:
    inject_lite_focus(audioldm2_unet, {"levels": (1,), "resample": "fixed"})
    site = find_sites(audioldm2_unet)[2]
    site.attention.set_processor(Learned())
    state, weights, before = lite_focus_state(audioldm2_unet), set(audioldm2_unet.state_dict()), run(audioldm2_unet)
    for change in (inject_lite_focus, lambda unet: lite_focus(unet).__enter__()):
        with pytest.raises(
            TypeError, match=f"{site.name} has a Learned with weights, which LiteFocus would not run: set a"
        ) as error:
            change(audioldm2_unet)
        assert "\n" not in str(error.value)
    assert set(audioldm2_unet.state_dict()) == weights
    assert torch.equal(run(audioldm2_unet), before)
    assert lite_focus_state(audioldm2_unet) == state
