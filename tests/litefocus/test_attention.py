"""The op against its float64 definition, against dense attention, and against what it must never do.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled cross keys.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from litefocus import TokenGrid, lite_focus_attention, sample_cross_keys, window_focus_attention
from litefocus.reference import key_multiplicity, reference_attention

SMALL_GRIDS = [TokenGrid(t, f) for t in (1, 7) for f in (1, 2, 8, 16)]
GRIDS = [*SMALL_GRIDS, TokenGrid(125, 8), TokenGrid(128, 2), TokenGrid(128, 1)]
LONG_GRIDS = [TokenGrid(999, 2), TokenGrid(1000, 1), TokenGrid(125, 16)]
RULES = [
    {"backend": "lse"},
    {"backend": "append"},
    {"duplicates": "union"},
    {"same_frequency": False},
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def tokens(
    grid: TokenGrid, dtype: torch.dtype = torch.float32, batch: int = 2, heads: int = 2, dim: int = 8
) -> list[Any]:
    """Query, key and value as projections give them: (B, H, N, D) views of (B, N, H, D)."""
    generator = torch.Generator().manual_seed(grid.tokens)
    shape = (batch, grid.tokens, heads, dim)
    return [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for _ in range(3)]


def drawn(grid: TokenGrid, ratio: float) -> torch.Tensor:
    return sample_cross_keys(grid, ratio, torch.Generator().manual_seed(7))


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


def check_against_reference(grid: TokenGrid, ratio: float, rule: dict[str, Any], dtype: torch.dtype) -> None:
    query, key, value = tokens(grid, dtype)
    keys = drawn(grid, ratio)
    if not rule.get("same_frequency", True) and not len(keys):
        pytest.skip("no keys are left, which is an error of its own")
    got = lite_focus_attention(query, key, value, grid, keys, **rule)
    definition = {name: rule[name] for name in ("same_frequency", "duplicates") if name in rule}
    expected = reference_attention(query, key, value, grid, keys, **definition)
    assert got.dtype == dtype
    assert got.shape == query.shape
    assert relative_error(got, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("ratio", [0, 0.1, 1])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_equals_definition(grid: TokenGrid, ratio: float, rule: dict[str, Any]) -> None:
    check_against_reference(grid, ratio, rule, torch.float32)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("grid", LONG_GRIDS, ids=str)
def test_equals_definition_on_long_grids(grid: TokenGrid, rule: dict[str, Any]) -> None:
    check_against_reference(grid, 0.1, rule, torch.float32)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("grid", [TokenGrid(7, 16), TokenGrid(125, 8), TokenGrid(128, 2)], ids=str)
def test_equals_definition_in_other_precisions(grid: TokenGrid, dtype: torch.dtype, rule: dict[str, Any]) -> None:
    check_against_reference(grid, 0.1, rule, dtype)


@settings(deadline=None, max_examples=60)
@given(
    time=st.integers(1, 24),
    freq=st.integers(1, 9),
    ratio=st.floats(0, 1),
    rule=st.sampled_from(RULES[:3]),
    scale=st.sampled_from([None, 0.3]),
)
def test_equals_definition_anywhere(
    time: int, freq: int, ratio: float, rule: dict[str, Any], scale: float | None
) -> None:
    grid = TokenGrid(time, freq)
    query, key, value = tokens(grid, batch=1)
    keys = drawn(grid, ratio)
    got = lite_focus_attention(query, key, value, grid, keys, scale=scale, **rule)
    duplicates = rule.get("duplicates", "count_twice")
    expected = reference_attention(query, key, value, grid, keys, scale=scale, duplicates=duplicates)
    assert relative_error(got, expected) < 1e-5


def test_definition_counts_keys_as_the_paper_and_the_code_say() -> None:
    # T=2, F=2: tokens 0 and 2 are bin 0; key 2 is sampled.
    twice = key_multiplicity(TokenGrid(2, 2), torch.tensor([2]))
    union = key_multiplicity(TokenGrid(2, 2), torch.tensor([2]), duplicates="union")
    assert twice.tolist() == [[1, 0, 2, 0], [0, 1, 1, 1], [1, 0, 2, 0], [0, 1, 1, 1]]
    assert union.tolist() == [[1, 0, 1, 0], [0, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1]]


def test_all_keys_without_focus_is_dense_attention() -> None:
    grid = TokenGrid(31, 8)
    query, key, value = tokens(grid)
    got = lite_focus_attention(query, key, value, grid, torch.arange(grid.tokens), same_frequency=False)
    assert relative_error(got, F.scaled_dot_product_attention(query, key, value).double()) < 1e-5


def test_union_with_all_keys_is_dense_attention() -> None:
    grid = TokenGrid(31, 8)
    query, key, value = tokens(grid)
    got = lite_focus_attention(query, key, value, grid, torch.arange(grid.tokens), duplicates="union")
    assert relative_error(got, F.scaled_dot_product_attention(query, key, value).double()) < 1e-5


def test_one_frequency_without_sample_is_dense_attention() -> None:
    grid = TokenGrid(40, 1)
    query, key, value = tokens(grid)
    for keys in (None, torch.empty(0, dtype=torch.int64)):
        got = lite_focus_attention(query, key, value, grid, keys)
        assert relative_error(got, F.scaled_dot_product_attention(query, key, value).double()) < 1e-5


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_contiguous_heads_first_tokens_give_the_same(rule: dict[str, Any]) -> None:
    grid = TokenGrid(9, 4)
    views = tokens(grid)
    copies = [x.contiguous() for x in views]
    strided = [x.transpose(2, 3).contiguous().transpose(2, 3) for x in views]
    expected = lite_focus_attention(*views, grid, drawn(grid, 0.3), **rule)
    for inputs in (copies, strided):
        torch.testing.assert_close(lite_focus_attention(*inputs, grid, drawn(grid, 0.3), **rule), expected)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_large_scores_stay_finite(rule: dict[str, Any]) -> None:
    grid = TokenGrid(9, 4)
    query, key, value = tokens(grid)
    got = lite_focus_attention(query * 300, key * 300, value, grid, drawn(grid, 0.3), **rule)
    definition = {name: rule[name] for name in ("same_frequency", "duplicates") if name in rule}
    expected = reference_attention(query * 300, key * 300, value, grid, drawn(grid, 0.3), **definition)
    # Scores of order 1e5 carry rounding errors of order 1e-2 in float32.
    assert relative_error(got, expected) < 5e-2


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Every tensor that torch allocates without filling starts as NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("grid", [TokenGrid(1, 1), TokenGrid(1, 8), TokenGrid(33, 8), TokenGrid(129, 1)], ids=str)
def test_every_output_is_written(grid: TokenGrid, rule: dict[str, Any], poisoned_memory: None) -> None:
    assert torch.empty(3).isnan().all()
    keys = torch.arange(0, grid.tokens, 3)
    assert lite_focus_attention(*tokens(grid), grid, keys, **rule).isfinite().all()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_keys_outside_the_pattern_have_no_influence(rule: dict[str, Any]) -> None:
    grid = TokenGrid(6, 4)
    query, key, value = tokens(grid)
    keys = torch.tensor([3, 8, 14])
    definition = {name: rule[name] for name in ("same_frequency", "duplicates") if name in rule}
    expected = lite_focus_attention(query, key, value, grid, keys, **rule)
    unseen = key_multiplicity(grid, keys, **definition) == 0
    for position in (0, 9, 23):
        poison = unseen[position][None, None, :, None]
        got = lite_focus_attention(
            query, key.masked_fill(poison, torch.nan), value.masked_fill(poison, torch.nan), grid, keys, **rule
        )
        torch.testing.assert_close(got[:, :, position], expected[:, :, position])


@pytest.mark.parametrize("rule", [{"backend": "append"}, {"backend": "auto"}, *RULES[2:]], ids=str)
def test_gradients_equal_those_of_the_definition(rule: dict[str, Any]) -> None:
    grid = TokenGrid(7, 4)
    keys = drawn(grid, 0.3)
    leaves = [x.contiguous().requires_grad_() for x in tokens(grid)]
    weight = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(0))
    got = torch.autograd.grad((lite_focus_attention(*leaves, grid, keys, **rule) * weight).sum(), leaves)
    definition = {name: rule[name] for name in ("same_frequency", "duplicates") if name in rule}
    expected = torch.autograd.grad((reference_attention(*leaves, grid, keys, **definition) * weight).sum(), leaves)
    for a, b in zip(got, expected, strict=True):
        assert relative_error(a, b.double()) < 1e-5


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_compiles_to_one_graph(rule: dict[str, Any]) -> None:
    check_compiled(rule, "aot_eager")


@pytest.mark.slow
def test_compiles_to_machine_code() -> None:
    check_compiled({"backend": "lse"}, "inductor")


def check_compiled(rule: dict[str, Any], compiler: str) -> None:
    grid = TokenGrid(33, 4)
    inputs = tokens(grid)
    keys = drawn(grid, 0.2)
    compiled = torch.compile(lite_focus_attention, fullgraph=True, backend=compiler)
    with torch.no_grad():
        got = compiled(*inputs, grid, keys, **rule)
        torch.testing.assert_close(got, lite_focus_attention(*inputs, grid, keys, **rule))


def test_queries_are_not_copied() -> None:
    from litefocus.attention import _fold

    grid = TokenGrid(50, 8)
    query = tokens(grid)[0].transpose(1, 2)
    assert _fold(query, grid).data_ptr() == query.data_ptr()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_multiplications_are_those_of_the_pattern(rule: dict[str, Any]) -> None:
    grid = TokenGrid(100, 8)
    batch, heads, dim = 2, 2, 8
    keys = drawn(grid, 0.1)
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def flops(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(q, k, v)

    with FlopCounterMode(display=False, custom_mapping={op: flops}) as counter:
        lite_focus_attention(*tokens(grid), grid, keys, **rule)
    per_query = 100 * rule.get("same_frequency", True) + 80
    assert counter.get_total_flops() == 4 * batch * heads * grid.tokens * per_query * dim


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_no_score_matrix_in_memory(rule: dict[str, Any]) -> None:
    grid = TokenGrid(400, 8)
    inputs = tokens(grid, batch=1, heads=1)
    with torch.profiler.profile(profile_memory=True) as profile:
        lite_focus_attention(*inputs, grid, drawn(grid, 0.1), **rule)
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    # The scores of this pattern alone take 4 * N * (T + S) bytes; keys and values of the fold take 2 * 4 * N * D * 2.
    assert 0 < largest < 4 * grid.tokens * 720 / 4


E_GRID = TokenGrid(4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": TokenGrid(4, 3)}, "N=8 tokens is not T*F=4*3=12: pass the TokenGrid(time, freq)"),
        ({"grid": TokenGrid(-4, -2)}, "grid -4 x -2: accepted are at least one frame and one frequency bin"),
        ({"key": torch.zeros(1, 2, 9, 4)}, "accepted are three equal shapes (batch, heads, N, head_dim)"),
        ({"value": torch.zeros(1, 2, 8, 4, dtype=torch.float64)}, "accepted is one dtype on one device"),
        ({"cross_keys": torch.zeros(3)}, "cross_keys torch.float32 (3,): accepted is int64 of shape (S,)"),
        ({"cross_keys": None, "same_frequency": False}, "same_frequency=False without cross_keys leaves no keys"),
        ({"backend": "flash"}, "backend='flash': accepted are 'auto', 'lse', 'append'"),
        ({"duplicates": "once"}, "duplicates='once': accepted are 'count_twice', 'union'"),
        ({"backend": "lse", "duplicates": "union"}, "backend='lse' with duplicates='union'"),
        (
            {"backend": "lse", "query": torch.zeros(1, 2, 8, 4, requires_grad=True)},
            "backend='lse' cannot serve gradients",
        ),
    ],
)
def test_unsupported_request_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    request = {name: torch.zeros(1, 2, 8, 4) for name in ("query", "key", "value")}
    request |= {"grid": E_GRID, "cross_keys": torch.tensor([1])} | change
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        lite_focus_attention(**request)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", ["lse", "append"])
@pytest.mark.parametrize(("keys", "span"), [([0, 8], "0 to 8"), ([-1], "-1 to -1")])
def test_key_outside_the_grid_is_an_error(keys: list[int], span: str, backend: str) -> None:
    with pytest.raises(ValueError, match=f"^cross_keys from {span}: accepted are tokens from 0 to 7$"):
        lite_focus_attention(*tokens(E_GRID), E_GRID, torch.tensor(keys), backend=backend)
    with pytest.raises(ValueError, match=f"^cross_keys from {span}: accepted are tokens from 0 to 7$"):
        window_focus_attention(*tokens(E_GRID), E_GRID, torch.tensor(keys), window_frames=1, backend=backend)


def test_plain_python_in_place_of_a_grid_keys_or_a_generator_is_one_line() -> None:
    query: Any = tokens(E_GRID)
    keys: Any = [1, 2]
    grid: Any = (4, 2)
    with pytest.raises(TypeError, match=r"^grid of type tuple: accepted is TokenGrid\(time, freq\)$"):
        lite_focus_attention(*query, grid, None)
    with pytest.raises(TypeError, match=r"^grid of type tuple: accepted is TokenGrid\(time, freq\)$"):
        sample_cross_keys(grid, 0.1, torch.Generator())
    with pytest.raises(TypeError, match=r"^cross_keys of type list: accepted is an int64 tensor \(S,\), or None$"):
        lite_focus_attention(*query, E_GRID, keys)
    with pytest.raises(
        TypeError, match=r"^generator of type int: accepted is torch.Generator\(\).manual_seed\(seed\)$"
    ):
        sample_cross_keys(E_GRID, 0.1, 42)  # type: ignore[arg-type]
