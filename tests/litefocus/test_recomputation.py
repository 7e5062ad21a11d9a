"""Gradient checkpointing: a recomputed attention has the keys and the grid of the forward that it belongs to."""

from typing import Any

import pytest
import torch
from conftest import Run
from torch.utils.checkpoint import checkpoint

from litefocus import LengthRule, LengthSchedule, LiteFocusConfig, inject_lite_focus, scheduled_focus

CONFIGS = [
    {"resample": resample, "stream": stream} for resample in ("call", "step") for stream in ("timestep", "count")
]


def two_losses(unet: Any, run: Run) -> torch.Tensor:
    return run(unet, timestep=5).square().mean() + run(unet, timestep=9).square().mean()


def two_lengths(unet: Any, run: Run) -> torch.Tensor:
    return run(unet, timestep=5).square().mean() + run(unet, time=40, timestep=9).square().mean()


def forward_between(unet: Any, run: Run) -> torch.Tensor:
    loss = run(unet, timestep=5).square().mean()
    with torch.no_grad():
        run(unet, time=40, timestep=9)
    return loss


def chained(unet: Any, run: Run) -> torch.Tensor:
    return (run(unet, timestep=5) * run(unet, timestep=9)).mean()


def gradients(unet: Any, run: Run, loss: Any) -> torch.Tensor:
    unet.zero_grad()
    loss(unet, run).backward()
    return torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", [two_losses, two_lengths, forward_between, chained])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradients_with_and_without_checkpointing_agree(
    audioldm2_unet: Any, run: Run, loss: Any, config: dict[str, str]
) -> None:
    unet = audioldm2_unet.train()
    inject_lite_focus(unet, sparse_ratio=0.3, **config)
    plain = gradients(unet, run, loss)
    unet.enable_gradient_checkpointing()
    inject_lite_focus(unet, sparse_ratio=0.3, **config)
    torch.testing.assert_close(gradients(unet, run, loss), plain, rtol=1e-4, atol=1e-6)


def whole_unet(unet: Any, run: Run) -> torch.Tensor:
    outputs = [checkpoint(run, unet, timestep=timestep, use_reentrant=False) for timestep in (5, 9)]
    return outputs[0].square().mean() + outputs[1].square().mean()


@pytest.mark.parametrize("resample", ["call", "step"])
def test_a_whole_unet_may_be_recomputed_by_its_timestep(audioldm2_unet: Any, run: Run, resample: str) -> None:
    inject_lite_focus(audioldm2_unet, sparse_ratio=0.3, resample=resample)
    plain = gradients(audioldm2_unet, run, two_losses)
    torch.testing.assert_close(gradients(audioldm2_unet, run, whole_unet), plain, rtol=1e-4, atol=1e-6)
    inject_lite_focus(audioldm2_unet, resample=resample, stream="count")
    refused(lambda: gradients(audioldm2_unet, run, whole_unet))


def test_reentrant_checkpointing_is_refused_where_keys_are_drawn_anew(audioldm2_unet: Any, run: Run) -> None:
    unet = audioldm2_unet.train()
    inject_lite_focus(unet, resample="fixed")
    plain = gradients(unet, run, two_lengths)
    unet.enable_gradient_checkpointing(reentrant)
    for resample in ("call", "step"):
        inject_lite_focus(unet, resample=resample)
        refused(lambda: gradients(unet, run, two_lengths))
    # Not the blocks inside the transformers, which would be recomputed twice.
    for module in unet.modules():
        if hasattr(module, "transformer_blocks"):
            module.gradient_checkpointing = False
    inject_lite_focus(unet, resample="fixed")
    torch.testing.assert_close(gradients(unet, run, two_lengths), plain, rtol=1e-4, atol=1e-6)


def reentrant(module: Any, *inputs: Any) -> Any:
    def tensors(*inputs: Any) -> Any:
        output = module(*inputs)
        return output if isinstance(output, torch.Tensor) else (output[0],)

    return checkpoint(tensors, *inputs, use_reentrant=True)


def refused(backward: Any) -> None:
    with pytest.raises(RuntimeError, match="cannot be told in which forward its keys were drawn") as error:
        backward()
    assert "\n" not in str(error.value)


def test_a_schedule_recomputes_by_its_own_streams(audioldm2_unet: Any, run: Run) -> None:
    unet = audioldm2_unet.train()
    rules = (LengthRule(12, LiteFocusConfig(sparse_ratio=0.3)), LengthRule(None, LiteFocusConfig(seed=4)))
    with scheduled_focus(unet, LengthSchedule(rules)):
        plain = gradients(unet, run, two_lengths)
        unet.enable_gradient_checkpointing()
        torch.testing.assert_close(gradients(unet, run, two_lengths), plain, rtol=1e-4, atol=1e-6)
