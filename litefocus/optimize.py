"""Exact speed-ups of everything around the attention sites, behind one call that can be taken back.

Each lever replaces the `forward` of some modules on the instance and leaves weights, processors and state dict alone,
so that deleting the replacements restores the model bit for bit. Outputs agree with the stock UNet to rounding (fp32:
1e-4). Levers hold copies of the weights they rearrange (`packed_linears`: every linear layer's; the others: what they
fuse), so they refuse to run on weights that changed since.

Shapes: B batch, N = T * F tokens, T time frames, F frequency bins, C channels, H heads, D head dim, L text tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from litefocus.packed import PackedLinear, PlainLinear, unavailable
from litefocus.sites import find_unet

Linear = PackedLinear | PlainLinear
BuildLinear = Callable[[torch.Tensor, torch.Tensor | None], Linear]
LEVERS = ("token_projections", "fused_attention", "fused_geglu", "packed_linears", "channels_last", "compiled_blocks")
DEFAULT_LEVERS = ("token_projections", "fused_attention", "fused_geglu", "packed_linears")
_ATTRIBUTE = "_litefocus_optimization"


def optimize(pipe_or_unet: Any, levers: Sequence[str] | None = None) -> tuple[str, ...]:
    """Make a diffusers UNet faster at equal output, with or without LiteFocus in it, until `restore`.

    Call it after weights, device and dtype are final; inference only. Calling again replaces the levers.

    Args:
        pipe_or_unet: a diffusers AudioLDM2, AudioLDM or MusicLDM pipeline or its UNet.
        levers: any of
            token_projections   1x1 convolutions around the transformers as linear layers on tokens
            fused_attention     one product for query, key and value (text: key and value); no division by one
            fused_geglu         the feed-forward gate in two products without the double-width tensor
            packed_linears      linear layers with weights in oneDNN's layout, bias and gate inside (CPU, float32)
            channels_last       convolutions and activations in (B, T, F, C) memory order
            compiled_blocks     torch.compile of each transformer block
            None means the first four, without packed_linears where oneDNN cannot serve.

    Returns:
        the levers that are on.

    Raises:
        TypeError: a model without a diffusers UNet.
        ValueError: an unknown lever, or `packed_linears` asked for where it cannot serve.
    """
    unet: Any = find_unet(pipe_or_unet)
    if not hasattr(unet, "down_blocks"):
        raise TypeError(f"optimize({type(unet).__name__}): accepted are diffusers UNets")
    chosen = _chosen_levers(unet, levers)
    restore(unet)
    optimization = _Optimization(unet, chosen)
    optimization.install()
    return chosen


def restore(pipe_or_unet: Any) -> None:
    """Take all levers back: the output is bit-equal to before. Does nothing on a model without them."""
    optimization = getattr(find_unet(pipe_or_unet), _ATTRIBUTE, None)
    if optimization is not None:
        optimization.remove()


@contextmanager
def optimized(pipe_or_unet: Any, levers: Sequence[str] | None = None) -> Iterator[tuple[str, ...]]:
    """The levers inside the context. Arguments and errors as `optimize`; a model that has levers is refused.

    Raises:
        ValueError: the model is optimized already.
    """
    if hasattr(find_unet(pipe_or_unet), _ATTRIBUTE):
        raise ValueError("this model is optimized already: restore() it first")
    chosen = optimize(pipe_or_unet, levers)
    try:
        yield chosen
    finally:
        restore(pipe_or_unet)


def _chosen_levers(unet: nn.Module, levers: Sequence[str] | None) -> tuple[str, ...]:
    reason = unavailable(next(unet.parameters()))
    if levers is None:
        return tuple(lever for lever in DEFAULT_LEVERS if lever != "packed_linears" or not reason)
    if unknown := sorted(set(levers) - set(LEVERS)):
        raise ValueError(f"levers {unknown}: accepted are {', '.join(LEVERS)}")
    if "packed_linears" in levers and reason:
        raise ValueError(f"levers=packed_linears: {reason}; leave it out")
    return tuple(lever for lever in LEVERS if lever in levers)


class _Optimization:
    """What was replaced in one UNet, and how to take it back."""

    def __init__(self, unet: nn.Module, levers: tuple[str, ...]) -> None:
        self.unet = unet
        self.levers = levers
        self._replaced: list[tuple[nn.Module, str]] = []
        self._compiled: list[nn.Module] = []
        self._handle: Any = None
        self._weights = self._fingerprint()

    def install(self) -> None:
        linear: BuildLinear = PackedLinear if "packed_linears" in self.levers else PlainLinear
        for module in self.unet.modules():
            if "token_projections" in self.levers and hasattr(module, "transformer_blocks"):
                self._token_projections(module, linear)
            if "fused_attention" in self.levers and hasattr(module, "to_q") and _is_plain(module):
                self._replace(module, "forward", FusedAttention(module, linear))
            if "fused_geglu" in self.levers and type(module).__name__ == "GEGLU":
                self._replace(module, "forward", GatedLinear(module.proj, linear))
            if "packed_linears" in self.levers and type(module) is nn.Linear:
                self._replace(module, "forward", PackedLinear(module.weight, module.bias))
            if "channels_last" in self.levers and type(module) is nn.Conv2d:
                self._replace(module, "forward", ChannelsLastConvolution(module))
            if "compiled_blocks" in self.levers and type(module).__name__ == "BasicTransformerBlock":
                module.compile()
                self._compiled.append(module)
        self._handle = self.unet.register_forward_pre_hook(self._before_forward)
        setattr(self.unet, _ATTRIBUTE, self)

    def remove(self) -> None:
        for module, name in self._replaced:
            delattr(module, name)
        for module in self._compiled:
            module._compiled_call_impl = None
        self._handle.remove()
        delattr(self.unet, _ATTRIBUTE)

    def _replace(self, module: nn.Module, name: str, value: Any) -> None:
        # Not nn.Module.__setattr__, which would register what it is given.
        object.__setattr__(module, name, value)
        self._replaced.append((module, name))

    def _token_projections(self, transformer: Any, linear: BuildLinear) -> None:
        if not isinstance(transformer.proj_in, nn.Conv2d):
            return
        self._replace(transformer, "_operate_on_continuous_inputs", TokensIn(transformer, linear))
        self._replace(transformer, "_get_output_for_continuous_inputs", TokensOut(transformer, linear))

    def _before_forward(self, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if torch.is_grad_enabled():
            raise RuntimeError("an optimized UNet is for inference: use torch.inference_mode(), or restore() it first")
        if self._weights != self._fingerprint():
            raise RuntimeError("the UNet's weights changed since optimize(): call optimize() again, or restore()")

    def _fingerprint(self) -> list[tuple[int, int]]:
        """Where each weight lies and how often it was written to."""
        return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.unet.parameters()]


def _is_plain(attention: Any) -> bool:
    """Attention of AudioLDM's kind: nothing between the projections, the product and the output."""
    options = (
        "spatial_norm",
        "group_norm",
        "norm_q",
        "norm_k",
        "norm_cross",
        "residual_connection",
        "added_kv_proj_dim",
    )
    return not any(getattr(attention, name, None) for name in options) and attention.rescale_output_factor == 1


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
        layers = [attention.to_k, attention.to_v]
        self_attention = attention.to_q.in_features == attention.to_k.in_features
        self.query_key_value = FusedProjection([attention.to_q, *layers], linear) if self_attention else None
        self.key_value = None if self_attention else FusedProjection(layers, linear)

    def __call__(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(B, N, C), text (B, L, E) or None -> (B, N, C)."""
        attn = self.attention
        if type(attn.processor).__name__ != "AttnProcessor2_0" or hidden_states.ndim != 3:
            return attn.processor(attn, hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        if self.query_key_value is not None and encoder_hidden_states is None:
            query, key, value = self.query_key_value(hidden_states)
        elif self.key_value is not None and encoder_hidden_states is not None:
            query = attn.to_q(hidden_states)
            key, value = self.key_value(encoder_hidden_states)
        else:
            return attn.processor(attn, hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        batch, tokens, _ = hidden_states.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, key.shape[1], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return attn.to_out[0](output.transpose(1, 2).reshape(batch, tokens, -1))


class GatedLinear:
    """GEGLU: value * gelu(gate), each from its own half of the weight, so that no double-width tensor exists."""

    def __init__(self, projection: Any, linear: BuildLinear) -> None:
        value, gate = projection.weight.detach().chunk(2)
        biases = (None, None) if projection.bias is None else projection.bias.detach().chunk(2)
        self.value, self.gate = linear(value, biases[0]), linear(gate, biases[1])

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, N, 4 C)."""
        return self.value.times(hidden_states, self.gate.gelu(hidden_states))


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
        layer = self.convolution
        return F.conv2d(x, self.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
