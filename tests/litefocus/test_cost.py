"""The cost model against torch's FLOP counter and against hand-computed scores."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from experiments.methods.baselines import no_attention
from experiments.pipelines.audioldm2_config import PUBLISHED_AUDIOLDM2_UNET
from litefocus import LiteFocusConfig, TokenGrid, lite_focus
from litefocus.cost import keys_per_query, site_cost, unet_step_cost

FOCUS = LiteFocusConfig(cross_frequency=False)
COMPENSATION = LiteFocusConfig(same_frequency=False)
LINEAR = LiteFocusConfig(window_frames=5, max_cross_keys=11)


def counted(unet: Any, time: int, batch: int, method: AbstractContextManager[Any]) -> int:
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta")

    texts = {"encoder_hidden_states": empty(batch, 8, 768), "encoder_hidden_states_1": empty(batch, 16, 1024)}
    with torch.no_grad(), method, FlopCounterMode(display=False) as counter:
        unet(empty(batch, 8, time, 16), 5, **texts)
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def published_unet() -> Any:
    with torch.device("meta"):
        return AudioLDM2UNet2DConditionModel(**PUBLISHED_AUDIOLDM2_UNET)


@pytest.mark.parametrize("method", ["dense", LiteFocusConfig(), FOCUS, COMPENSATION, LINEAR, "removed"], ids=str)
def test_equals_the_flop_counter_on_the_published_unet(published_unet: Any, method: Any) -> None:
    context = {"dense": nullcontext, "removed": lambda: no_attention(published_unet)}
    patch = context[method]() if isinstance(method, str) else lite_focus(published_unet, method)
    assert unet_step_cost(published_unet, TokenGrid(99, 16), 2, method).total == counted(published_unet, 99, 2, patch)


def test_scores_by_hand_at_80_seconds(published_unet: Any) -> None:
    # 20 sites, 16 heads in a batch of 2, 8000 tokens; each attends to 8000 keys, or to 1000 + 800.
    state = torch.get_rng_state()
    dense = unet_step_cost(published_unet, TokenGrid(2000, 16), 2)
    lite = unet_step_cost(published_unet, TokenGrid(2000, 16), 2, LiteFocusConfig())
    assert dense.site_scores == 20 * 16 * 8000 * 8000
    assert lite.site_scores == 20 * 16 * 8000 * 1800
    assert dense.site_attention == 4 * 32 * dense.site_scores
    assert dense.total - lite.total == dense.site_attention - lite.site_attention
    assert torch.equal(torch.get_rng_state(), state)


def test_scores_of_the_linear_method_grow_with_the_clip(published_unet: Any) -> None:
    config = LiteFocusConfig(window_frames=128, max_cross_keys=102)
    at_80, at_320 = (unet_step_cost(published_unet, TokenGrid(t, 16), 2, config).site_scores for t in (2000, 8000))
    assert at_80 == 20 * 16 * 8000 * (3 * 128 + 102)
    assert at_320 == 4 * at_80


def test_keys_per_query() -> None:
    grid = TokenGrid(1000, 8)
    methods = ["dense", "removed", LiteFocusConfig(), FOCUS, COMPENSATION]
    assert [keys_per_query(grid, method) for method in methods] == [8000, 0, 1800, 1000, 800]
    assert [keys_per_query(TokenGrid(t, 8), LINEAR) for t in (10, 15, 16, 1000)] == [10 + 8, 15 + 11, 26, 26]
    assert site_cost(TokenGrid(2, 3), batch=1, heads=5, head_dim=7) == (180, 5040)
    with pytest.raises(ValueError, match="method 'naive': accepted are 'dense', 'removed', a LiteFocusConfig and a"):
        keys_per_query(grid, "naive")


def test_audioldm_has_a_cost_and_the_original_package_s_model_has_none(audioldm_unet: Any, original_model: Any) -> None:
    cost = unet_step_cost(audioldm_unet, TokenGrid(24, 16), 2, FOCUS)
    # 6 sites, 2 heads of 8, 12 x 8 tokens, 12 keys each.
    assert cost.site_scores == 6 * 2 * 2 * 96 * 12
    assert cost.site_attention == 4 * 8 * cost.site_scores
    with pytest.raises(TypeError, match="cost of UNetModel: accepted are diffusers UNets"):
        unet_step_cost(original_model, TokenGrid(24, 16), 2)
