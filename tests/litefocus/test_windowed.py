"""LiteFocus-Linear against its float64 definition, its edges, its cost, and what it must never read.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, W window frames.
"""

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from litefocus import TokenGrid, lite_focus_attention, sample_cross_keys, window_focus_attention
from litefocus.reference import key_multiplicity, reference_attention
from litefocus.windowed import window_groups

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}


def tokens(grid: TokenGrid, dtype: torch.dtype = torch.float32, heads: int = 2, dim: int = 8) -> list[Any]:
    """Query, key and value as projections give them: (B, H, N, D) views of (B, N, H, D)."""
    generator = torch.Generator().manual_seed(grid.tokens)
    shape = (2, grid.tokens, heads, dim)
    return [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for _ in range(3)]


def drawn(grid: TokenGrid, budget: int) -> torch.Tensor:
    return sample_cross_keys(grid, 1.0, torch.Generator().manual_seed(7), limit=budget)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


def test_definition_by_hand() -> None:
    # T=7, F=1, W=2: blocks {0,1} {2,3} {4,5} {6}; windows of 6 frames start at 0, 0, 1 (not 2: shifted inwards), 1.
    assert key_multiplicity(TokenGrid(7, 1), None, window_frames=2).tolist() == [
        *[[1, 1, 1, 1, 1, 1, 0]] * 4,
        *[[0, 1, 1, 1, 1, 1, 1]] * 3,
    ]
    # T=9: no end shifts the third block, {4,5}; key 4 is sampled, so inside the window it counts twice.
    rows = key_multiplicity(TokenGrid(9, 1), torch.tensor([4]), window_frames=2)
    assert rows[4].tolist() == [0, 0, 1, 1, 2, 1, 1, 1, 0]
    assert rows[8].tolist() == [0, 0, 0, 1, 2, 1, 1, 1, 1]


@settings(deadline=None, max_examples=80)
@given(
    time=st.integers(1, 40),
    freq=st.integers(1, 4),
    window=st.integers(1, 15),
    budget=st.integers(0, 20),
    backend=st.sampled_from(["auto", "lse", "append"]),
    scale=st.sampled_from([None, 0.3]),
)
def test_equals_definition_anywhere(
    time: int, freq: int, window: int, budget: int, backend: str, scale: float | None
) -> None:
    grid = TokenGrid(time, freq)
    inputs, keys = tokens(grid), drawn(grid, budget)
    got = window_focus_attention(*inputs, grid, keys, window_frames=window, scale=scale, backend=backend)
    expected = reference_attention(*inputs, grid, keys, window_frames=window, scale=scale)
    assert got.shape == inputs[0].shape
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("backend", ["lse", "append"])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("time", "window"), [(500, 64), (512, 128), (385, 128), (250, 32)])
def test_equals_definition_on_long_grids(time: int, window: int, dtype: torch.dtype, backend: str) -> None:
    grid = TokenGrid(time, 4)
    inputs, keys = tokens(grid, dtype), drawn(grid, 102)
    got = window_focus_attention(*inputs, grid, keys, window_frames=window, backend=backend)
    assert got.dtype == dtype
    assert relative_error(got, reference_attention(*inputs, grid, keys, window_frames=window)) < TOLERANCE[dtype]


@given(time=st.integers(1, 400), window=st.integers(1, 60))
def test_groups_hold_every_frame_once_and_windows_keep_their_reach(time: int, window: int) -> None:
    seen = []
    for group in window_groups(time, window):
        for block in range(group.blocks):
            queries = range(group.query + block * group.block, group.query + (block + 1) * group.block)
            keys = range(group.key + block * group.block, group.key + block * group.block + group.window)
            seen += queries
            assert len(keys) == min(time, 3 * window)
            assert keys[0] >= 0
            assert keys[-1] < time
            for frame in (queries[0], queries[-1]):
                assert keys[0] <= max(0, frame - window)
                assert keys[-1] >= min(time - 1, frame + window)
    assert seen == list(range(time))


