"""The definition of LiteFocus attention, materialised in float64: the oracle of tests and benchmarks, nothing else.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled cross keys.
"""

import torch

from litefocus.grid import TokenGrid


def key_multiplicity(
    grid: TokenGrid,
    cross_keys: torch.Tensor | None,
    *,
    same_frequency: bool = True,
    duplicates: str = "count_twice",
    window_frames: int | None = None,
) -> torch.Tensor:
    """How often each key (column) counts in the softmax of each query (row): float64 (N, N).

    The authors' code concatenates the two sets of keys, so a sampled key of the query's own frequency counts twice;
    under "union", the paper's text, it counts once. With `window_frames` W, focus is that of LiteFocus-Linear: query
    frame t sees the min(T, 3 W) frames of its own frequency from clamp((t // W - 1) * W, 0, T - 3 W).
    """
    bins = torch.arange(grid.tokens) % grid.freq
    own = (bins[:, None] == bins[None, :]).double() * same_frequency
    if window_frames is not None:
        frames = torch.arange(grid.tokens) // grid.freq
        first = ((frames // window_frames - 1) * window_frames).clamp(max=grid.time - 3 * window_frames).clamp(min=0)
        own *= (frames[None, :] >= first[:, None]) & (frames[None, :] < first[:, None] + 3 * window_frames)
    drawn = torch.zeros(grid.tokens, dtype=torch.float64)
    if cross_keys is not None:
        drawn = torch.bincount(cross_keys.cpu(), minlength=grid.tokens).double()
    sampled = drawn.expand(grid.tokens, -1)
    return own + (sampled * (1 - own) if duplicates == "union" else sampled)


def reference_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor | None,
    *,
    same_frequency: bool = True,
    scale: float | None = None,
    duplicates: str = "count_twice",
    window_frames: int | None = None,
) -> torch.Tensor:
    """`lite_focus_attention` by its definition, dense with log(multiplicity) on the scores: float64 (B, H, N, D).

    With `window_frames`, `window_focus_attention`.
    """
    query, key, value = (x.double() for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    multiplicity = key_multiplicity(
        grid, cross_keys, same_frequency=same_frequency, duplicates=duplicates, window_frames=window_frames
    )
    scores = query @ key.transpose(-1, -2) * scale + multiplicity.log().to(query.device)
    return scores.softmax(dim=-1) @ value


def reference_band_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    half_width: int,
    *,
    extra: tuple[torch.Tensor, torch.Tensor] | None = None,
    key_padding: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """`band_attention` by its definition, dense with the band as a mask: float64 (B, H, L, D)."""
    repeats = query.shape[1] // key.shape[1]
    if extra is not None:
        key, value = torch.cat([key, extra[0]], dim=2), torch.cat([value, extra[1]], dim=2)
    key, value = (x.double().repeat_interleave(repeats, dim=1) for x in (key, value))
    position = torch.arange(query.shape[2], device=query.device)
    keep = ((position[:, None] - position).abs() <= half_width)[None, None]
    if key_padding is not None:
        keep = keep & key_padding[:, None, None]
    keep = torch.nn.functional.pad(keep, (0, key.shape[2] - query.shape[2]), value=True)
    scores = query.double() @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(~keep, -torch.inf).softmax(dim=-1).nan_to_num() @ value
