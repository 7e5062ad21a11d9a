"""The module that runs is the one that is patched: under torch's own wrappers, peft's, and compiled; else refused."""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TEXT_WIDTHS, Run, latents
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DataParallel, DistributedDataParallel

from litefocus import LiteFocusConfig, disable_lite_focus, inject_lite_focus, lite_focus, lite_focus_state
from litefocus.levers.optimize import optimize
from litefocus.sites import find_unet

CONFIG = LiteFocusConfig(sparse_ratio=0.3)


class Held(nn.Module):
    """As peft's LoraModel: holds the model and forwards every attribute to it. Its PeftModel does so once more."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model":
                raise
            return getattr(self.model, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)


class Unregistered(nn.Module):
    """Forwards every attribute to a model that it does not hold as a submodule."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "hidden", model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["hidden"], name)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def as_peft(unet: nn.Module) -> nn.Module:
    return Held(Held(unet))


def as_peft_itself(unet: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    return peft.get_peft_model(unet, peft.LoraConfig(r=2, target_modules=["to_q", "to_v"]))


WRAPPERS = [as_peft, as_peft_itself, DataParallel, DistributedDataParallel, torch.compile]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: getattr(wrap, "__name__", str(wrap)))
@pytest.mark.parametrize("inject_first", [True, False])
def test_the_module_that_runs_is_patched(audioldm2_unet: Any, run: Run, wrap: Any, inject_first: bool) -> None:
    unet = audioldm2_unet.requires_grad_(wrap is DistributedDataParallel)
    dense = run(unet)
    with lite_focus(unet, CONFIG):
        expected = run(unet)
    if inject_first:
        inject_lite_focus(unet, CONFIG)
    wrapped = wrap(unet)
    assert find_unet(wrapped) is find_unet(SimpleNamespace(unet=wrapped)) is unet
    if not inject_first:
        inject_lite_focus(wrapped, CONFIG)
    assert lite_focus_state(wrapped) == lite_focus_state(unet) == (12, CONFIG)
    assert (expected - dense).abs().max() > 1e-3
    # Not to the last bit: peft's adapters, which add zero as long as they are untrained, take other kernels.
    torch.testing.assert_close(run(unet), expected, rtol=1e-5, atol=1e-5)
    if wrap is not torch.compile:
        torch.testing.assert_close(run(wrapped), expected, rtol=1e-5, atol=1e-5)
    disable_lite_focus(SimpleNamespace(unet=unet))
    assert lite_focus_state(wrapped) is None
    torch.testing.assert_close(run(unet), dense, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("one_process")
def test_fsdp_around_the_unet_and_its_blocks(audioldm2_unet: Any, run: Run) -> None:
    with lite_focus(audioldm2_unet, CONFIG):
        expected = run(audioldm2_unet)
    kinds = {type(module) for module in audioldm2_unet.modules() if hasattr(module, "attn1")}
    kinds |= {type(audioldm2_unet.down_blocks[1]), type(audioldm2_unet.down_blocks[1].attentions[0])}
    sharded = FullyShardedDataParallel(
        audioldm2_unet, auto_wrap_policy=ModuleWrapPolicy(kinds), device_id=torch.device("cpu"), use_orig_params=True
    )
    assert inject_lite_focus(sharded, CONFIG) == 12
    torch.testing.assert_close(run(sharded), expected, rtol=1e-5, atol=1e-6)
    disable_lite_focus(audioldm2_unet)
    assert lite_focus_state(sharded) is None


def test_what_only_forwards_attributes_is_refused(audioldm2_unet: Any) -> None:
    hidden = Unregistered(audioldm2_unet)
    for model in (hidden, SimpleNamespace(unet=hidden)):
        for call in (inject_lite_focus, disable_lite_focus, lite_focus_state, optimize):
            with pytest.raises(
                TypeError, match="has no UNet with a frequency axis: accepted are .* that hold one"
            ) as e:
                call(model)
            assert "\n" not in str(e.value)
    with pytest.raises(TypeError, match="ModuleList holds 2 UNets: pass one of them"):
        inject_lite_focus(nn.ModuleList([audioldm2_unet, copy.deepcopy(audioldm2_unet)]))


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
def test_a_replaced_processor_is_seen_when_compiled(two_level_unet: Any, run: Run, in_place: bool) -> None:
    torch._dynamo.reset()
    unet = two_level_unet
    inject_lite_focus(unet, CONFIG)
    with torch.no_grad():
        expected = run(unet)
        compiled = unet
        if in_place:
            unet.compile(backend="eager")
        else:
            compiled = torch.compile(unet, backend="eager")
        torch.testing.assert_close(run(compiled), expected, rtol=1e-4, atol=1e-5)
        unet.set_attention_slice("max")
        with pytest.raises(RuntimeError, match="attn1 was replaced after inject_lite_focus"):
            run(compiled)


def test_a_trace_is_refused(audioldm2_unet: Any, run: Run) -> None:
    """torch.jit.trace would record randperm without its seed."""
    inject_lite_focus(audioldm2_unet, resample="fixed")

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = audioldm2_unet

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return run(self.unet)

    with pytest.raises(RuntimeError, match=r"torch.jit.trace records neither seeds nor lengths"), torch.no_grad():
        torch.jit.trace(Denoiser(), latents(1, 16))


class Positional(nn.Module):
    """The UNet as an export takes it: tensors in order, a tensor out."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, *texts: torch.Tensor) -> torch.Tensor:
        first, second = texts
        return self.unet(sample, timestep, encoder_hidden_states=first, encoder_hidden_states_1=second).sample


def test_an_export_follows_the_timestep_and_cannot_count(two_level_unet: Any) -> None:
    model = Positional(two_level_unet)
    texts = [torch.randn(2, 3, width, generator=torch.Generator().manual_seed(width)) for width in TEXT_WIDTHS]
    first, second = ((latents(2, 24), torch.tensor(timestep), *texts) for timestep in (5, 900))
    with torch.no_grad():
        inject_lite_focus(two_level_unet, CONFIG)
        exported = torch.export.export(model, first, strict=False).module()
        for inputs in (first, second):
            torch.testing.assert_close(exported(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)
        inject_lite_focus(two_level_unet, stream="count")
        with pytest.raises(RuntimeError, match=r"same keys for ever: inject with stream='timestep'$") as error:
            torch.export.export(model, first, strict=False)
    assert "\n" not in str(error.value)