def test_a_clip_of_three_windows_is_litefocus_itself() -> None:
    grid = TokenGrid(24, 4)
    inputs, keys = tokens(grid), drawn(grid, 9)
    expected = lite_focus_attention(*inputs, grid, keys)
    assert torch.equal(window_focus_attention(*inputs, grid, keys, window_frames=8), expected)
    assert not torch.allclose(window_focus_attention(*inputs, grid, keys, window_frames=7), expected)


@pytest.mark.parametrize("backend", ["lse", "append"])
def test_keys_outside_the_window_have_no_influence(backend: str) -> None:
    grid, keys = TokenGrid(23, 3), torch.tensor([5, 30, 31])
    query, key, value = tokens(grid)
    rule: dict[str, Any] = {"window_frames": 3, "backend": backend}
    expected = window_focus_attention(query, key, value, grid, keys, **rule)
    unseen = key_multiplicity(grid, keys, window_frames=3) == 0
    for position in (0, 17, 18, 35, 53, 54, 68):
        poison = unseen[position][None, None, :, None]
        poisoned = (x.masked_fill(poison, torch.nan) for x in (key, value))
        got = window_focus_attention(query, *poisoned, grid, keys, **rule)
        torch.testing.assert_close(got[:, :, position], expected[:, :, position])


def test_gradients_equal_those_of_the_definition() -> None:
    grid = TokenGrid(17, 2)
    keys = drawn(grid, 5)
    leaves = [x.contiguous().requires_grad_() for x in tokens(grid)]
    weight = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(0))
    got = torch.autograd.grad((window_focus_attention(*leaves, grid, keys, window_frames=3) * weight).sum(), leaves)
    expected = torch.autograd.grad((reference_attention(*leaves, grid, keys, window_frames=3) * weight).sum(), leaves)
    for a, b in zip(got, expected, strict=True):
        assert relative_error(a, b.double()) < 1e-5


@pytest.mark.parametrize("backend", ["lse", "append"])
def test_compiles_to_one_graph(backend: str) -> None:
    grid = TokenGrid(33, 4)
    inputs, keys = tokens(grid), drawn(grid, 6)
    compiled = torch.compile(window_focus_attention, fullgraph=True, backend="aot_eager")
    rule: dict[str, Any] = {"window_frames": 4, "backend": backend}
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(*inputs, grid, keys, **rule), window_focus_attention(*inputs, grid, keys, **rule)
        )


def multiplications(grid: TokenGrid, window: int, budget: int) -> int:
    """FLOPs of one call, counted by torch."""
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def flops(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(q, k, v)

    inputs, keys = tokens(grid), drawn(grid, budget)
    with FlopCounterMode(display=False, custom_mapping={op: flops}) as counter:
        window_focus_attention(*inputs, grid, keys, window_frames=window)
    return counter.get_total_flops()


def test_multiplications_are_those_of_the_pattern_and_grow_linearly() -> None:
    # B=2, H=2, D=8; N queries, each with 3 * 8 + 20 keys.
    assert multiplications(TokenGrid(101, 8), 8, 20) == 4 * 2 * 2 * 808 * 44 * 8
    assert multiplications(TokenGrid(404, 8), 8, 20) == 4 * multiplications(TokenGrid(101, 8), 8, 20)


def test_windows_are_not_copied() -> None:
    grid = TokenGrid(2000, 8)
    inputs, keys = tokens(grid, heads=1), drawn(grid, 16)
    with torch.profiler.profile(profile_memory=True) as profile:
        window_focus_attention(*inputs, grid, keys, window_frames=16)
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    # One output is 4 * B * N * D bytes; copied windows would take three times as much, a score matrix far more.
    assert 0 < largest <= 4 * 2 * grid.tokens * 8


@pytest.mark.parametrize("window", [0, -1, 2.0, True])
def test_bad_window_is_one_clear_line(window: Any) -> None:
    grid = TokenGrid(4, 2)
    with pytest.raises(ValueError, match=re.escape(f"window_frames={window!r}: accepted are whole numbers from 1")):
        window_focus_attention(*tokens(grid), grid, None, window_frames=window)
