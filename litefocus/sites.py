"""Which self-attentions LiteFocus replaces: found from a UNet's geometry, for diffusers and for the original package.

A level is a resolution of the UNet. Attention-bearing levels count from the finest: the authors patch level 0, the one
with 8 frequency bins in AudioLDM 2. Within it, every self-attention is a site: `attn1`, and `attn2` without text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class AttentionSite:
    """One self-attention.

    Attributes:
        name: module path inside the UNet.
        attention: the module that holds to_q, to_k, to_v, to_out and heads.
        transformer: the enclosing module, whose 4-D input (B, C, T, F) gives the grid.
    """

    name: str
    attention: nn.Module
    transformer: nn.Module


def find_unet(model: Any) -> nn.Module:
    """The UNet of a pipeline, of the original package's LatentDiffusion, or the UNet itself, compiled or not.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
    """
    candidates = [model, getattr(model, "unet", None), getattr(getattr(model, "model", None), "diffusion_model", None)]
    for candidate in candidates:
        unet = getattr(candidate, "_orig_mod", candidate)
        if isinstance(unet, nn.Module) and (_is_diffusers(unet) or _is_original(unet)):
            return unet
    raise TypeError(
        f"{type(model).__name__} has no UNet with a frequency axis: accepted are diffusers AudioLDM2, AudioLDM and "
        f"MusicLDM pipelines, their UNets, and the original audioldm2 LatentDiffusion"
    )


def find_sites(unet: nn.Module, levels: tuple[int, ...] = (0,)) -> list[AttentionSite]:
    """All self-attention sites of the given attention-bearing levels, in the order of the UNet's modules.

    Args:
        unet: as returned by `find_unet`.
        levels: attention-bearing levels, 0 the finest.

    Raises:
        ValueError: a level that the UNet does not have.
    """
    found = [(depth, transformer) for depth, transformer in _transformers(unet)]
    depths = sorted({depth for depth, _ in found})
    if not depths or max(levels) >= len(depths):
        raise ValueError(
            f"levels={levels}: this {type(unet).__name__} has {len(depths)} levels with attention, counted from 0"
        )
    names = {module: name for name, module in unet.named_modules()}
    context_free = _is_context_free([transformer for _, transformer in found])
    return [
        AttentionSite(names[attention], attention, transformer)
        for depth, transformer in found
        if depths.index(depth) in levels
        for attention in _attentions(transformer)
        if context_free or _is_self_attention(attention)
    ]


def _is_diffusers(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("down_blocks", "up_blocks", "conv_in"))


def _is_original(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("input_blocks", "output_blocks"))


def _transformers(unet: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """(number of downsamplings before it, transformer), outermost blocks first, as the forward runs."""
    walk = _diffusers_blocks(unet) if _is_diffusers(unet) else _original_blocks(unet)
    for depth, block in walk:
        for module in block.modules():
            if hasattr(module, "transformer_blocks"):
                yield depth, module


def _diffusers_blocks(unet: Any) -> Iterator[tuple[int, nn.Module]]:
    depth = 0
    for block in unet.down_blocks:
        yield depth, block
        depth += bool(getattr(block, "downsamplers", None))
    if unet.mid_block is not None:
        yield depth, unet.mid_block
    for block in unet.up_blocks:
        yield depth, block
        depth -= bool(getattr(block, "upsamplers", None))


def _original_blocks(unet: Any) -> Iterator[tuple[int, nn.Module]]:
    depth = 0
    for block in unet.input_blocks:
        depth += _contains(block, "Downsample")
        yield depth, block
    yield depth, unet.middle_block
    for block in unet.output_blocks:
        yield depth, block
        depth -= _contains(block, "Upsample")


def _contains(block: nn.Module, class_name: str) -> bool:
    return any(type(module).__name__ == class_name for module in block.children())


def _attentions(transformer: nn.Module) -> list[Any]:
    blocks: Any = transformer.transformer_blocks
    pairs = [getattr(block, name, None) for block in blocks for name in ("attn1", "attn2")]
    return [attention for attention in pairs if attention is not None]


def _is_self_attention(attention: Any) -> bool:
    """Whether the module is built without a text input; diffusers says so, the original package shows it in a width."""
    declared = getattr(attention, "is_cross_attention", None)
    return _has_square_projections(attention) if declared is None else not declared


def _has_square_projections(attention: Any) -> bool:
    return bool(attention.to_k.in_features == attention.to_q.in_features)


def _is_context_free(transformers: list[nn.Module]) -> bool:
    """AudioLDM and MusicLDM declare cross-attentions but have no text context: each "context" is as wide as its layer.

    A text encoder has one width and the layers have several, so equal widths everywhere are conclusive.
    """
    attentions = [attention for transformer in transformers for attention in _attentions(transformer)]
    widths = {attention.to_q.in_features for attention in attentions}
    return len(widths) > 1 and all(_has_square_projections(attention) for attention in attentions)
