"""Exact windows: models that were trained with windowed attention, without the L x L mask that diffusers builds for it.

Served, by what their modules declare:

- `AutoencoderSAME`, the autoencoder of the Stable Audio 3 pipelines: every layer, with a half width of
  sliding_window * (stride + 1);
- `AceStepTransformer1DModel`, of `AceStepPipeline`: the layers of type "sliding_attention", with sliding_window.

The output is that of the stock model up to rounding. The function of the module that builds the mask is replaced by one
that returns a `BandMask`, which holds two numbers; attention under it is `band_attention`.

Shapes: L tokens; B clips, C channels, T frames.
"""

from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from litefocus.config import is_whole_number
from litefocus.context import entered_context
from litefocus.long_audio.band import band_attention

_ATTRIBUTE = "_litefocus_windows"


class BandMask:
    """What stands in for an additive (1, 1, L, L) mask of a band: attention under it never builds one.

    Torch's fused attention asks its arguments whether one of them serves the call itself, and this one does.
    """

    def __init__(self, length: int, half_width: int) -> None:
        self.half_width = half_width
        self.shape = torch.Size((1, 1, length, length))
        self.ndim = 4

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> torch.Tensor:
        """Attention within the band, for torch's scaled-dot-product attention; nothing else takes a band."""
        if function is not F.scaled_dot_product_attention:
            raise TypeError(f"{getattr(function, '__name__', function)} got a BandMask: {_ADVICE}")
        return _attention(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a BandMask has no {name!r}: {_ADVICE}")


_ADVICE = (
    "exact windows work with diffusers' native attention backend alone; set_attention_backend('native'), or "
    "disable_exact_windows() to use another"
)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: BandMask,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    if dropout_p or is_causal:
        raise ValueError(f"dropout_p={dropout_p}, is_causal={is_causal} within a band: accepted are 0 and False")
    return band_attention(query, key, value, attn_mask.half_width, scale=scale)


def _same_mask(seq_len: int, window: int, device: torch.device, dtype: torch.dtype) -> BandMask:
    """In place of diffusers' `_band_mask`."""
    return BandMask(seq_len, window)


def _ace_step_mask(
    seq_len: int,
    dtype: torch.dtype,
    device: torch.device,
    attention_mask: torch.Tensor | None = None,
    sliding_window: int | None = None,
    is_sliding_window: bool = False,
    is_causal: bool = True,
) -> BandMask:
    """In place of diffusers' `_create_4d_mask`, for the one way in which the transformer calls it."""
    if attention_mask is not None or is_causal or not is_sliding_window or sliding_window is None:
        raise ValueError(
            "ACE-Step asks for a mask that is no plain band (a padded or causal one): this version of diffusers lays "
            "its attention out differently; disable_exact_windows()"
        )
    return BandMask(seq_len, sliding_window)


class _Kind(NamedTuple):
    """The methods of a module that build the mask, the name under which they call its maker, and what replaces it."""

    methods: tuple[str, ...]
    maker: str
    replacement: Callable[..., BandMask]


_KINDS = {
    "SAMETransformerResamplingBlock": _Kind(("_encode", "_decode"), "_band_mask", _same_mask),
    "AceStepTransformer1DModel": _Kind(("forward",), "_create_4d_mask", _ace_step_mask),
}


def inject_exact_windows(model_or_pipe: Any, *, chunk_latents: int | None = None) -> int:
    """Compute the windowed layers of a model, or of all of a pipeline's models, within their band, until disabled.

    Idempotent. A model on another attention backend than diffusers' native one raises at its next forward.

    Args:
        model_or_pipe: a diffusers Stable Audio 3 or ACE-Step pipeline, or its autoencoder or transformer.
        chunk_latents: the autoencoder works on this many latents at a time, with the latents on either side that its
            layers reach, so that its memory does not grow with the clip. The output is the same up to the rounding of
            the rotary positions, which start anew in each chunk. None for the whole clip at once.

    Returns:
        how many modules now build no mask: resampling blocks of the autoencoder, and ACE-Step transformers.

    Raises:
        TypeError: no windowed layer of a known layout.
        ValueError: chunk_latents below 1, or without an autoencoder to apply to.
    """
    modules = _windowed_modules(model_or_pipe)
    blocks = [module for module in modules if "_decode" in _KINDS[type(module).__name__].methods]
    if chunk_latents is not None and (not is_whole_number(chunk_latents) or chunk_latents < 1 or not blocks):
        raise ValueError(
            f"chunk_latents={chunk_latents!r} for {type(model_or_pipe).__name__}: accepted are None and, with an "
            f"AutoencoderSAME, whole numbers from 1"
        )
    for module in modules:
        _disable(module)
        kind = _KINDS[type(module).__name__]
        replaced: dict[str, Any] = {}
        for method in kind.methods:
            # accelerate's offloading puts its own forward in place and keeps the module's under another name.
            name = "_old_forward" if method == "forward" and "_old_forward" in vars(module) else method
            replaced[name] = vars(module).get(name)
            setattr(module, name, _Windowed(module, method, chunk_latents if module in blocks else None))
        setattr(module, _ATTRIBUTE, replaced)
    return len(modules)


def disable_exact_windows(model_or_pipe: Any) -> None:
    """Put the stock methods back: the output is bit-equal to before. Does nothing on a model without windows."""
    for module in _modules(model_or_pipe):
        _disable(module)


@entered_context
def exact_windows(model_or_pipe: Any, *, chunk_latents: int | None = None) -> Iterator[int]:
    """Exact windows inside the context; the stock model afterwards. Arguments and errors as `inject_exact_windows`."""
    count = inject_exact_windows(model_or_pipe, chunk_latents=chunk_latents)
    try:
        yield count
    finally:
        disable_exact_windows(model_or_pipe)


class _Windowed:
    """A method of a module, its masks bands; deepcopy and pickle make it anew for the copy of the module."""

    def __init__(self, module: nn.Module, method: str, chunk_latents: int | None) -> None:
        self._made_from = (module, method, chunk_latents)
        kind = _KINDS[type(module).__name__]
        function = rebound(getattr(type(module), method), kind.maker, kind.replacement)
        if chunk_latents is not None:
            function = _chunked(function, method == "_decode", chunk_latents)
        self._method = MethodType(function, module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_from


def _chunked(method: Any, decodes: bool, latents: int) -> Any:
    """A resampling block's `_encode` or `_decode`, (B, C, T) to (B, C', T'), some latents at a time.

    Every layer looks `sliding_window` latents to either side, so what stands further away than all layers together
    look cannot change a latent.
    """

    def run(block: Any, x: torch.Tensor) -> torch.Tensor:
        halo = len(block.transformers) * block.sliding_window
        before, after = (1, block.stride) if decodes else (block.stride, 1)
        total = -(-x.shape[-1] // before)
        pieces = []
        for start in range(0, total, latents):
            first, stop = max(start - halo, 0), min(start + latents, total)
            piece = method(block, x[..., first * before : (stop + halo) * before])
            pieces.append(piece[..., (start - first) * after : (stop - first) * after])
        return torch.cat(pieces, dim=-1)

    return run


def _disable(module: nn.Module) -> None:
    for name, before in vars(module).pop(_ATTRIBUTE, {}).items():
        if before is None:
            delattr(module, name)
        else:
            setattr(module, name, before)


def parts_of(model_or_pipe: Any) -> list[nn.Module]:
    """The model itself, or the networks among a pipeline's components."""
    parts = (
        [model_or_pipe] if isinstance(model_or_pipe, nn.Module) else getattr(model_or_pipe, "components", {}).values()
    )
    return [part for part in parts if isinstance(part, nn.Module)]


def _modules(model_or_pipe: Any) -> Iterator[nn.Module]:
    for part in parts_of(model_or_pipe):
        yield from part.modules()


def _windowed_modules(model_or_pipe: Any) -> list[nn.Module]:
    known = [module for module in _modules(model_or_pipe) if type(module).__name__ in _KINDS]
    if not known:
        raise TypeError(
            f"{type(model_or_pipe).__name__} has no windowed attention of a known layout: accepted are diffusers "
            f"Stable Audio 3 and ACE-Step pipelines, AutoencoderSAME and AceStepTransformer1DModel"
        )
    for module in known:
        kind = _KINDS[type(module).__name__]
        for method in kind.methods:
            if rebound(getattr(type(module), method), kind.maker, kind.replacement) is getattr(type(module), method):
                raise TypeError(
                    f"{type(module).__name__}.{method} of this diffusers does not call {kind.maker}: its layout is "
                    f"unknown here; use it without exact windows"
                )
    return known


def rebound(function: Any, name: str, replacement: Any) -> Any:
    """The function, or the one that its decorators wrap, with the global `name` bound to `replacement` in it alone.

    The same function where `name` does not occur.
    """
    if not isinstance(function, FunctionType):
        return function
    closure = function.__closure__ or ()
    cells = tuple(_rebound_cell(cell, name, replacement) for cell in closure)
    uses = name in function.__code__.co_names
    if not uses and all(new is old for new, old in zip(cells, closure, strict=True)):
        return function
    names = {**function.__globals__, name: replacement} if uses else function.__globals__
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells or None)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _rebound_cell(cell: CellType, name: str, replacement: Any) -> CellType:
    before = cell.cell_contents
    after = rebound(before, name, replacement)
    return cell if after is before else CellType(after)
