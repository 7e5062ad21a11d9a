"""Which self-attentions LiteFocus replaces: found from a UNet's geometry, for diffusers and for the original package.

A level is a resolution of the UNet. Attention-bearing levels count from the finest: the authors patch level 0, the one
with 8 frequency bins in AudioLDM 2. Within it, every self-attention is a site: `attn1`, and `attn2` without text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
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
    """The module that runs as the UNet of a pipeline, of the original package's LatentDiffusion, or of a wrapper.

    Wrappers that hold the UNet as a submodule are seen through: torch.compile, PEFT, data parallelism, FSDP. What only
    forwards attributes is not taken for what it forwards to.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents, or with several.
    """
    inner = getattr(getattr(model, "model", None), "diffusion_model", None)
    for candidate in (getattr(model, "unet", None), inner, model):
        unets = _unets_in(candidate)
        if len(unets) > 1:
            raise TypeError(f"{type(candidate).__name__} holds {len(unets)} UNets: pass one of them")
        if unets:
            return unets[0]
    raise TypeError(
        f"{type(model).__name__} has no UNet with a frequency axis: accepted are diffusers AudioLDM2, AudioLDM and "
        f"MusicLDM pipelines, their UNets, the original audioldm2 LatentDiffusion, and modules that hold one of them"
    )


def find_sites(unet: nn.Module, levels: tuple[int, ...] = (0,), blocks: str = "all") -> list[AttentionSite]:
    """All self-attention sites of the given attention-bearing levels, in the order of the UNet's modules.

    Args:
        unet: as returned by `find_unet`.
        levels: attention-bearing levels, 0 the finest.
        blocks: "all" the blocks of each transformer, or the "first" alone.

    Raises:
        TypeError: a UNet without transformers, or whose attention spans more than one (time, frequency) picture: video,
            motion.
        ValueError: a level that the UNet does not have.
    """
    found = list(_transformers(unet))
    for _, transformer in found:
        if not _is_a(transformer, *_TRANSFORMERS):
            raise TypeError(
                f"{type(unet).__name__} attends in a {type(transformer).__name__}: accepted are UNets over "
                f"(time, frequency) latents alone, with {' or '.join(_TRANSFORMERS)}"
            )
    depths = sorted({depth for depth, _ in found})
    if not depths:
        raise TypeError(
            f"{type(unet).__name__} has no {' or '.join(_TRANSFORMERS)} around its attention: accepted are the UNets "
            f"of AudioLDM 2, AudioLDM and MusicLDM, and those of Stable Diffusion's kind"
        )
    if max(levels) >= len(depths):
        raise ValueError(
            f"levels={levels}: this {type(unet).__name__} has {len(depths)} levels with attention, counted from 0"
        )
    names = {module: name for name, module in unet.named_modules()}
    context_free = _is_context_free(unet)
    return [
        AttentionSite(names[attention], attention, transformer)
        for depth, transformer in found
        if depths.index(depth) in levels
        for attention in _attentions(transformer, blocks)
        if context_free or _is_self_attention(attention)
    ]


def find_frequency_axis(unet: nn.Module, asked: int | None = None) -> int:
    """The axis of the latents (B, C, H, W) that holds frequency: -1 (W) or -2 (H).

    AudioLDM 2, AudioLDM and MusicLDM lay latents out as (time, frequency). A UNet of Stable Diffusion's kind, with one
    text, does not tell: Auffusion and Riffusion have (frequency, time), and its tokens run along time first.

    Args:
        unet: as returned by `find_unet`.
        asked: what the user says; None to know it by the UNet.

    Raises:
        TypeError: a UNet that does not tell, and no answer from the user.
    """
    if asked is not None:
        return asked
    attentions = _all_attentions(unet)
    texts = {attention.to_k.in_features for attention in attentions if not _has_square_projections(attention)}
    if _is_a(unet, "AudioLDM2UNet2DConditionModel") or len(texts) > 1 or _is_context_free(unet):
        return -1
    raise TypeError(
        f"{type(unet).__name__} is of Stable Diffusion's kind and does not tell which axis of its latents (B, C, H, W) "
        f"is frequency: say frequency_axis=-2 where H is (Auffusion, Riffusion), frequency_axis=-1 where W is"
    )


# What holds the transformer blocks, in diffusers and in the original package.
_TRANSFORMERS = ("Transformer2DModel", "SpatialTransformer")


def _is_a(module: nn.Module, *names: str) -> bool:
    """Whether one of the module's classes has one of these names: neither package need be imported to know."""
    return any(kind.__name__ in names for kind in type(module).__mro__)


