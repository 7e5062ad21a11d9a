"""LiteFocus-Linear: same-frequency focus within a time window, so that the cost grows linearly with the clip.

Our extension, not the paper's. Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head
dim, S sampled cross keys, W window frames.

Time is cut into blocks of W frames, the last one possibly shorter. A query in block i = t // W attends to the 3 W
frames of its own frequency that start at clamp((i - 1) * W, 0, T - 3 W): its own block and both neighbours, shifted
inwards at the two ends of the clip. So every query sees at least W frames to each side, as far as the clip goes, and
exactly min(T, 3 W) frames in all; no mask is needed. With T <= 3 W this is LiteFocus itself.

The windows are overlapping views of the keys, so none is copied. They fall into three groups: the first two blocks
share one window, so do the last ones, and the blocks between form one regular stack.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

from litefocus.attention import (
    _flash_with_lse,
    _fold,
    _resolve_backend,
    _rows,
    _sampled,
    _validate,
    lite_focus_attention,
)
from litefocus.config import BACKENDS, check_choice, check_window
from litefocus.grid import TokenGrid


class Group(NamedTuple):
    """Consecutive blocks whose windows lie regularly: `blocks` of `block` frames, each `block` frames further.

    Queries start at frame `query`, keys at frame `key`; each block sees `window` key frames.
    """

    query: int
    key: int
    blocks: int
    block: int
    window: int

    @property
    def queries(self) -> slice:
        """The frames whose queries belong to the group."""
        return slice(self.query, self.query + self.blocks * self.block)


def window_groups(time: int, window_frames: int) -> list[Group]:
    """The groups that together hold every frame once; one group with every key where T <= 3 W.

    Args:
        time: T, at least 1. window_frames: W, at least 1.
    """
    span = 3 * window_frames
    if time <= span:
        return [Group(0, 0, 1, time, time)]
    last = -(-time // window_frames) - 2
    groups = [Group(0, 0, 1, 2 * window_frames, span)]
    if last > 2:
        groups.append(Group(2 * window_frames, window_frames, last - 2, window_frames, span))
    groups.append(Group(last * window_frames, time - span, 1, time - last * window_frames, span))
    return groups


def window_focus_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor | None,
    *,
    window_frames: int,
    scale: float | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Attend to a time window of the query's own frequency bin and to a sample of keys, in one softmax.

    Exact by its definition: `reference_attention` with `window_frames`. A sampled key inside the window counts twice,
    as in the authors' LiteFocus.

    Args:
        query: (B, H, N, D), time-major tokens. Fastest as a transposed view of (B, N, H, D).
        key: (B, H, N, D), as `query`.
        value: (B, H, N, D), as `query`.
        grid: T and F with N == T * F.
        cross_keys: int64 (S,) tokens in [0, N) that every query also attends to; None or empty for none.
        window_frames: W; a query sees its block of W frames and both neighbours (see the module's text).
        scale: of the scores; None means D ** -0.5.
        backend: "lse" (two attentions merged by their log-sum-exp, no key is copied), "append" (the sampled keys
            appended to every window; has gradients), or "auto": lse where it can serve.

    Returns:
        (B, H, N, D) in the query's dtype, a transposed view of contiguous (B, N, H, D).

    Raises:
        ValueError: window_frames below 1, or anything that `lite_focus_attention` refuses.
    """
    check_choice("backend", backend, BACKENDS)
    check_window(window_frames)
    cross_keys = _validate(query, key, value, grid, cross_keys, True)
    if grid.time <= 3 * window_frames:
        return lite_focus_attention(query, key, value, grid, cross_keys, scale=scale, backend=backend)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    tokens = (query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    if cross_keys is not None and _resolve_backend(backend, query, key, value) == "lse":
        output = _merged(*tokens, grid, window_frames, cross_keys, scale)
    else:
        output = _appended(*tokens, grid, window_frames, cross_keys, scale)
    return output.transpose(1, 2)


def _blocks(x: torch.Tensor, first: int, count: int, step: int, length: int) -> torch.Tensor:
    """(F * H, T, D) -> (count, F * H, length, D): overlapping views that start `step` frames apart."""
    stop = first + (count - 1) * step + length
    return x[:, first:stop].unfold(1, length, step).permute(1, 0, 3, 2)


def _group_inputs(
    folds: tuple[torch.Tensor, torch.Tensor, torch.Tensor], group: Group
) -> Iterator[tuple[int | slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(rows of the batch, query, key, value) of a group, from folds (B, F * H, T, D).

    A single block takes the whole batch at once. A stack of blocks puts its blocks where flash attention has its
    batch, so it goes clip by clip.
    """
    query, key, value = folds
    if group.blocks == 1:
        keys = slice(group.key, group.key + group.window)
        yield slice(None), query[:, :, group.queries], key[:, :, keys], value[:, :, keys]
        return
    for row in range(query.shape[0]):
        yield (
            row,
            _blocks(query[row], group.query, group.blocks, group.block, group.block),
            _blocks(key[row], group.key, group.blocks, group.block, group.window),
            _blocks(value[row], group.key, group.blocks, group.block, group.window),
        )


def _by_frame(x: torch.Tensor, row: int | slice) -> torch.Tensor:
    """A group's result (blocks or B, F * H, frames, ...) in token order: (B, frames, F * H, ...), or one clip."""
    x = x.transpose(1, 2)
    return x if isinstance(row, slice) else x.flatten(0, 1)


def _merged(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    window_frames: int,
    cross_keys: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    batch, _, heads, dim = query.shape
    sampled, sampled_lse = _flash_with_lse(
        _rows(query.transpose(1, 2)), _sampled(key, cross_keys), _sampled(value, cross_keys), scale
    )
    output = sampled.transpose(1, 2).contiguous()
    by_frame = output.view(batch, grid.time, grid.freq * heads, dim)
    lse_by_frame = sampled_lse.transpose(1, 2).reshape(batch, grid.time, grid.freq * heads)
    folds = (_fold(query, grid), _fold(key, grid), _fold(value, grid))
    for group in window_groups(grid.time, window_frames):
        for row, own_query, own_key, own_value in _group_inputs(folds, group):
            own, own_lse = (_by_frame(x, row) for x in _flash_with_lse(own_query, own_key, own_value, scale))
            weight = torch.sigmoid(own_lse - lse_by_frame[row, group.queries]).to(query.dtype).unsqueeze(-1)
            # In place: at long clips the passes over memory are what the merge costs.
            by_frame[row, group.queries].lerp_(own, weight)
    return output


def _appended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    window_frames: int,
    cross_keys: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """One attention per window, whose keys the sampled ones follow; without sampled keys, the windows alone."""
    folds = (_fold(query, grid), _fold(key, grid), _fold(value, grid))
    extra = [None, None] if cross_keys is None else [_sampled_by_fold(x, cross_keys, grid) for x in (key, value)]
    frames = []
    for group in window_groups(grid.time, window_frames):
        clips = []
        for row, own_query, *own in _group_inputs(folds, group):
            keys, values = (
                x if more is None else torch.cat([x, _for_rows(more, row, x)], dim=2)
                for x, more in zip(own, extra, strict=True)
            )
            clips.append(_by_frame(F.scaled_dot_product_attention(own_query, keys, values, scale=scale), row))
        frames.append(clips[0] if group.blocks == 1 else torch.stack(clips))
    return torch.cat(frames, dim=1).view(query.shape)


def _sampled_by_fold(x: torch.Tensor, cross_keys: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """(B, N, H, D) -> (B, F * H, S, D): the sampled keys once per frequency bin, as a view."""
    return _sampled(x, cross_keys).unsqueeze(1).expand(-1, grid.freq, -1, -1, -1).flatten(1, 2)


def _for_rows(sampled: torch.Tensor, row: int | slice, own: torch.Tensor) -> torch.Tensor:
    """The sampled keys of a group's clips, as often as `own` (blocks or B, F * H, frames, D) has blocks."""
    return sampled if isinstance(row, slice) else sampled[row].expand(own.shape[0], -1, -1, -1)
