"""What the levers (`litefocus.levers.optimize`) put in place of a module's forward: the same function in fewer passes.

Shapes: B batch, N = T * F tokens, T time frames, F frequency bins, C channels, L text tokens, I and O layer widths.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from litefocus.levers.packed import PackedLinear, PlainLinear

Linear = PackedLinear | PlainLinear
BuildLinear = Callable[[torch.Tensor, torch.Tensor | None], Linear]
# Rows of tokens beyond which the feed-forward runs in pieces of half as many.
CHUNK_ROWS = 8192


def is_exactly(layer: Any, kind: type[nn.Module]) -> bool:
    """A layer whose weight alone says what it computes: no subclass, no adapter (LoRA) around it, no quantised weight.

    Names do not tell: peft's wrapper of a linear layer is called Linear and shows the weight without its adapters. A
    convolution that pads with anything but zeros (the trick that makes pictures tile) is none.
    """
    return type(layer) is kind and type(layer.weight) is nn.Parameter and pads_with_zeros(layer)


def pads_with_zeros(layer: Any) -> bool:
    """Whether a layer is no convolution, or one with the usual padding."""
    return getattr(layer, "padding_mode", "zeros") == "zeros"


def is_hooked(layer: nn.Module) -> bool:
    """Whether a hook reads or changes what passes through a layer: a lever that never calls the layer would drop it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def is_plain(attention: Any) -> bool:
    """Attention of AudioLDM's kind: nothing in or between the projections, the product and the output."""
    options = (
        "spatial_norm",
        "group_norm",
        "norm_q",
        "norm_k",
        "norm_cross",
        "residual_connection",
        "added_kv_proj_dim",
    )
    layers = (attention.to_q, attention.to_k, attention.to_v)
    return (
        all(is_exactly(layer, nn.Linear) for layer in layers)
        and not any(map(is_hooked, FusedAttention.passes_over(attention)))
        and not any(getattr(attention, name, None) for name in options)
        and attention.rescale_output_factor == 1
    )


