"""The testbed's UNet: AudioLDM2UNet2DConditionModel with the published block pattern, and how it starts.

Shapes: B clips, T latent frames, F = 16 latent bins: latents (B, 8, T, F). Attention sits at the 8-bin level and
in the middle block (4 bins). Each layer holds three transformers, on (nothing, GPT-2 tokens, T5 tokens): four
self-attentions per layer, so 3 layers x 4 = 12 sites at the 8-bin level (the published model: 5 x 4 = 20).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
from diffusers import AudioLDM2UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

TEXT_DIM = 64
TRAIN_FRAMES = 80
TimeTaps = Literal["none", "coarsest", "all"]


def make_unet(
    widths: tuple[int, int, int] = (32, 64, 64),
    *,
    time_taps: TimeTaps = "none",
    tied: bool = True,
    gain: float = 2.0,
    seed: int = 0,
) -> AudioLDM2UNet2DConditionModel:
    """An untrained UNet in its training form: resnet convolutions without time taps (see `export_unet`).

    `time_taps` says which resnets keep them: "none", those of the "coarsest" level (4 bins, T / 4 frames, where no
    attention site of LiteFocus sits) or "all".

    With `tied`, every self-attention starts with to_k = to_q, both times `gain`: a self-similarity kernel, in
    which a token first sees its own frequency row. This selects for the structure that LiteFocus assumes, at
    step 0; weights are free afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = AudioLDM2UNet2DConditionModel(
            sample_size=TRAIN_FRAMES,
            in_channels=8,
            out_channels=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=widths,
            layers_per_block=1,
            norm_num_groups=16,
            attention_head_dim=4,
            cross_attention_dim=[[None, TEXT_DIM, TEXT_DIM]] * 3,
        )
        for block in _without_taps(unet, time_taps):
            block.conv1 = _narrow(block.conv1)
            block.conv2 = _narrow(block.conv2)
    if tied:
        for attention in self_attentions(unet):
            _tie(attention, gain)
    return unet


def self_attentions(unet: nn.Module) -> list[Attention]:
    """Every attention module that attends to its own tokens."""
    return [m for m in unet.modules() if isinstance(m, Attention) and not m.is_cross_attention]


def _resnets(module: nn.Module) -> Iterator[ResnetBlock2D]:
    return (part for part in module.modules() if isinstance(part, ResnetBlock2D))


def _without_taps(unet: AudioLDM2UNet2DConditionModel, time_taps: TimeTaps) -> list[ResnetBlock2D]:
    if time_taps == "all":
        return []
    coarsest = (unet.down_blocks[-1], unet.mid_block, unet.up_blocks[0]) if time_taps == "coarsest" else ()
    kept = {id(block) for part in coarsest for block in _resnets(part)}
    return [block for block in _resnets(unet) if id(block) not in kept]


def _narrow(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(conv.in_channels, conv.out_channels, (1, 3), padding=(0, 1))


@torch.no_grad()
def _tie(attention: Attention, gain: float) -> None:
    attention.to_q.weight.mul_(gain)
    attention.to_k.weight.copy_(attention.to_q.weight)


@torch.no_grad()
def export_unet(unet: AudioLDM2UNet2DConditionModel) -> AudioLDM2UNet2DConditionModel:
    """A stock model that computes the same: (1, 3) kernels become 3x3 kernels with zero time taps."""
    stock = copy.deepcopy(unet)
    for block in _resnets(stock):
        block.conv1, block.conv2 = _widen(block.conv1), _widen(block.conv2)
    return stock


@torch.no_grad()
def load_stock_weights(unet: AudioLDM2UNet2DConditionModel, stock: AudioLDM2UNet2DConditionModel) -> None:
    """Sets a UNet in its training form to the weights of a stock one: the inverse of `export_unet`.

    Raises:
        ValueError: a resnet kernel of `stock` has time taps, which the training form cannot hold.
    """
    state = stock.state_dict()
    for name, parameter in unet.state_dict().items():
        if parameter.shape != state[name].shape:
            taps = state[name][:, :, (0, 2)].abs().max().item()
            if taps > 0:
                raise ValueError(f"{name} has time taps up to {taps:.2g}: accepted are UNets made by export_unet")
            state[name] = state[name][:, :, 1:2]
    unet.load_state_dict(state)


def _widen(conv: nn.Conv2d) -> nn.Conv2d:
    if conv.kernel_size == (3, 3):
        return conv
    wide = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1)
    assert conv.bias is not None
    assert wide.bias is not None
    wide.weight.zero_()
    wide.weight[:, :, 1:2] = conv.weight
    wide.bias.copy_(conv.bias)
    return wide
