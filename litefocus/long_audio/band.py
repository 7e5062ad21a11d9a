"""Attention within a band: query i attends to the keys j with |i - j| <= w, exactly, in time and memory linear in L.

For models that were trained with such a window (Stable Audio 3's autoencoder, ACE-Step's sliding layers), where dense
attention with a mask computes L x L scores and throws nearly all of them away. Nothing is approximated.

Shapes: B batch, H heads, K key heads (a divisor of H), L tokens, D head dim, w half width, C tokens of a chunk, E extra
keys.

The queries are cut into chunks of C. A chunk's keys are its own tokens and w on each side, a view of the keys. Chunks
that lie wholly inside the sequence share one mask and go through fused attention as one batch; the first and last few
go alone.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from litefocus.config import is_whole_number

# Measured on one CPU thread (docs/windows.md): a chunk of C takes C + 2 w keys a query, so small chunks compute fewer
# scores outside the band, until torch's kernel works on blocks that are not full.
_MIN_CHUNK = 32
_MAX_CHUNK = 128


def band_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    half_width: int,
    *,
    extra: tuple[torch.Tensor, torch.Tensor] | None = None,
    key_padding: torch.Tensor | None = None,
    scale: float | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """Softmax attention of every query to the keys at most `half_width` tokens away.

    Equal to scaled-dot-product attention with the band as its mask, up to rounding; differentiable, on any device.
    The oracle is `litefocus.reference.reference_band_attention`.

    Args:
        query: (B, H, L, D). key, value: (B, K, L, D); with K < H each key head serves H / K query heads in a row.
        half_width: w >= 0; from L - 1 on the band is everything and this is plain attention.
        extra: keys and values (B, K, E, D) that every query attends to as well, in the same softmax; one that is in
            the band too counts twice.
        key_padding: bool (B, L), True for keys that exist; None for all. A query without any key gets zeros.
        scale: of the scores; None means D ** -0.5.
        chunk: C; None chooses it from w.

    Returns:
        (B, H, L, D) in the query's dtype.

    Raises:
        ValueError: shapes that do not fit, or a half width or chunk that is no whole number from 0, and from 1.
    """
    _check(query, key, value, half_width, extra, key_padding, chunk)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        if extra is not None:
            extra = extra[0].repeat_interleave(groups, dim=1), extra[1].repeat_interleave(groups, dim=1)
    band = _Band(key, value, half_width, extra, key_padding, scale)
    length = query.shape[2]
    size = chunk or min(max(_MIN_CHUNK, half_width), _MAX_CHUNK)
    if half_width >= length - 1 or length <= size:
        return _attend(query, band, 0, 0, length)
    # Chunks first to last - 1 have all their keys inside the sequence.
    first, last = -(-half_width // size), max((length - half_width) // size, 0)
    if last - first < 2:
        return torch.cat([_edge(query, band, start, size) for start in range(0, length, size)], dim=2)
    pieces = [_edge(query, band, i * size, size) for i in range(first)]
    pieces.append(_inside(query, band, first * size, last * size, size))
    pieces += [_edge(query, band, start, size) for start in range(last * size, length, size)]
    return torch.cat(pieces, dim=2)


class _Band(NamedTuple):
    """What the queries of every chunk attend to; arguments of `band_attention`, one key head per query head."""

    key: torch.Tensor
    value: torch.Tensor
    half_width: int
    extra: tuple[torch.Tensor, torch.Tensor] | None
    key_padding: torch.Tensor | None
    scale: float | None


def _check(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    half_width: int,
    extra: tuple[torch.Tensor, torch.Tensor] | None,
    key_padding: torch.Tensor | None,
    chunk: int | None,
) -> None:
    if query.ndim != 4 or key.ndim != 4 or key.shape != value.shape:
        shapes = [tuple(x.shape) for x in (query, key, value)]
        raise ValueError(f"query, key, value {shapes}: accepted are (B, H, L, D) and twice (B, K, L, D)")
    batch, heads, length, dim = query.shape
    if key.shape[0] != batch or key.shape[2:] != (length, dim) or heads % key.shape[1] != 0:
        raise ValueError(
            f"query {tuple(query.shape)} with key {tuple(key.shape)}: accepted are the same B, L and D, and a number "
            f"of key heads that divides the query's"
        )
    whole = is_whole_number(half_width) and (chunk is None or is_whole_number(chunk))
    if not whole or half_width < 0 or (chunk is not None and chunk < 1):
        raise ValueError(f"half_width={half_width!r}, chunk={chunk!r}: accepted are whole numbers from 0, and from 1")
    wanted = (batch, key.shape[1], extra[0].shape[-2] if extra is not None and extra[0].ndim == 4 else 0, dim)
    if extra is not None and not wanted == extra[0].shape == extra[1].shape:
        raise ValueError(
            f"extra {tuple(extra[0].shape)} and {tuple(extra[1].shape)}: accepted are keys and values "
            f"({batch}, {key.shape[1]}, E, {dim})"
        )
    if key_padding is not None and (key_padding.shape != (batch, length) or key_padding.dtype != torch.bool):
        raise ValueError(
            f"key_padding {tuple(key_padding.shape)} of {key_padding.dtype}: accepted is bool ({batch}, {length}), "
            f"True for keys that exist"
        )


def _within(queries: int, keys: int, offset: int, half_width: int, device: torch.device) -> torch.Tensor:
    """Bool (queries, keys): whether query i, which stands `offset` keys to the right of key i, sees key j."""
    distance = torch.arange(queries, device=device)[:, None] + offset - torch.arange(keys, device=device)
    return distance.abs() <= half_width


def _edge(query: torch.Tensor, band: _Band, start: int, size: int) -> torch.Tensor:
    """One chunk from `start`, with the keys that exist."""
    first, stop = max(start - band.half_width, 0), min(start + size + band.half_width, band.key.shape[2])
    return _attend(query[:, :, start : start + size], band, start, first, stop)


def _attend(query: torch.Tensor, band: _Band, start: int, first: int, stop: int) -> torch.Tensor:
    """Queries that begin at token `start`, to the keys of [first, stop)."""
    queries, keys = query.shape[2], stop - first
    key, value = band.key[:, :, first:stop], band.value[:, :, first:stop]
    if band.extra is not None:
        key, value = torch.cat([key, band.extra[0]], dim=2), torch.cat([value, band.extra[1]], dim=2)
    if band.key_padding is None and band.half_width >= max(start + queries - 1 - first, stop - 1 - start):
        return F.scaled_dot_product_attention(query, key, value, scale=band.scale)
    mask = _within(queries, keys, start - first, band.half_width, query.device)
    if band.key_padding is not None:
        mask = mask & band.key_padding[:, None, None, first:stop]
    mask = _and_extra(mask, band)
    return _without_lonely(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=band.scale), mask)


def _inside(query: torch.Tensor, band: _Band, start: int, stop: int, size: int) -> torch.Tensor:
    """The chunks of [start, stop), all of whose keys exist: clip by clip, the chunks where attention has its batch."""
    window = size + 2 * band.half_width
    keys = slice(start - band.half_width, stop + band.half_width)
    within = _within(size, window, band.half_width, band.half_width, query.device)
    clips = []
    for row in range(query.shape[0]):
        own = query[row, :, start:stop].unflatten(1, (-1, size)).transpose(0, 1)
        # Overlapping views: without extra keys none is copied.
        key, value = (x[row, :, keys].unfold(1, window, size).permute(1, 0, 3, 2) for x in (band.key, band.value))
        if band.extra is not None:
            extra_key, extra_value = (x[row].expand(len(key), -1, -1, -1) for x in band.extra)
            key, value = torch.cat([key, extra_key], dim=2), torch.cat([value, extra_value], dim=2)
        mask = within
        if band.key_padding is not None:
            mask = mask & band.key_padding[row, keys].unfold(0, window, size)[:, None, None, :]
        mask = _and_extra(mask, band)
        output = F.scaled_dot_product_attention(own, key, value, attn_mask=mask, scale=band.scale)
        clips.append(_without_lonely(output, mask).transpose(0, 1).flatten(1, 2))
    return torch.stack(clips)


def _and_extra(mask: torch.Tensor, band: _Band) -> torch.Tensor:
    """The mask with the extra keys, which every query sees, behind its own."""
    return mask if band.extra is None else F.pad(mask, (0, band.extra[0].shape[2]), value=True)


def _without_lonely(output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Zeros for queries that see no key, which a softmax leaves undefined. Without padding every query sees itself."""
    return output if mask.ndim == 2 else output.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