def _owns(module: nn.Module, *names: str) -> bool:
    """Whether these are submodules of the module itself: not attributes that a wrapper forwards."""
    return all(name in module._modules for name in names)


def _owner(module: nn.Module, *names: str) -> nn.Module | None:
    """The outermost module in `module`, itself included, that owns these submodules."""
    return next((inner for inner in module.modules() if _owns(inner, *names)), None)


def _unets_in(candidate: Any) -> list[nn.Module]:
    # A traced module has recorded one length and one draw.
    if not isinstance(candidate, nn.Module) or isinstance(candidate, torch.jit.ScriptModule):
        return []
    if _is_unet(candidate):
        return [candidate]
    return [module for module in candidate.modules() if _is_unet(module)]


def _is_unet(module: nn.Module) -> bool:
    return _is_diffusers(module) or _is_original(module)


def _is_diffusers(module: nn.Module) -> bool:
    return _owns(module, "down_blocks", "up_blocks", "conv_in")


def _is_original(module: nn.Module) -> bool:
    return _owns(module, "input_blocks", "output_blocks")


def _transformers(unet: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """(number of downsamplings before it, transformer), outermost blocks first, as the forward runs."""
    walk = _diffusers_blocks(unet) if _is_diffusers(unet) else _original_blocks(unet)
    for depth, block in walk:
        for module in block.modules():
            if _owns(module, "transformer_blocks"):
                yield depth, module


def _diffusers_blocks(unet: Any) -> Iterator[tuple[int, nn.Module]]:
    depth = 0
    for block in unet.down_blocks:
        yield depth, block
        depth += _resamples(block, "downsamplers")
    if unet.mid_block is not None:
        yield depth, unet.mid_block
    for block in unet.up_blocks:
        yield depth, block
        depth -= _resamples(block, "upsamplers")


def _resamples(block: nn.Module, name: str) -> bool:
    return any(module._modules.get(name) for module in block.modules())


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


def _attentions(transformer: nn.Module, blocks: str = "all") -> list[Any]:
    """The attentions of a transformer's blocks, seen through wrappers: each is the module that owns the projections."""
    held: Any = transformer._modules["transformer_blocks"]
    pairs = [
        module._modules.get(name)
        for block in list(held)[: None if blocks == "all" else 1]
        for module in block.modules()
        for name in ("attn1", "attn2")
    ]
    return [_owner(attention, "to_q", "to_k") or attention for attention in pairs if attention is not None]


def _all_attentions(unet: nn.Module) -> list[Any]:
    return [attention for _, transformer in _transformers(unet) for attention in _attentions(transformer)]


def _is_self_attention(attention: Any) -> bool:
    """Whether the module is built without a text input; diffusers says so, the original package shows it in a width."""
    declared = getattr(attention, "is_cross_attention", None)
    return _has_square_projections(attention) if declared is None else not declared


def _has_square_projections(attention: Any) -> bool:
    return bool(attention.to_k.in_features == attention.to_q.in_features)


def _is_context_free(unet: nn.Module) -> bool:
    """AudioLDM and MusicLDM declare cross-attentions but have no text context: each "context" is as wide as its layer.

    diffusers says that the condition is a class embedding beside the timestep's. In the original package: a text
    encoder has one width and the layers have several, so equal widths everywhere are conclusive.
    """
    if getattr(getattr(unet, "config", None), "class_embeddings_concat", False):
        return True
    attentions = _all_attentions(unet)
    widths = {attention.to_q.in_features for attention in attentions}
    return len(widths) > 1 and all(_has_square_projections(attention) for attention in attentions)
