"""The baseline arms compute what they claim, on the sites of LiteFocus, and leave nothing behind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel

from experiments.methods.baselines import authors_attention, deleted_sites, naive_attention, no_attention
from experiments.pipelines.untrained import TINY_UNET
from litefocus import LiteFocusConfig, lite_focus
from litefocus.sites import find_sites


@pytest.fixture(scope="module")
def unet() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AudioLDM2UNet2DConditionModel(**TINY_UNET).eval()


def run(unet: Any, time: int = 33) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 8, time, 16), (2, 3, 12), (2, 4, 20)]
    sample, first, second = (torch.randn(shape, generator=generator) for shape in shapes)
    with torch.no_grad():
        return unet(sample, 5, encoder_hidden_states=first, encoder_hidden_states_1=second).sample


def test_naive_equals_dense(unet: Any) -> None:
    with naive_attention(unet) as sites:
        naive = run(unet)
    assert sites == len(find_sites(unet))
    torch.testing.assert_close(naive, run(unet), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        LiteFocusConfig(),
        LiteFocusConfig(sparse_ratio=0.5, seed=3, resample="step"),
        LiteFocusConfig(cross_frequency=False),
        LiteFocusConfig(same_frequency=False),
    ],
    ids=str,
)
def test_authors_arithmetic_equals_lite_focus_over_two_steps(unet: Any, config: LiteFocusConfig) -> None:
    with lite_focus(unet, config):
        fast = [run(unet), run(unet, time=40)]
    with authors_attention(unet, config):
        slow = [run(unet), run(unet, time=40)]
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_authors_arithmetic_refuses_the_union(unet: Any) -> None:
    with (
        pytest.raises(ValueError, match="duplicates='union': the authors' arithmetic accepts"),
        authors_attention(unet, {"duplicates": "union"}),
    ):
        pass


def test_authors_arithmetic_refuses_a_window(unet: Any) -> None:
    with (
        pytest.raises(ValueError, match="window_frames=8: the authors' arithmetic has no window"),
        authors_attention(unet, {"window_frames": 8}),
    ):
        pass


def test_deleted_sites_equal_sites_whose_output_is_zero(unet: Any) -> None:
    handles = [
        site.attention.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
        for site in find_sites(unet)
    ]
    expected = run(unet)
    for handle in handles:
        handle.remove()
    with deleted_sites(unet):
        removed = run(unet)
    assert torch.equal(removed, expected)
    assert not torch.equal(removed, run(unet))


@pytest.mark.parametrize(("arm", "expected"), [(deleted_sites, []), (no_attention, ["to_q"])])
def test_only_the_limit_keeps_the_projections(unet: Any, arm: Callable[..., Any], expected: list[str]) -> None:
    calls: list[str] = []
    handle = find_sites(unet)[0].attention.to_q.register_forward_hook(lambda *_: calls.append("to_q"))
    with arm(unet):
        run(unet)
    handle.remove()
    assert calls == expected


def test_the_limit_passes_every_token_its_own_value(unet: Any) -> None:
    attention = find_sites(unet)[0].attention
    seen: dict[str, torch.Tensor] = {}
    handles = [
        attention.to_v.register_forward_hook(lambda module, args, output: seen.update(value=output)),
        attention.to_out[0].register_forward_hook(lambda module, args, output: seen.update(mixed=args[0])),
    ]
    with no_attention(unet):
        run(unet)
    for handle in handles:
        handle.remove()
    assert torch.equal(seen["mixed"], seen["value"])


@pytest.mark.parametrize("arm", [naive_attention, authors_attention, no_attention, deleted_sites])
def test_arm_restores_the_model(unet: Any, arm: Callable[..., Any]) -> None:
    before = run(unet)
    with arm(unet):
        run(unet)
    assert torch.equal(run(unet), before)
