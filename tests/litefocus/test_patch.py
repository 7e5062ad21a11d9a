"""Patching real UNets: which attentions change, when, and that nothing is left behind."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import COMMON, Run, latents
from diffusers import AudioLDM2UNet2DConditionModel, StableAudioDiTModel

from experiments.pipelines.audioldm2_config import PUBLISHED_AUDIOLDM2_UNET
from litefocus import LiteFocusConfig, TokenGrid, disable_lite_focus, inject_lite_focus, lite_focus, lite_focus_state
from litefocus.keys import KeySource
from litefocus.patch import SitePatch, patched
from litefocus.processor import LiteFocusSite, ProjectedSite, SelfAttentionProcessor
from litefocus.reference import reference_attention
from litefocus.sites import find_sites, find_unet

ALL_DENSE = LiteFocusConfig(same_frequency=False, sparse_ratio=1.0)


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def test_published_unet_has_twenty_sites_at_the_eight_bin_level() -> None:
    with torch.device("meta"):
        unet = AudioLDM2UNet2DConditionModel(**PUBLISHED_AUDIOLDM2_UNET)
    assert sum(parameter.numel() for parameter in unet.parameters()) == 346_943_496
    sites = find_sites(unet)
    blocks = [site.name.split(".attentions")[0] for site in sites]
    assert blocks == ["down_blocks.1"] * 8 + ["up_blocks.2"] * 12
    assert sum(site.name.endswith("attn2") for site in sites) == 5
    assert not any(site.attention.is_cross_attention for site in sites)  # type: ignore[truthy-function]
    assert inject_lite_focus(unet) == 20


def test_disable_restores_the_output_bit_for_bit(audioldm2_unet: Any, run: Run) -> None:
    processors = dict(audioldm2_unet.attn_processors)
    before = run(audioldm2_unet)
    assert inject_lite_focus(audioldm2_unet) == 12
    assert not torch.equal(run(audioldm2_unet), before)
    disable_lite_focus(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)
    assert audioldm2_unet.attn_processors == processors
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in audioldm2_unet.modules())
    assert not hasattr(audioldm2_unet, "_litefocus_patch")
    disable_lite_focus(audioldm2_unet)


def test_all_keys_equals_the_unpatched_model(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    with lite_focus(audioldm2_unet, ALL_DENSE):
        torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-5, atol=1e-5)


def test_injecting_twice_equals_once_and_a_new_config_replaces_the_old(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.2})
    once = run(audioldm2_unet)
    inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.9})
    other = run(audioldm2_unet)
    assert inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.2}) == 12
    assert torch.equal(run(audioldm2_unet), once)
    assert not torch.equal(once, other)
    disable_lite_focus(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)


def test_global_random_state_is_untouched(audioldm2_unet: Any, run: Run) -> None:
    state = torch.get_rng_state()
    with lite_focus(audioldm2_unet):
        run(audioldm2_unet)
    assert torch.equal(torch.get_rng_state(), state)


def test_cross_attention_is_untouched_by_module_and_by_call(audioldm2_unet: Any) -> None:
    inject_lite_focus(audioldm2_unet)
    for name, module in audioldm2_unet.named_modules():
        if getattr(module, "is_cross_attention", False):
            assert not isinstance(module.processor, SelfAttentionProcessor), name
    site = find_sites(audioldm2_unet)[0].attention
    hidden = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    text = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
    patched = site(hidden, encoder_hidden_states=text)
    disable_lite_focus(audioldm2_unet)
    assert torch.equal(patched, site(hidden, encoder_hidden_states=text))


@pytest.mark.parametrize("resample", ["call", "step", "fixed"])
def test_odd_lengths_and_changing_batches(audioldm2_unet: Any, run: Run, resample: str) -> None:
    with lite_focus(audioldm2_unet, {"resample": resample, "sparse_ratio": 0.2}):
        for time, batch in ((33, 2), (999, 1), (4, 3), (256, 1), (33, 2), (1000, 1), (1, 2)):
            output = run(audioldm2_unet, time=time, batch=batch)
            assert output.shape == (batch, 4, time, 16)
            assert output.isfinite().all()


def test_grid_is_the_level_s_own_and_forgotten_after_the_forward(audioldm2_unet: Any, run: Run) -> None:
    inject_lite_focus(audioldm2_unet)
    seen = []
    processor = find_sites(audioldm2_unet)[0].attention.processor
    inner = processor.function
    processor.function = lambda attn, hidden, grid: seen.append(grid) or inner(attn, hidden, grid)
    run(audioldm2_unet, time=33)
    assert seen == [(17, 8)]
    with pytest.raises(RuntimeError, match="outside its transformer's forward"):
        find_sites(audioldm2_unet)[0].attention(torch.zeros(1, 136, 16))


def test_clip_alone_equals_clip_in_a_batch(audioldm2_unet: Any, run: Run) -> None:
    with lite_focus(audioldm2_unet, {"sparse_ratio": 0.2}):
        pair = run(audioldm2_unet, batch=2)
    with lite_focus(audioldm2_unet, {"sparse_ratio": 0.2}):
        generator = torch.Generator().manual_seed(1)
        texts = [torch.randn(2, 3, width, generator=generator) for width in (12, 20)]
        single = audioldm2_unet(
            latents(2, 24)[1:], 5, encoder_hidden_states=texts[0][1:], encoder_hidden_states_1=texts[1][1:]
        ).sample
    torch.testing.assert_close(single, pair[1:], rtol=1e-5, atol=1e-5)


def test_mask_on_a_site_is_refused(audioldm2_unet: Any) -> None:
    inject_lite_focus(audioldm2_unet)
    mask = torch.ones(1, 96)
    texts = {"encoder_hidden_states": torch.zeros(1, 3, 12), "encoder_hidden_states_1": torch.zeros(1, 3, 20)}
    with pytest.raises(ValueError, match="LiteFocus accepts none"):
        audioldm2_unet(latents(1, 24), 5, attention_mask=mask, **texts)


def test_levels_select_deeper_attention(audioldm2_unet: Any, run: Run) -> None:
    shallow, deep = find_sites(audioldm2_unet, (0,)), find_sites(audioldm2_unet, (1,))
    assert {site.name.split(".attentions")[0] for site in deep} == {"down_blocks.2", "mid_block", "up_blocks.0"}
    assert inject_lite_focus(audioldm2_unet, {"levels": (0, 1)}) == len(shallow) + len(deep)
    assert run(audioldm2_unet, time=33).isfinite().all()
    with pytest.raises(ValueError, match=re.escape("levels=(2,): this AudioLDM2UNet2DConditionModel has 2 levels")):
        inject_lite_focus(audioldm2_unet, {"levels": (2,)})


def test_gradients_flow_and_survive_checkpointing(audioldm2_unet: Any, run: Run) -> None:
    def gradient() -> torch.Tensor:
        audioldm2_unet.zero_grad()
        with torch.enable_grad(), lite_focus(audioldm2_unet, {"sparse_ratio": 0.2}):
            run(audioldm2_unet).square().sum().backward()
        return audioldm2_unet.conv_in.weight.grad.clone()

    plain = gradient()
    assert plain.abs().sum() > 0
    audioldm2_unet.train()
    audioldm2_unet.enable_gradient_checkpointing()
    torch.testing.assert_close(gradient(), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_unet_draws_the_keys_of_the_eager_one(two_level_unet: Any, run: Run) -> None:
    with lite_focus(two_level_unet):
        eager = [run(two_level_unet, timestep=timestep) for timestep in (5, 3)]
    compiled = torch.compile(two_level_unet, backend="eager", fullgraph=True)
    with lite_focus(compiled):
        got = [run(compiled, timestep=timestep) for timestep in (5, 3)]
    for a, b in zip(got, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (eager[0] - eager[1]).abs().max() > 1e-3


@pytest.mark.slow
def test_compiled_unet_reads_the_static_buffer(two_level_unet: Any, run: Run) -> None:
    config = LiteFocusConfig(resample="step", stream="count")
    with lite_focus(two_level_unet, config):
        eager = [run(two_level_unet) for _ in range(3)]
    compiled = torch.compile(two_level_unet, backend="aot_eager", fullgraph=True)
    with lite_focus(two_level_unet, config):
        got = [run(two_level_unet), run(compiled), run(compiled)]
    for a, b in zip(got, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (eager[1] - eager[2]).abs().max() > 1e-3


@pytest.mark.slow
def test_unet_compiled_in_place_follows_the_length(two_level_unet: Any, run: Run) -> None:
    lengths = (24, 24, 33)
    with lite_focus(two_level_unet):
        eager = [run(two_level_unet, time=time) for time in lengths]
    inject_lite_focus(two_level_unet)
    two_level_unet.compile(backend="eager")
    for time, expected in zip(lengths, eager, strict=True):
        torch.testing.assert_close(run(two_level_unet, time=time), expected, rtol=1e-4, atol=1e-5)


def test_audioldm_and_musicldm_have_two_self_attentions_per_block(audioldm_unet: Any, run_audioldm: Run) -> None:
    before = run_audioldm(audioldm_unet)
    assert inject_lite_focus(SimpleNamespace(unet=audioldm_unet)) == 6
    assert not torch.equal(run_audioldm(audioldm_unet), before)
    assert run_audioldm(audioldm_unet, time=33, batch=1).isfinite().all()
    inject_lite_focus(audioldm_unet, ALL_DENSE)
    torch.testing.assert_close(run_audioldm(audioldm_unet), before, rtol=1e-5, atol=1e-5)
    disable_lite_focus(audioldm_unet)
    assert torch.equal(run_audioldm(audioldm_unet), before)


def test_original_package_s_model(original_model: Any) -> None:
    unet = original_model.model.diffusion_model
    contexts = {width: torch.randn(2, 5, width, generator=torch.Generator().manual_seed(width)) for width in (10, 6)}
    before = unet(latents(2, 16), 5, contexts)
    assert inject_lite_focus(original_model) == 20
    assert sorted({".".join(site.name.split(".")[:2]) for site in find_sites(unet)}) == [
        "input_blocks.4",
        "input_blocks.5",
        "output_blocks.6",
        "output_blocks.7",
        "output_blocks.8",
    ]
    assert not torch.equal(unet(latents(2, 16), 5, contexts), before)
    inject_lite_focus(original_model, ALL_DENSE)
    # The miniature has no normalisation between levels: its outputs are large, so compare with the largest.
    assert (unet(latents(2, 16), 5, contexts) - before).abs().max() < 1e-5 * before.abs().max()
    disable_lite_focus(original_model)
    assert torch.equal(unet(latents(2, 16), 5, contexts), before)
    assert not any("forward" in module.__dict__ for module in unet.modules())


def test_model_without_a_frequency_axis_is_refused() -> None:
    transformer = StableAudioDiTModel(
        sample_size=4,
        in_channels=3,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        num_key_value_attention_heads=2,
        out_channels=3,
        cross_attention_dim=4,
        time_proj_dim=8,
        global_states_input_dim=8,
        cross_attention_input_dim=4,
    )
    for model in (transformer, SimpleNamespace(transformer=transformer), None):
        with pytest.raises(TypeError, match="has no UNet with a frequency axis: accepted are") as error:
            inject_lite_focus(model)
        assert "\n" not in str(error.value)


def test_find_unet_sees_through_pipelines_and_compilation(audioldm2_unet: Any) -> None:
    compiled = torch.compile(audioldm2_unet)
    for model in (audioldm2_unet, compiled, SimpleNamespace(unet=audioldm2_unet), SimpleNamespace(unet=compiled)):
        assert find_unet(model) is audioldm2_unet
    assert COMMON["in_channels"] == audioldm2_unet.config.in_channels


def test_linear_litefocus_on_a_real_unet_equals_the_definition_by_masking(audioldm2_unet: Any, run: Run) -> None:
    # 20 latent frames give 10 token frames at the sites: more than 3 * 3. A window as long as the clip changes nothing.
    config = LiteFocusConfig(window_frames=3, max_cross_keys=4, sparse_ratio=1.0)
    exact = LiteFocusConfig(max_cross_keys=4, sparse_ratio=1.0)
    outputs = {}
    for name, options in {"linear": config, "exact": exact}.items():
        with lite_focus(audioldm2_unet, options):
            outputs[name] = {time: run(audioldm2_unet, time=time) for time in (18, 20)}
    assert torch.equal(outputs["linear"][18], outputs["exact"][18])
    assert not torch.allclose(outputs["linear"][20], outputs["exact"][20])
    fixed = LiteFocusConfig(window_frames=3, max_cross_keys=4, sparse_ratio=1.0, resample="fixed")
    with patched(SitePatch(audioldm2_unet, find_sites(audioldm2_unet), lambda number: Masked(fixed, number))):
        expected = run(audioldm2_unet, time=20)
    with lite_focus(audioldm2_unet, fixed):
        torch.testing.assert_close(run(audioldm2_unet, time=20), expected, rtol=1e-4, atol=1e-5)


class Masked(ProjectedSite):
    """The definition as a site, with the keys that a fixed sample draws."""

    def __init__(self, config: LiteFocusConfig, number: int) -> None:
        self.source = KeySource(config)
        self.number = number

    def attend(self, query: Any, key: Any, value: Any, grid: TokenGrid, scale: float) -> torch.Tensor:
        keys = self.source.keys(self.number, grid, query.device)
        window = self.source.config.window_frames
        return reference_attention(query, key, value, grid, keys, scale=scale, window_frames=window).to(query.dtype)


@pytest.mark.parametrize("as_context", [False, True])
def test_a_forward_that_was_replaced_before_comes_back(original_model: Any, as_context: bool) -> None:
    unet = original_model.model.diffusion_model
    attention: Any = find_sites(unet)[0].attention
    theirs = attention.forward = lambda x, context=None, mask=None: torch.zeros_like(x)
    contexts = {width: torch.ones(2, 5, width) for width in (10, 6)}
    before = unet(latents(2, 16), 5, contexts)
    if as_context:
        with lite_focus(original_model):
            assert attention.forward is not theirs
    else:
        inject_lite_focus(original_model)
        inject_lite_focus(original_model)
        disable_lite_focus(original_model)
    assert attention.forward is theirs
    assert torch.equal(unet(latents(2, 16), 5, contexts), before)


def test_the_state_says_what_is_on(audioldm2_unet: Any) -> None:
    assert lite_focus_state(audioldm2_unet) is None
    sites = inject_lite_focus(audioldm2_unet, {"sparse_ratio": 0.2})
    assert lite_focus_state(audioldm2_unet) == (sites, LiteFocusConfig(sparse_ratio=0.2))
    with lite_focus(SimpleNamespace(unet=audioldm2_unet), LiteFocusConfig(seed=5)):
        state = lite_focus_state(audioldm2_unet)
        assert state is not None
        assert state.config == LiteFocusConfig(seed=5)
    assert lite_focus_state(audioldm2_unet) == (sites, LiteFocusConfig(sparse_ratio=0.2))
    disable_lite_focus(audioldm2_unet)
    assert lite_focus_state(audioldm2_unet) is None


@pytest.mark.parametrize(
    "config",
    [
        LiteFocusConfig(duplicates="union", sparse_ratio=0.5),
        LiteFocusConfig(sparse_ratio=0.5),
        LiteFocusConfig(window_frames=2, sparse_ratio=0.5),
    ],
    ids=str,
)
def test_a_site_passes_its_options_and_its_scale_on(config: LiteFocusConfig) -> None:
    grid = TokenGrid(12, 4)
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, grid.tokens, 8, generator=generator)
    source = KeySource(config)
    source.advance(5)
    output = LiteFocusSite(source, 1).attend(query, key, value, grid, 0.9)
    wanted = reference_attention(
        query,
        key,
        value,
        grid,
        source.keys(1, grid, torch.device("cpu")),
        scale=0.9,
        duplicates=config.duplicates,
        window_frames=config.window_frames,
    )
    assert (output - wanted).abs().max() < 2e-6
