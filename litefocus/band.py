"""Attention within a band: query i attends to the keys j with |i - j| <= w, exactly, in time and memory linear in L.

For models that were trained with such a window (Stable Audio 3's autoencoder, ACE-Step's sliding layers), where dense
attention with a mask computes L x L scores and throws nearly all of them away. Nothing is approximated.

Shapes: B batch, H heads, K key heads (a divisor of H), L tokens, D head dim, w half width, C tokens of a chunk.

The queries are cut into chunks of C. A chunk's keys are its own tokens and w on each side, a view of the keys. Chunks
that lie wholly inside the sequence share one mask and go through fused attention as one batch; the first and last few
go alone.
"""

import torch
import torch.nn.functional as F

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
    key_padding: torch.Tensor | None = None,
    scale: float | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """Softmax attention of every query to the keys at most `half_width` tokens away.

    Equal to scaled-dot-product attention with the band as its mask, up to rounding; differentiable, on any device.

    Args:
        query: (B, H, L, D). key, value: (B, K, L, D); with K < H each key head serves H / K query heads in a row.
        half_width: w >= 0; from L - 1 on the band is everything and this is plain attention.
        key_padding: bool (B, L), True for keys that exist; None for all. A query without any key gets zeros.
        scale: of the scores; None means D ** -0.5.
        chunk: C; None chooses it from w.

    Returns:
        (B, H, L, D) in the query's dtype.

    Raises:
        ValueError: shapes that do not fit, a negative half width, or a chunk below 1.
    """
    _check(query, key, value, half_width, key_padding, chunk)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    length = query.shape[2]
    size = chunk or min(max(_MIN_CHUNK, half_width), _MAX_CHUNK)
    if half_width >= length - 1 or length <= size:
        return _attend(query, key, value, 0, 0, half_width, key_padding, scale)
    # Chunks first to last - 1 have all their keys inside the sequence.
    first, last = -(-half_width // size), max((length - half_width) // size, 0)
    if last - first < 2:
        starts = range(0, length, size)
        return torch.cat([_edge(query, key, value, s, size, half_width, key_padding, scale) for s in starts], dim=2)
    pieces = [_edge(query, key, value, i * size, size, half_width, key_padding, scale) for i in range(first)]
    pieces.append(_inside(query, key, value, first * size, last * size, size, half_width, key_padding, scale))
    tail = range(last * size, length, size)
    pieces += [_edge(query, key, value, s, size, half_width, key_padding, scale) for s in tail]
    return torch.cat(pieces, dim=2)


def _check(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    half_width: int,
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
    if half_width < 0 or (chunk is not None and chunk < 1):
        raise ValueError(f"half_width={half_width}, chunk={chunk}: accepted are whole numbers from 0, and from 1")
    if key_padding is not None and (key_padding.shape != (batch, length) or key_padding.dtype != torch.bool):
        raise ValueError(
            f"key_padding {tuple(key_padding.shape)} of {key_padding.dtype}: accepted is bool ({batch}, {length}), "
            f"True for keys that exist"
        )


def _band(queries: int, keys: int, offset: int, half_width: int, device: torch.device) -> torch.Tensor:
    """Bool (queries, keys): whether query i, which stands `offset` keys to the right of key i, sees key j."""
    distance = torch.arange(queries, device=device)[:, None] + offset - torch.arange(keys, device=device)
    return distance.abs() <= half_width


def _edge(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    start: int,
    size: int,
    half_width: int,
    key_padding: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """One chunk from `start`, with the keys that exist."""
    first, stop = max(start - half_width, 0), min(start + size + half_width, key.shape[2])
    keys = slice(first, stop)
    padding = None if key_padding is None else key_padding[:, keys]
    own = query[:, :, start : start + size]
    return _attend(own, key[:, :, keys], value[:, :, keys], start, first, half_width, padding, scale)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_start: int,
    key_start: int,
    half_width: int,
    key_padding: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    queries, keys = query.shape[2], key.shape[2]
    if key_padding is None and half_width >= max(query_start + queries - 1 - key_start, key_start + keys - 1):
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    band = _band(queries, keys, query_start - key_start, half_width, query.device)
    mask = band if key_padding is None else band & key_padding[:, None, None, :]
    return _without_lonely(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale), mask)


def _inside(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    start: int,
    stop: int,
    size: int,
    half_width: int,
    key_padding: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """The chunks of [start, stop), all of whose keys exist: clip by clip, the chunks where attention has its batch."""
    window = size + 2 * half_width
    keys = slice(start - half_width, stop + half_width)
    band = _band(size, window, half_width, half_width, query.device)
    clips = []
    for row in range(query.shape[0]):
        own = query[row, :, start:stop].unflatten(1, (-1, size)).transpose(0, 1)
        # Overlapping views: no key is copied.
        near, values = (x[row, :, keys].unfold(1, window, size).permute(1, 0, 3, 2) for x in (key, value))
        mask = band
        if key_padding is not None:
            mask = band & key_padding[row, keys].unfold(0, window, size)[:, None, None, :]
        output = F.scaled_dot_product_attention(own, near, values, attn_mask=mask, scale=scale)
        if key_padding is not None:
            output = _without_lonely(output, mask)
        clips.append(output.transpose(0, 1).flatten(1, 2))
    return torch.stack(clips)


def _without_lonely(output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Zeros for queries that see no key, which a softmax leaves undefined. Without padding every query sees itself."""
    return output if mask.ndim == 2 else output.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
