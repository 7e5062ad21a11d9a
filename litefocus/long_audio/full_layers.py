"""Approximate: the full self-attention of today's long-audio transformers by a window and a sample of keys.

LiteFocus' two parts on models whose tokens have no frequency axis: each query attends to the tokens nearby and to a
random sample of all. These layers were trained with full attention, so the output changes. How much it changes what one
hears has not been measured; nothing here is on by default.

Served: the self-attentions of `StableAudio3DiTModel`, and those of `AceStepTransformer1DModel`'s layers of type
"full_attention". Memory tokens, where a model puts some before its sequence, see everything and are seen by everyone.

Shapes: B batch, H heads, L tokens, M memory tokens in front of them, D head dim.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from litefocus.config import is_whole_number
from litefocus.context import entered_context, replaced
from litefocus.long_audio.band import band_attention
from litefocus.long_audio.windows import parts_of

_ATTENTIONS = ("StableAudio3SelfAttention", "AceStepAttention")


@entered_context
def approximate_full_layers(
    model_or_pipe: Any, *, half_width: int, sampled_keys: int = 128, seed: int = 0
) -> Iterator[int]:
    """Full self-attentions see a window and a sample inside the context; the stock model afterwards.

    Yields the number of attentions. Each has a sample of its own, which depends on the seed and the length alone, so
    equal seeds give equal outputs. Sequences of up to 2 half_width + 1 tokens stay as they are.

    Args:
        model_or_pipe: a diffusers Stable Audio 3 or ACE-Step pipeline, or its transformer.
        half_width: tokens that a query sees to either side, at least 1.
        sampled_keys: keys that every query sees besides, without replacement; one in the window counts twice, as in
            LiteFocus. 0 for none.
        seed: of the samples.

    Raises:
        TypeError: no full attention of a known layout.
        ValueError: half_width below 1, sampled_keys below 0, or a seed of 2**43 or more in size.
        RuntimeError: at a forward, if the model's attention does not go through torch's scaled-dot-product attention.
    """
    if not is_whole_number(half_width) or not is_whole_number(sampled_keys) or half_width < 1 or sampled_keys < 0:
        raise ValueError(
            f"half_width={half_width!r}, sampled_keys={sampled_keys!r}: accepted are whole numbers from 1, and from 0"
        )
    # Each layer's generator takes the seed times a million or so, in 64 bits.
    if not is_whole_number(seed) or abs(seed) >= 2**43:
        raise ValueError(f"seed={seed!r}: accepted are whole numbers between -2**43 and 2**43")
    found = _full_attentions(model_or_pipe)
    with ExitStack() as stack:
        for number, (attention, memory) in enumerate(found):
            rule = _Rule(half_width, sampled_keys, memory, seed * 1_000_003 + number)
            stack.enter_context(replaced(attention, "forward", rule.around))
        yield len(found)


def _full_attentions(model_or_pipe: Any) -> list[tuple[nn.Module, int]]:
    """Every full self-attention with the number of memory tokens before its sequence."""
    found = [
        (module, int(getattr(getattr(part, "config", None), "num_memory_tokens", 0)))
        for part in parts_of(model_or_pipe)
        for module in part.modules()
        if type(module).__name__ in _ATTENTIONS
        and not getattr(module, "is_cross_attention", False)
        and getattr(module, "sliding_window", None) is None
    ]
    if not found:
        raise TypeError(
            f"{type(model_or_pipe).__name__} has no full self-attention of a known layout: accepted are diffusers "
            f"Stable Audio 3 and ACE-Step pipelines, StableAudio3DiTModel and AceStepTransformer1DModel"
        )
    return found


class _Rule:
    """What one attention computes in place of full attention."""

    def __init__(self, half_width: int, sampled_keys: int, memory: int, seed: int) -> None:
        self.half_width = half_width
        self.sampled_keys = sampled_keys
        self.memory = memory
        self.seed = seed

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The module's forward with this rule as its attention."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with _Served(self) as served:
                output = forward(*args, **kwargs)
            if not served.calls:
                raise RuntimeError(
                    "approximate_full_layers works with diffusers' native attention backend alone; "
                    "set_attention_backend('native')"
                )
            return output

        return run

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """In place of torch's scaled-dot-product attention: (B, H, M + L, D)."""
        if attn_mask is not None or dropout_p or is_causal:
            raise ValueError("a mask, dropout or causal attention in a full layer: accepted is none of them")
        memory, length = self.memory, query.shape[2] - self.memory
        if length <= 2 * self.half_width + 1:
            return F.scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=enable_gqa)
        sample = memory + self.sample(length).to(key.device)
        extra_key, extra_value = (torch.cat([x[:, :, :memory], x[:, :, sample]], dim=2) for x in (key, value))
        own, near, values = (x[:, :, memory:] for x in (query, key, value))
        output = band_attention(own, near, values, self.half_width, extra=(extra_key, extra_value), scale=scale)
        if not memory:
            return output
        first = F.scaled_dot_product_attention(query[:, :, :memory], key, value, scale=scale, enable_gqa=enable_gqa)
        return torch.cat([first, output], dim=2)

    def sample(self, length: int) -> torch.Tensor:
        """int64 (S,): sampled tokens of [0, length), the same at every call."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(length, generator=generator)[: self.sampled_keys]


class _Served(TorchFunctionMode):
    """While it is entered, torch's scaled-dot-product attention is the rule's."""

    def __init__(self, rule: _Rule) -> None:
        self.rule = rule
        self.calls = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            self.calls += 1
            return self.rule.attend(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))
