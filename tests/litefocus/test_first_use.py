"""What a newcomer types: options by name, a context without `with`, an assigned result, the wrong type of argument."""

import gc
import json
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Run
from diffusers import UNet2DModel

from litefocus import (
    LengthRule,
    LengthSchedule,
    LiteFocusConfig,
    disable_lite_focus,
    inject_lite_focus,
    lite_focus,
    lite_focus_state,
    optimize,
    optimized,
    scheduled_focus,
)
from litefocus.sites import find_sites

SCHEDULE = LengthSchedule((LengthRule(None, LiteFocusConfig()),))


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def config_of(unet: Any) -> LiteFocusConfig | None:
    state = lite_focus_state(unet)
    assert state is not None
    return state.config


def test_options_by_name_are_the_config(audioldm2_unet: Any) -> None:
    inject_lite_focus(audioldm2_unet, sparse_ratio=0.05, seed=3)
    assert config_of(audioldm2_unet) == LiteFocusConfig(sparse_ratio=0.05, seed=3)
    with lite_focus(audioldm2_unet, resample="fixed"):
        assert config_of(audioldm2_unet) == LiteFocusConfig(resample="fixed")
    with pytest.raises(TypeError, match="a config and seed beside it: give the config alone"):
        inject_lite_focus(audioldm2_unet, LiteFocusConfig(), seed=4)
    with pytest.raises(ValueError, match=r"unknown LiteFocus options \['ratio'\]: accepted are same_frequency"):
        inject_lite_focus(audioldm2_unet, ratio=0.05)
    assert config_of(audioldm2_unet) == LiteFocusConfig(sparse_ratio=0.05, seed=3)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("lite_focus", lite_focus),
        ("scheduled_focus", lambda unet: scheduled_focus(unet, SCHEDULE)),
        ("optimized", optimized),
    ],
)
def test_a_context_without_with_warns(audioldm2_unet: Any, name: str, call: Callable[[Any], Any]) -> None:
    with pytest.warns(UserWarning, match=rf"{name}\(\.\.\.\) was never entered, so it changed nothing: write `with"):
        call(audioldm2_unet)
    assert lite_focus_state(audioldm2_unet) is None
    with warnings.catch_warnings(action="error"):
        context = call(audioldm2_unet)
        assert f"for `with {name}(...):`; nothing is changed before" in repr(context)
        with context:
            assert repr(context).endswith("entered>")
        del context
        gc.collect()


def test_a_context_is_no_pipeline_and_serves_once(audioldm2_unet: Any) -> None:
    context: Any = lite_focus(audioldm2_unet)
    with pytest.raises(TypeError, match=r"lite_focus\(...\) is a context, neither the pipeline nor a decorator: write"):
        context("a dog")
    again = r"^this lite_focus\(\.\.\.\) was entered before, and serves once: call lite_focus again$"
    with context, pytest.raises(RuntimeError, match=again), context:
        pass
    assert lite_focus_state(audioldm2_unet) is None
    with pytest.raises(RuntimeError, match=again), context:
        pass


def test_a_unet_without_transformers_is_named() -> None:
    unet = UNet2DModel(
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D"), norm_num_groups=4,
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
    )  # fmt: skip
    with pytest.raises(
        TypeError, match="^UNet2DModel has no Transformer2DModel or SpatialTransformer around its atten"
    ):
        inject_lite_focus(unet, frequency_axis=-2)


def test_the_result_of_inject_is_a_number_and_not_the_pipeline(audioldm2_unet: Any) -> None:
    sites = inject_lite_focus(SimpleNamespace(unet=audioldm2_unet))
    assert sites == 12
    assert json.dumps(sites) == "12"
    for use, kind in ((lambda pipe: pipe("a dog"), TypeError), (lambda pipe: pipe.to("cpu"), AttributeError)):
        with pytest.raises(
            kind, match="patched sites, here 12: write inject_lite_focus.pipe. without assigning"
        ) as error:
            use(sites)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("schedule", [LiteFocusConfig(), {"sparse_ratio": 0.1}, None, [LengthRule(None, None)]])
def test_another_type_as_schedule_is_one_line(audioldm2_unet: Any, schedule: Any) -> None:
    message = f"schedule of type {type(schedule).__name__}: accepted is LengthSchedule"
    with pytest.raises(TypeError, match=message) as error, scheduled_focus(audioldm2_unet, schedule):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("levers", [LiteFocusConfig(), 3, True, [LiteFocusConfig()], [["fused_attention"]]])
def test_another_type_as_levers_is_one_line(audioldm2_unet: Any, levers: Any) -> None:
    with pytest.raises(
        TypeError, match=f"levers of type {type(levers).__name__}: accepted is a list of names"
    ) as error:
        optimize(audioldm2_unet, levers)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unet", ["audioldm2_unet", "audioldm_unet"])
def test_diffusers_own_reset_names_the_way_out(unet: str, request: Any) -> None:
    model = request.getfixturevalue(unet)
    inject_lite_focus(model)
    with pytest.raises(ValueError, match=r"LiteFocus, which disable_lite_focus\(pipe\) takes out before"):
        model.set_default_attn_processor()
    disable_lite_focus(model)
    model.set_default_attn_processor()


def test_merged_tokens_name_the_other_patch(audioldm2_unet: Any, run: Run) -> None:
    """tomesd merges the tokens between the norm and the attention, as this hook does."""
    inject_lite_focus(audioldm2_unet)
    attention = find_sites(audioldm2_unet)[0].attention
    attention.register_forward_pre_hook(lambda _, args: (args[0][:, ::2], *args[1:]))
    with pytest.raises(RuntimeError, match="of 48 tokens inside a forward of 12 x 8: another patch merges or drops"):
        run(audioldm2_unet)
