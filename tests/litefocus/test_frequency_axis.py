"""Which axis of the latents is frequency: known, asked for, and served either way; other kinds of UNet are refused."""

from typing import Any

import pytest
import torch
from conftest import COMMON, Run, seeded
from diffusers import AudioLDM2UNet2DConditionModel, UNet2DConditionModel, UNet3DConditionModel

from litefocus import (
    LengthRule,
    LengthSchedule,
    LiteFocusConfig,
    disable_lite_focus,
    inject_lite_focus,
    lite_focus,
    scheduled_focus,
)
from litefocus.sites import find_sites

TIME, FREQ = 24, 16


@pytest.fixture
def auffusion_unet() -> Any:
    """Stable Diffusion's class and layout, as Auffusion and Riffusion use it: one text, latents (frequency, time)."""
    return seeded(lambda: UNet2DConditionModel(**COMMON, cross_attention_dim=12, sample_size=16))


def denoise(unet: Any, freq: int = FREQ, time: int = TIME) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    text = torch.randn(2, 5, 12, generator=generator)
    with torch.no_grad():
        return unet(torch.randn(2, 4, freq, time, generator=generator), 5, encoder_hidden_states=text).sample


def test_a_unet_that_does_not_tell_is_refused_unless_the_user_says(auffusion_unet: Any) -> None:
    before = denoise(auffusion_unet)
    for call in (lambda: inject_lite_focus(auffusion_unet), lambda: lite_focus(auffusion_unet).__enter__()):
        with pytest.raises(TypeError, match="does not tell which axis .* is frequency: say frequency_axis=-2") as error:
            call()
        assert "\n" not in str(error.value)
    assert torch.equal(denoise(auffusion_unet), before)
    for axis in (-1, -2):
        assert inject_lite_focus(auffusion_unet, frequency_axis=axis) == 3
        assert not torch.equal(denoise(auffusion_unet), before)
    disable_lite_focus(auffusion_unet)
    assert torch.equal(denoise(auffusion_unet), before)


def masked(site: Any, hidden: torch.Tensor, freq: int, time: int) -> torch.Tensor:
    """The definition on (frequency, time) tokens: a query attends to the tokens of its own frequency."""
    batch = hidden.shape[0]
    query, key, value = (
        layer(hidden).unflatten(-1, (site.heads, -1)).transpose(1, 2).double()
        for layer in (site.to_q, site.to_k, site.to_v)
    )
    bins = torch.arange(freq).repeat_interleave(time)
    scores = query @ key.transpose(-1, -2) * site.scale
    weights = scores.masked_fill(bins[:, None] != bins, -torch.inf).softmax(-1)
    output = (weights @ value).transpose(1, 2).reshape(batch, freq * time, -1).float()
    return site.to_out[1](site.to_out[0](output))


@pytest.mark.parametrize("scheduled", [False, True])
def test_frequency_first_tokens_are_focused_on_their_own_frequency(auffusion_unet: Any, scheduled: bool) -> None:
    config = LiteFocusConfig(cross_frequency=False, frequency_axis=-2)
    site = find_sites(auffusion_unet)[0].attention
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    site.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    schedule = LengthSchedule((LengthRule(TIME // 4, None), LengthRule(None, config)))
    with scheduled_focus(auffusion_unet, schedule) if scheduled else lite_focus(auffusion_unet, config):
        denoise(auffusion_unet)
    hidden, output = seen[0]
    # Level 0 is after one halving: 8 bins of 12 frames.
    torch.testing.assert_close(output, masked(site, hidden, FREQ // 2, TIME // 2), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(output, masked(site, hidden, TIME // 2, FREQ // 2), atol=1e-3)


def test_all_keys_equal_the_unpatched_model_on_either_axis(auffusion_unet: Any) -> None:
    before = denoise(auffusion_unet)
    for axis in (-1, -2):
        inject_lite_focus(auffusion_unet, same_frequency=False, sparse_ratio=1.0, frequency_axis=axis)
        torch.testing.assert_close(denoise(auffusion_unet), before, rtol=1e-4, atol=1e-5)


def test_models_that_tell_need_no_answer(audioldm2_unet: Any, audioldm_unet: Any, original_model: Any) -> None:
    for model, sites in ((audioldm2_unet, 12), (audioldm_unet, 6), (original_model, 20)):
        assert inject_lite_focus(model) == sites
        assert inject_lite_focus(model, frequency_axis=-1) == sites


def test_audioldm_with_one_level_of_attention_tells() -> None:
    """As in diffusers' own fast tests: its one width says nothing, the class embedding does."""
    small: dict[str, Any] = COMMON | {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 16),
    }
    unet = UNet2DConditionModel(
        **small,
        cross_attention_dim=(8, 16),
        sample_size=16,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=10,
        class_embeddings_concat=True,
    )
    # Down 1, middle 1, up 2 transformers, each with two self-attentions.
    assert inject_lite_focus(unet) == 8


def test_rules_of_one_schedule_agree_on_the_axis() -> None:
    rules = (LengthRule(8, LiteFocusConfig(frequency_axis=-1)), LengthRule(None, LiteFocusConfig(frequency_axis=-2)))
    with pytest.raises(ValueError, match="patch different levels, blocks or axes"):
        LengthSchedule(rules)
    for wrong in (1, -3, "time", True, -2.0):
        with pytest.raises(ValueError, match="accepted are -1 and -2, or None"):
            LiteFocusConfig(frequency_axis=wrong)  # type: ignore[arg-type]


def test_video_is_refused_at_once() -> None:
    unet = UNet3DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=12,
        attention_head_dim=4,
    )
    for axis in (None, -2):
        with pytest.raises(TypeError, match="UNet3DConditionModel attends in a TransformerTemporalModel: accepted"):
            inject_lite_focus(unet, frequency_axis=axis)


def test_only_the_first_block_of_each_transformer(run: Run) -> None:
    """AudioLDM2-large has three blocks in each transformer; the authors' patch reaches the first alone."""
    options = COMMON | {"transformer_layers_per_block": 3}
    unet: Any = seeded(lambda: AudioLDM2UNet2DConditionModel(**options, cross_attention_dim=[[None, 12, 20]] * 3))
    every, first = find_sites(unet), find_sites(unet, blocks="first")
    assert (len(every), len(first)) == (36, 12)
    assert [site.name for site in first] == [site.name for site in every if ".transformer_blocks.0." in site.name]
    assert inject_lite_focus(unet, blocks="first") == 12
    with torch.no_grad():
        few = run(unet)
        inject_lite_focus(unet)
        assert not torch.equal(run(unet), few)
