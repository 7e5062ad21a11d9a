"""Levers around the sites: equal output, alone and together, with LiteFocus in and out, and nothing left behind."""

import copy
import pkgutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import TEXT_WIDTHS, Run, latents
from diffusers.models.upsampling import Upsample2D
from diffusers.training_utils import EMAModel
from levers_material import EAGER, named, needs_packing

import litefocus
from litefocus import LiteFocusConfig, disable_lite_focus, inject_lite_focus
from litefocus.levers import fused
from litefocus.levers.fused import GatedFeedForward, PhasedUpsampling
from litefocus.levers.optimize import DEFAULT_LEVERS, compile_blocks, optimize, optimized, restore
from litefocus.levers.packed import PackedLinear, PlainLinear

pytestmark = pytest.mark.usefixtures("without_gradients")


@needs_packing
@pytest.mark.parametrize("levers", [*((lever,) for lever in EAGER), EAGER, None], ids=str)
def test_levers_keep_the_output_and_restore_gives_it_back_bit_for_bit(
    audioldm2_unet: Any, run: Run, levers: Any
) -> None:
    before, state = run(audioldm2_unet), named(audioldm2_unet)
    weights = copy.deepcopy(audioldm2_unet.state_dict())
    chosen = optimize(audioldm2_unet, levers)
    assert chosen == (levers or DEFAULT_LEVERS)
    torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-4, atol=1e-5)
    assert named(audioldm2_unet) != state
    restore(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)
    assert named(audioldm2_unet) == state
    assert all(torch.equal(weights[name], value) for name, value in audioldm2_unet.state_dict().items())
    restore(audioldm2_unet)


def test_audioldm_without_text_is_served(audioldm_unet: Any, run_audioldm: Run) -> None:
    before = run_audioldm(audioldm_unet)
    with optimized(audioldm_unet, EAGER[:3]):
        torch.testing.assert_close(run_audioldm(audioldm_unet), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(run_audioldm(audioldm_unet), before)


@pytest.mark.parametrize("optimize_first", [True, False])
def test_lite_focus_and_levers_in_either_order(audioldm2_unet: Any, run: Run, optimize_first: bool) -> None:
    dense = run(audioldm2_unet)
    config = LiteFocusConfig(resample="fixed")
    inject_lite_focus(audioldm2_unet, config)
    focused = run(audioldm2_unet)
    disable_lite_focus(audioldm2_unet)
    steps: list[Callable[[], Any]] = [
        lambda: inject_lite_focus(audioldm2_unet, config),
        lambda: optimize(audioldm2_unet),
    ]
    for step in reversed(steps) if optimize_first else steps:
        step()
    torch.testing.assert_close(run(audioldm2_unet), focused, rtol=1e-4, atol=1e-5)
    restore(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), focused)
    disable_lite_focus(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), dense)


def test_levers_call_fewer_matrix_products(audioldm2_unet: Any, run: Run) -> None:
    def products() -> int:
        with torch.profiler.profile() as profile:
            run(audioldm2_unet)
        return sum(event.count for event in profile.key_averages() if event.key == "aten::linear")

    stock = products()
    self_attentions = sum(
        not module.is_cross_attention for module in audioldm2_unet.modules() if hasattr(module, "is_cross_attention")
    )
    cross = sum(
        module.is_cross_attention for module in audioldm2_unet.modules() if hasattr(module, "is_cross_attention")
    )
    with optimized(audioldm2_unet, ["fused_attention"]):
        assert products() == stock - 2 * self_attentions - cross


@needs_packing
@pytest.mark.parametrize("build", [PackedLinear, PlainLinear])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_kernels_against_float64(build: Any, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x, factor = (torch.randn(*shape, generator=generator) for shape in ((24, 10), (2, 7, 10), (2, 7, 24)))
    offset = torch.randn(24, generator=generator) if bias else None
    exact = x.double() @ weight.double().T + (0 if offset is None else offset.double())
    linear = build(weight, offset)
    torch.testing.assert_close(linear(x).double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(linear(x.transpose(0, 1)).double(), exact.transpose(0, 1), rtol=1e-5, atol=1e-5)
    gelu = exact * 0.5 * (1 + torch.erf(exact / 2**0.5))
    torch.testing.assert_close(linear.gelu(x).double(), gelu, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(linear.times(x, factor).double(), exact * factor, rtol=1e-5, atol=1e-5)


def test_the_gate_is_the_second_half_of_the_weight() -> None:
    up, down = torch.nn.Linear(2, 4, bias=False), torch.nn.Linear(2, 2, bias=False)
    up.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [100, 0], [-100, 0]]))
    down.weight.copy_(torch.eye(2))
    net = [SimpleNamespace(proj=up), None, down]
    # value = (x0, x1), gate = (100 x0, -100 x0); gelu passes the large positive and stops the large negative one.
    output = GatedFeedForward(net, PlainLinear)(torch.tensor([[[3.0, 5.0]]]))
    torch.testing.assert_close(output, torch.tensor([[[900.0, 0.0]]]))


def test_feed_forward_in_pieces_equals_the_whole(audioldm2_unet: Any, run: Run, monkeypatch: Any) -> None:
    before = run(audioldm2_unet)
    monkeypatch.setattr(fused, "CHUNK_ROWS", 14)  # pieces of 7, the last one shorter
    with optimized(audioldm2_unet, ["fused_feed_forward"]):
        torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [None, (10, 6), (9, 6)])