class FusedProjection:
    """Several linear layers of one input as one product: (..., I) -> as many views (..., O)."""

    def __init__(self, layers: Sequence[Any], linear: BuildLinear) -> None:
        biases = [layer.bias for layer in layers]
        bias = None if any(b is None for b in biases) else torch.cat([b.detach() for b in biases])
        self.linear = linear(torch.cat([layer.weight.detach() for layer in layers]), bias)
        self.widths = [layer.out_features for layer in layers]

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(..., I) -> one (..., O) for every layer."""
        return self.linear(x).split(self.widths, dim=-1)


class FusedAttention:
    """Forward of a diffusers Attention with its stock processor; any other processor is called as it is.

    The sites that LiteFocus patches are such others: they keep three products, because a fused one gives rows that
    cannot be folded into (B, F * H, T, D) without a copy, and the copy costs more than the fusion saves.
    """

    def __init__(self, attention: Any, linear: BuildLinear) -> None:
        self.attention = attention
        self.stock = attention.forward
        layers = [attention.to_k, attention.to_v]
        self_attention = attention.to_q.in_features == attention.to_k.in_features
        self.query_key_value = FusedProjection([attention.to_q, *layers], linear) if self_attention else None
        self.key_value = None if self_attention else FusedProjection(layers, linear)

    @staticmethod
    def passes_over(attention: Any) -> list[nn.Module]:
        """The layers that it computes, or leaves out, without calling them."""
        return [attention.to_q, attention.to_k, attention.to_v, *attention.to_out[1:]]

    def __call__(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(B, N, C), text (B, L, E) or None -> (B, N, C)."""
        attn = self.attention
        if kwargs:  # the stock forward says which of them a processor takes
            return self.stock(hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        if type(attn.processor).__name__ != "AttnProcessor2_0" or hidden_states.ndim != 3:
            return attn.processor(attn, hidden_states, encoder_hidden_states, attention_mask)
        if self.query_key_value is not None and encoder_hidden_states is None:
            query, key, value = self.query_key_value(hidden_states)
        elif self.key_value is not None and encoder_hidden_states is not None:
            query = attn.to_q(hidden_states)
            key, value = self.key_value(encoder_hidden_states)
        else:
            return attn.processor(attn, hidden_states, encoder_hidden_states, attention_mask)
        batch, tokens, _ = hidden_states.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, key.shape[1], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return attn.to_out[0](output.transpose(1, 2).reshape(batch, tokens, -1))


def is_gated(module: Any) -> bool:
    """A FeedForward of one GEGLU, an idle dropout and one linear layer."""
    if type(module).__name__ != "FeedForward":
        return False
    if [type(layer).__name__ for layer in module.net] != ["GEGLU", "Dropout", "Linear"] or module.net[1].p != 0:
        return False
    layers = (module.net[0].proj, module.net[2])
    return all(is_exactly(layer, nn.Linear) for layer in layers) and not any(map(is_hooked, module.net.modules()))


class GatedFeedForward:
    """down(value * gelu(gate)): value and gate each from its own half of the weight, many tokens in pieces.

    No tensor of double width exists, and those of hidden width stay small enough to be used again.
    """

    def __init__(self, net: Any, linear: BuildLinear) -> None:
        projection = net[0].proj
        value, gate = projection.weight.detach().chunk(2)
        biases = (None, None) if projection.bias is None else projection.bias.detach().chunk(2)
        self.value, self.gate = linear(value, biases[0]), linear(gate, biases[1])
        self.down = linear(net[2].weight, net[2].bias)

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        rows = hidden_states.flatten(0, -2)
        if len(rows) <= CHUNK_ROWS or rows.device.type != "cpu":
            return self._piece(hidden_states)
        output = torch.empty_like(rows)
        for piece, target in zip(rows.split(CHUNK_ROWS // 2), output.split(CHUNK_ROWS // 2), strict=True):
            target.copy_(self._piece(piece))
        return output.view_as(hidden_states)

    def _piece(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.value.times(x, self.gate.gelu(x)))


def is_nearest_upsampler(module: Any) -> bool:
    """An Upsample2D that doubles by nearest neighbours and then convolves 3x3 with padding 1."""
    if type(module).__name__ != "Upsample2D" or module.norm is not None or module.use_conv_transpose:
        return False
    layer: Any = getattr(module, "conv", None)
    if not module.interpolate or not is_exactly(layer, nn.Conv2d) or is_hooked(layer):
        return False
    shape = (layer.kernel_size, layer.padding, layer.stride, layer.dilation, layer.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


def is_projected_by_convolutions(module: Any) -> bool:
    """A Transformer2DModel between two 1x1 convolutions."""
    ends: Any = (getattr(module, "proj_in", None), getattr(module, "proj_out", None))
    return (
        hasattr(module, "transformer_blocks")
        and all(is_exactly(layer, nn.Conv2d) for layer in ends)
        and not any(map(is_hooked, ends))
    )


class PhasedUpsampling:
    """Doubling and 3x3 convolution in one: each of the four output phases sees 2x2 input pixels.

    A pixel and its copy share their weights' sum. Sizes that are not doubled exactly (clips whose latents are not a
    multiple of 8 frames) get the stock forward.
    """

    def __init__(self, upsampler: Any) -> None:
        self.stock = upsampler.forward
        weight = upsampler.conv.weight.detach()
        self.bias = upsampler.conv.bias
        self.kernels = [[_phase(_phase(weight, 2, a), 3, b).contiguous() for b in (0, 1)] for a in (0, 1)]

    def __call__(self, hidden_states: torch.Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(B, C, T, F) -> (B, C', 2 T, 2 F)."""
        batch, _, time, freq = hidden_states.shape
        if output_size is not None and tuple(output_size) != (2 * time, 2 * freq):
            return self.stock(hidden_states, output_size, *args, **kwargs)
        padded = F.pad(hidden_states, (1, 1, 1, 1))
        output = hidden_states.new_empty(batch, self.kernels[0][0].shape[0], 2 * time, 2 * freq)
        for a, row in enumerate(self.kernels):
            for b, kernel in enumerate(row):
                window = padded[:, :, a : a + time + 1, b : b + freq + 1]
                output[:, :, a::2, b::2] = F.conv2d(window, kernel, self.bias)
        return output


def _phase(weight: torch.Tensor, dim: int, phase: int) -> torch.Tensor:
    """Three taps along `dim` as the two that an output of that phase sees: (w0, w1 + w2) or (w0 + w1, w2)."""
    first, second, third = weight.split(1, dim)
    return torch.cat([first, second + third] if phase == 0 else [first + second, third], dim)


class TokensIn:
    """Norm and input projection of a Transformer2DModel, the 1x1 convolution as a linear layer on tokens."""

    def __init__(self, transformer: Any, linear: BuildLinear) -> None:
        self.transformer = transformer
        self.linear = linear(transformer.proj_in.weight.flatten(1), transformer.proj_in.bias)

    def __call__(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, int]:
        """(B, C, T, F) -> (B, N, C) and C."""
        tokens = self.linear(self.transformer.norm(hidden_states).flatten(2).transpose(1, 2))
        return tokens, tokens.shape[-1]


class TokensOut:
    """Output projection of a Transformer2DModel and the sum with its input, in the input's memory order."""

    def __init__(self, transformer: Any, linear: BuildLinear) -> None:
        self.linear = linear(transformer.proj_out.weight.flatten(1), transformer.proj_out.bias)

    def __call__(
        self,
        hidden_states: torch.Tensor,
        residual: torch.Tensor,
        batch_size: int,
        height: int,
        width: int,
        inner_dim: int,
    ) -> torch.Tensor:
        """(B, N, C) and the residual (B, C, T, F) -> (B, C, T, F)."""
        return residual + self.linear(hidden_states).transpose(1, 2).unflatten(2, (height, width))


class ChannelsLastConvolution:
    """A convolution with its weight in channels-last order, which makes torch compute and return that order."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.convolution = convolution
        self.weight = convolution.weight.detach().to(memory_format=torch.channels_last)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, F) -> (B, C', T', F')."""
        return self.convolution._conv_forward(x, self.weight, self.convolution.bias)
