"""LiteFocus-Linear with a window per query computes its definition."""

from typing import Any

import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel

from experiments.methods.band import BandSite, band_focus
from experiments.pipelines.untrained import TINY_UNET
from litefocus import LiteFocusConfig, TokenGrid, lite_focus
from litefocus.keys import KeySource
from litefocus.sites import find_sites


@pytest.mark.parametrize("sampled", [True, False])
def test_every_query_sees_its_own_frequency_nearby_and_the_sample(sampled: bool) -> None:
    grid, half_width = TokenGrid(150, 4), 9
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, grid.tokens, 8, generator=generator)
    source = KeySource(LiteFocusConfig(window_frames=half_width, cross_frequency=sampled, max_cross_keys=20))
    source.advance(5)
    keys = source.keys(1, grid, torch.device("cpu"))
    output = BandSite(source, 1).attend(query, key, value, grid, 0.3)
    token = torch.arange(grid.tokens)
    near = (token[:, None] // 4 - token // 4).abs() <= half_width
    count = (near & (token[:, None] % 4 == token % 4)).double()
    if sampled:
        assert keys is not None
        assert len(keys) == 20
        count = count + torch.bincount(keys, minlength=grid.tokens).double()
    scores = query.double() @ key.double().mT * 0.3 + count.log()
    assert (output - scores.softmax(-1) @ value.double()).abs().max() < 2e-6


def test_a_window_over_the_whole_clip_is_litefocus() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet: Any = AudioLDM2UNet2DConditionModel(**TINY_UNET).eval()

    def run() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        sample, first, second = (torch.randn(s, generator=generator) for s in [(2, 8, 33, 16), (2, 3, 12), (2, 4, 20)])
        with torch.no_grad():
            return unet(sample, 5, encoder_hidden_states=first, encoder_hidden_states_1=second).sample

    dense = run()
    with lite_focus(unet, LiteFocusConfig(seed=2)):
        wanted = run()
    with band_focus(unet, LiteFocusConfig(seed=2, window_frames=33)) as sites:
        ours = run()
    assert sites == len(find_sites(unet))
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert (ours - dense).abs().max() > 1e-3
    assert torch.equal(run(), dense)


def test_it_reaches_the_blocks_that_the_config_names() -> None:
    with torch.random.fork_rng():
        unet: Any = AudioLDM2UNet2DConditionModel(**TINY_UNET | {"transformer_layers_per_block": 2}).eval()
    counts = {}
    for blocks in ("all", "first"):
        config = LiteFocusConfig(window_frames=33, blocks=blocks)
        with lite_focus(unet, config) as wanted:
            pass
        with band_focus(unet, config) as counts[blocks]:
            assert counts[blocks] == wanted
    assert counts["first"] < counts["all"]


def test_a_config_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window_frames=None: band_focus accepts"), band_focus(None):
        pass
