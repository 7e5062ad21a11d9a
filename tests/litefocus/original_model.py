"""The module structure of the original audioldm2 package, in miniature: names, nesting and call signatures.

Published layout: levels of 2 layers, attention from the second level on, three transformers per layer of which the
first has no text; input_blocks 4-5 and output_blocks 6-8 hold the finest attention level.
"""

from typing import Any

import torch
from torch import nn

WIDTHS = (4, 8, 12, 12)
TEXT_WIDTHS = (None, 10, 6)


class CrossAttention(nn.Module):
    def __init__(self, query_dim: int, context_dim: int | None = None, heads: int = 2, dim_head: int = 4) -> None:
        super().__init__()
        inner = heads * dim_head
        context_dim = query_dim if context_dim is None else context_dim
        self.scale = dim_head**-0.5
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(0.0))

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None, mask: Any = None) -> torch.Tensor:
        context = x if context is None else context
        q, k, v = (
            y.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(dim=-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class BasicTransformerBlock(nn.Module):
    def __init__(self, dim: int, context_dim: int | None) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim)
        self.attn2 = CrossAttention(dim, context_dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None, mask: Any = None) -> torch.Tensor:
        x = self.attn1(self.norm1(x)) + x
        return self.attn2(self.norm2(x), context=context, mask=mask) + x


class SpatialTransformer(nn.Module):
    def __init__(self, channels: int, context_dim: int | None) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(channels, context_dim)])

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None, mask: Any = None) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context=context, mask=mask)
        return x + tokens.transpose(1, 2).reshape(x.shape)


class ResBlock(nn.Conv2d):
    pass


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2)


class TimestepEmbedSequential(nn.Sequential):
    def forward(self, x: torch.Tensor, contexts: dict[int, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        for layer in self:
            if isinstance(layer, SpatialTransformer):
                width = layer.transformer_blocks[0].attn2.to_k.in_features
                x = layer(x, contexts.get(width))
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [TimestepEmbedSequential(nn.Conv2d(4, WIDTHS[0], 3, padding=1))]
        widths = [WIDTHS[0]]
        width = WIDTHS[0]
        for level, channels in enumerate(WIDTHS):
            for _ in range(2):
                blocks.append(TimestepEmbedSequential(ResBlock(width, channels, 1), *_attentions(level)))
                width = channels
                widths.append(width)
            if level < len(WIDTHS) - 1:
                blocks.append(TimestepEmbedSequential(Downsample(width)))
                widths.append(width)
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = TimestepEmbedSequential(ResBlock(width, width, 1), *_attentions(len(WIDTHS) - 1))
        outputs = []
        for level, channels in reversed(list(enumerate(WIDTHS))):
            for layer in range(3):
                ups = [Upsample()] if level and layer == 2 else []
                outputs.append(
                    TimestepEmbedSequential(ResBlock(width + widths.pop(), channels, 1), *_attentions(level), *ups)
                )
                width = channels
        self.output_blocks = nn.ModuleList(outputs)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, contexts: dict[int, torch.Tensor]) -> torch.Tensor:
        skips = []
        for block in self.input_blocks:
            x = block(x, contexts)
            skips.append(x)
        x = self.middle_block(x, contexts)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), contexts)
        return x


def _attentions(level: int) -> list[nn.Module]:
    return [SpatialTransformer(WIDTHS[level], width) for width in TEXT_WIDTHS] if level else []


class DiffusionWrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.diffusion_model = UNetModel()


class LatentDiffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = DiffusionWrapper()
