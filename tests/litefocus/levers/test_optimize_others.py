"""Levers beside adapters, hooks, copies and errors: nothing that is not ours is dropped, deleted or half replaced."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from conftest import Run
from diffusers.models.upsampling import Upsample2D
from levers_material import EAGER, named, needs_packing

from litefocus import inject_lite_focus
from litefocus.context import replaced
from litefocus.levers.fused import is_nearest_upsampler
from litefocus.levers.optimize import DEFAULT_LEVERS, optimize, optimized, restore
from litefocus.sites import find_sites

pytestmark = pytest.mark.usefixtures("without_gradients")


class Linear(torch.nn.Module):
    """An adapter as peft's: named Linear, shows the base layer's weight and adds a product of its own to its output."""

    def __init__(self, base_layer: torch.nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.scale = 0.5

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) * (1 + self.scale)


def adapted(unet: Any, names: tuple[str, ...]) -> int:
    """Wrap the layers whose name ends in one of `names`; returns how many."""
    wrapped = [name for name, _ in unet.named_modules() if name.endswith(names)]
    for name in wrapped:
        unet.set_submodule(name, Linear(unet.get_submodule(name)))
    return len(wrapped)


@needs_packing
@pytest.mark.parametrize("levers", [*((lever,) for lever in EAGER), None], ids=str)
@pytest.mark.parametrize("names", [("to_q", "to_v"), ("0.proj", "net.2"), ("proj_in", "proj_out"), (".conv",)], ids=str)
def test_adapters_are_kept(audioldm2_unet: Any, run: Run, names: tuple[str, ...], levers: Any) -> None:
    plain = run(audioldm2_unet)
    assert adapted(audioldm2_unet, names) > 2
    expected = run(audioldm2_unet)
    assert (expected - plain).abs().max() > 1e-3
    with optimized(audioldm2_unet, levers):
        torch.testing.assert_close(run(audioldm2_unet), expected, rtol=1e-4, atol=1e-5)
        # Merging an adapter writes past autograd: a packed copy of the base weight would miss it.
        for module in audioldm2_unet.modules():
            if isinstance(module, Linear):
                for parameter in module.base_layer.parameters():
                    parameter.data.mul_(1.5)
                module.scale = 0
        torch.testing.assert_close(run(audioldm2_unet), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mid_block.attentions.0", "up_blocks.1.attentions.0.proj_in", "down_blocks.1", ""])
def test_a_forward_that_is_not_ours_is_refused_and_stays(audioldm2_unet: Any, run: Run, name: str) -> None:
    """Offloading, layerwise casting and attention_reuse all replace `forward` on the instance."""
    before, module = run(audioldm2_unet), audioldm2_unet.get_submodule(name)
    inner, calls = module.forward, []
    with replaced(module, "forward", lambda forward: lambda *a, **k: calls.append(name) or forward(*a, **k)):
        hook = module.forward
        with pytest.raises(
            RuntimeError, match=f"^{name or 'the UNet'} has a forward of its own .*attention_reuse after"
        ):
            optimize(audioldm2_unet)
        assert module.forward is hook
        assert torch.equal(run(audioldm2_unet), before)
        assert calls == [name]
    assert module.forward == inner
    assert optimize(audioldm2_unet) == DEFAULT_LEVERS


def test_hooks_that_were_taken_off_are_none(audioldm2_unet: Any, run: Run) -> None:
    """accelerate leaves the class's forward on the instance, as DeepCache does."""
    before = run(audioldm2_unet)
    for module in (audioldm2_unet, audioldm2_unet.mid_block, find_sites(audioldm2_unet)[0].attention):
        add_hook_to_module(module, ModelHook())
    with pytest.raises(RuntimeError, match="has a forward of its own"):
        optimize(audioldm2_unet)
    remove_hook_from_module(audioldm2_unet, recurse=True)
    assert "forward" in vars(audioldm2_unet)
    optimize(audioldm2_unet)
    torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-4, atol=1e-5)
    restore(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)


def test_a_lever_over_ours_comes_off_first(audioldm2_unet: Any, run: Run) -> None:
    before = run(audioldm2_unet)
    attention = find_sites(audioldm2_unet)[0].attention
    optimize(audioldm2_unet)
    with replaced(attention, "forward", lambda forward: lambda *args, **kwargs: forward(*args, **kwargs)):
        theirs = attention.forward
        torch.testing.assert_close(run(audioldm2_unet), before, rtol=1e-4, atol=1e-5)
        with pytest.raises(RuntimeError, match="forward of down_blocks.1.*attn1 was replaced after optimize"):
            restore(audioldm2_unet)
        with pytest.raises(RuntimeError, match="attn1 has a forward of its own"):
            optimize(audioldm2_unet)
        assert attention.forward is theirs
    restore(audioldm2_unet)
    assert torch.equal(run(audioldm2_unet), before)