def test_phased_upsampling_against_float64(size: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    upsampler = Upsample2D(3, use_conv=True, out_channels=4)
    for parameter in upsampler.parameters():
        parameter.normal_(generator=generator)
    x = torch.randn(2, 3, 5, 3, generator=generator)
    stretched = F.interpolate(x.double(), size=size or (10, 6), mode="nearest")
    expected = F.conv2d(stretched, upsampler.conv.weight.double(), upsampler.conv.bias.double(), padding=1)
    output = PhasedUpsampling(upsampler)(x, size)
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)


def test_no_public_name_is_also_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(litefocus.__path__)}
    assert "levers" in modules
    assert not modules & set(litefocus.__all__)


def test_changed_weights_and_gradients_are_refused(audioldm2_unet: Any, run: Run) -> None:
    optimize(audioldm2_unet)
    with torch.enable_grad(), pytest.raises(RuntimeError, match="is for inference"):
        run(audioldm2_unet)
    audioldm2_unet.conv_in.weight.mul_(2)
    with pytest.raises(RuntimeError, match="weights changed or moved since"):
        run(audioldm2_unet)
    optimize(audioldm2_unet)
    run(audioldm2_unet)


@pytest.mark.parametrize("levers", [("token_projections",), None])
def test_weights_written_past_autograd_are_seen(audioldm2_unet: Any, run: Run, levers: Any) -> None:
    """diffusers' EMAModel writes through `.data`: no version counts it."""
    average = EMAModel(audioldm2_unet.parameters(), decay=0.5)
    for weight in audioldm2_unet.parameters():
        weight.data.mul_(1.1)
    optimize(audioldm2_unet, levers)
    run(audioldm2_unet)
    average.copy_to(audioldm2_unet.parameters())
    with pytest.raises(RuntimeError, match="weights changed or moved since optimize"):
        run(audioldm2_unet)
    optimize(audioldm2_unet, levers)
    fast = run(audioldm2_unet)
    restore(audioldm2_unet)
    torch.testing.assert_close(fast, run(audioldm2_unet), rtol=1e-4, atol=1e-5)
    optimize(audioldm2_unet, levers)
    audioldm2_unet.mid_block.resnets[0].conv1.bias.data.add_(1e-3)
    with pytest.raises(RuntimeError, match="weights changed or moved since optimize"):
        run(audioldm2_unet)


@needs_packing
def test_requests_that_cannot_be_served(audioldm2_unet: Any, original_model: Any) -> None:
    with pytest.raises(ValueError, match=r"levers \['speed'\]: accepted are token_projections"):
        optimize(audioldm2_unet, ["speed"])
    with pytest.raises(ValueError, match=r"levers='fused_attention': accepted is a list of names, like \['fused_att"):
        optimize(audioldm2_unet, "fused_attention")
    with pytest.raises(TypeError, match="accepted are diffusers UNets"):
        optimize(original_model)
    with optimized(audioldm2_unet), pytest.raises(ValueError, match="optimized already"), optimized(audioldm2_unet):
        pass
    with pytest.raises(ValueError, match="cannot trace them"):
        optimize(audioldm2_unet, ["packed_linears", "compiled_blocks"])
    with optimized(audioldm2_unet), pytest.raises(ValueError, match="cannot trace them"):
        compile_blocks(audioldm2_unet)
    half = audioldm2_unet.to(torch.bfloat16)
    assert "packed_linears" not in optimize(half)
    with pytest.raises(ValueError, match="float32 on cpu"):
        optimize(half, ["packed_linears"])


@pytest.mark.slow
def test_compiled_blocks_keep_the_output(two_level_unet: Any, run: Run, monkeypatch: Any) -> None:
    """One graph per block, with LiteFocus in it, and the keys follow the step although the blocks are compiled."""
    monkeypatch.setattr(torch.nn.Module, "compile", _compile_without_code_generation)
    inject_lite_focus(two_level_unet)
    first, second = run(two_level_unet), run(two_level_unet)
    inject_lite_focus(two_level_unet)
    with optimized(two_level_unet, ["fused_attention", "compiled_blocks"]):
        torch.testing.assert_close(run(two_level_unet), first, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(two_level_unet), second, rtol=1e-4, atol=1e-5)
    assert not any(module._compiled_call_impl for module in two_level_unet.modules())


def _compile_without_code_generation(module: torch.nn.Module, **options: Any) -> None:
    module._compiled_call_impl = torch.compile(module._call_impl, backend="eager", **options)


def test_padded_text_stays_unseen(audioldm2_unet: Any, run: Run) -> None:
    """A T5 mask reaches the fused attention: without it, what stands in the padding would change the output."""
    texts = [torch.randn(2, 6, width, generator=torch.Generator().manual_seed(width)) for width in TEXT_WIDTHS]
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, 3:] = 0

    def forward(text: torch.Tensor) -> torch.Tensor:
        return audioldm2_unet(
            latents(2, 16), 5, texts[0], encoder_hidden_states_1=text, encoder_attention_mask_1=mask
        ).sample

    stock = forward(texts[1])
    optimize(audioldm2_unet, ("fused_attention",))
    torch.testing.assert_close(forward(texts[1]), stock, rtol=1e-4, atol=1e-5)
    other = texts[1].clone()
    other[1, 3:] += 5.0
    torch.testing.assert_close(forward(other), stock, rtol=1e-4, atol=1e-5)