@needs_packing
def test_an_error_leaves_no_lever_half_on(audioldm2_unet: Any, run: Run, monkeypatch: Any) -> None:
    before, state = run(audioldm2_unet), named(audioldm2_unet)
    monkeypatch.setattr("litefocus.levers.optimize.PhasedUpsampling", lambda module: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        optimize(audioldm2_unet)
    assert named(audioldm2_unet) == state
    assert torch.equal(run(audioldm2_unet), before)


@needs_packing
def test_one_weight_that_cannot_be_packed_is_seen_beforehand(audioldm2_unet: Any) -> None:
    audioldm2_unet.mid_block.to(torch.bfloat16)
    state = named(audioldm2_unet)
    with pytest.raises(ValueError, match="weights are torch.bfloat16 on cpu"):
        optimize(audioldm2_unet, ["packed_linears"])
    assert named(audioldm2_unet) == state
    assert "packed_linears" not in optimize(audioldm2_unet)


@needs_packing
def test_autocast_is_refused_by_packed_linears_alone(audioldm2_unet: Any, run: Run) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        expected = run(audioldm2_unet)
        with optimized(audioldm2_unet), pytest.raises(RuntimeError, match="packed_linears under torch.autocast"):
            run(audioldm2_unet)
        with optimized(audioldm2_unet, ["fused_attention"]):
            torch.testing.assert_close(run(audioldm2_unet), expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("levers", [["fused_attention"], None])
def test_an_optimized_model_is_not_copied(audioldm2_unet: Any, run: Run, levers: Any) -> None:
    with optimized(audioldm2_unet, levers):
        for copied in (copy.deepcopy, pickle.dumps):
            with pytest.raises(RuntimeError, match=r"cannot be copied or pickled: restore\(\) it first"):
                copied(SimpleNamespace(unet=audioldm2_unet))
    assert torch.equal(run(copy.deepcopy(audioldm2_unet)), run(audioldm2_unet))


@pytest.mark.parametrize("focused", [False, True])
@pytest.mark.parametrize("options", [{"scale": 0.5}, {"foo": 1}, {"ip_adapter_masks": None}], ids=str)
def test_attention_options_are_filtered_as_in_stock_diffusers(
    audioldm_unet: Any, run_audioldm: Run, focused: bool, options: dict[str, Any]
) -> None:
    if focused:
        inject_lite_focus(audioldm_unet, {"resample": "fixed"})
    expected = run_audioldm(audioldm_unet, cross_attention_kwargs=options)
    optimize(audioldm_unet)
    got = run_audioldm(audioldm_unet, cross_attention_kwargs=options)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_restore_brings_back_a_block_that_was_compiled_before(audioldm2_unet: Any, monkeypatch: Any) -> None:
    blocks = [module for module in audioldm2_unet.modules() if type(module).__name__ == "BasicTransformerBlock"]
    for block in blocks:
        block.compile(backend="eager")
    theirs = [block._compiled_call_impl for block in blocks]
    with optimized(audioldm2_unet, ["compiled_blocks"]):
        assert not any(block._compiled_call_impl is x for block, x in zip(blocks, theirs, strict=True))
    assert all(block._compiled_call_impl is x for block, x in zip(blocks, theirs, strict=True))


PASSED_OVER = [
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.1",
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0",
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
    "down_blocks.1.attentions.0.proj_in",
    "up_blocks.1.attentions.0.proj_out",
    "up_blocks.0.upsamplers.0.conv",
]


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("name", PASSED_OVER)
def test_hooks_on_what_the_levers_compute_are_kept(audioldm2_unet: Any, run: Run, name: str, hook: str) -> None:
    """Steering vectors and probes: those before optimize() run, those that come later are refused, not dropped."""
    layer, plain = audioldm2_unet.get_submodule(name), run(audioldm2_unet)

    def register() -> Any:
        return getattr(layer, hook)(lambda *args: args[-1] * 3 if torch.is_tensor(args[-1]) else (args[-1][0] * 3,))

    handle = register()
    steered = run(audioldm2_unet)
    assert (steered - plain).abs().max() > 1e-3
    optimize(audioldm2_unet, EAGER)
    torch.testing.assert_close(run(audioldm2_unet), steered, rtol=1e-4, atol=1e-5)
    handle.remove()
    optimize(audioldm2_unet, EAGER)
    torch.testing.assert_close(run(audioldm2_unet), plain, rtol=1e-4, atol=1e-5)
    register()
    with pytest.raises(
        RuntimeError, match=f"^{name} got a forward hook .* since optimize.*: optimize.. again"
    ) as error:
        run(audioldm2_unet)
    assert "\n" not in str(error.value)
    optimize(audioldm2_unet, EAGER)
    torch.testing.assert_close(run(audioldm2_unet), steered, rtol=1e-4, atol=1e-5)


def make_circular(unet: Any) -> None:
    for module in unet.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "circular"


@pytest.mark.parametrize("levers", [["channels_last"], ["phased_upsampling"], None], ids=str)
def test_circular_padding_is_kept(audioldm2_unet: Any, run: Run, levers: Any) -> None:
    """Set on a loaded model to make what it draws tile; it comes later where it can, and else is refused."""
    plain = run(audioldm2_unet)
    late = copy.deepcopy(audioldm2_unet)
    make_circular(audioldm2_unet)
    expected = run(audioldm2_unet)
    assert (expected - plain).abs().max() > 1e-2
    optimize(audioldm2_unet, levers)
    torch.testing.assert_close(run(audioldm2_unet), expected, rtol=1e-4, atol=1e-5)
    optimize(late, levers)
    make_circular(late)
    if levers == ["channels_last"]:
        torch.testing.assert_close(run(late), expected, rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(RuntimeError, match=r"conv got|proj_in got a forward hook or another padding_mode since"):
            run(late)


@pytest.mark.parametrize("option", [{"stride": 2}, {"dilation": 2}, {"groups": 4}], ids=str)
def test_an_upsampler_of_another_shape_is_left_alone(option: dict[str, int]) -> None:
    upsampler = Upsample2D(4, use_conv=True)
    assert is_nearest_upsampler(upsampler)
    upsampler.conv = torch.nn.Conv2d(4, 4, 3, padding=1, **option)
    assert not is_nearest_upsampler(upsampler)
