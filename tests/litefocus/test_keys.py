"""The sampled keys: how many, which, and from whose randomness."""

import hashlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litefocus import LiteFocusConfig, TokenGrid, sample_cross_keys
from litefocus.keys import KeySource

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=60)
@given(time=st.integers(1, 60), freq=st.integers(1, 16), ratio=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_draw_is_without_replacement_and_of_the_authors_size(time: int, freq: int, ratio: float, seed: int) -> None:
    keys = sample_cross_keys(TokenGrid(time, freq), ratio, torch.Generator().manual_seed(seed))
    assert keys.dtype == torch.int64
    assert len(keys) == int(time * freq * ratio)
    assert len(keys.unique()) == len(keys)
    assert torch.equal(keys, keys.sort().values)
    assert len(keys) == 0 or (keys[0] >= 0 and keys[-1] < time * freq)


def test_every_token_is_drawn_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [sample_cross_keys(TokenGrid(10, 4), 0.25, generator) for _ in range(4000)]
    counts = torch.bincount(torch.cat(draws), minlength=40)
    # Each count is binomial(4000, 1/4): standard deviation 27.4; five of them bound all 40 safely.
    assert (counts - 1000).abs().max() < 137


def test_limit_bounds_the_sample_and_keeps_its_start() -> None:
    grid, free = TokenGrid(50, 8), [sample_cross_keys(TokenGrid(50, 8), 0.1, torch.Generator().manual_seed(1))]
    for limit, size in ((None, 40), (41, 40), (40, 40), (7, 7)):
        keys = sample_cross_keys(grid, 0.1, torch.Generator().manual_seed(1), limit)
        assert len(keys) == size
        assert set(keys.tolist()) <= set(free[0].tolist())


def test_ratio_is_checked() -> None:
    with pytest.raises(ValueError, match=r"sparse_ratio=2: accepted are numbers from 0 to 1"):
        sample_cross_keys(TokenGrid(4, 4), 2, torch.Generator())


def draws(config: LiteFocusConfig, steps: int = 2, sites: int = 2) -> list[list[int]]:
    source = KeySource(config)
    lists = []
    for timestep in range(steps):
        source.advance(timestep)
        for site in range(sites):
            keys = source.keys(site, TokenGrid(50, 8), CPU)
            assert keys is not None
            lists.append(keys.tolist())
    return lists


def test_resampling_per_call_per_step_and_never() -> None:
    (a, b, c, d) = draws(LiteFocusConfig(resample="call"))
    assert len({tuple(x) for x in (a, b, c, d)}) == 4
    (a, b, c, d) = draws(LiteFocusConfig(resample="step"))
    assert a == b != c == d
    (a, b, c, d) = draws(LiteFocusConfig(resample="fixed"))
    assert a == b == c == d


def test_seed_decides_the_stream_and_the_global_state_is_untouched() -> None:
    before = torch.get_rng_state()
    assert draws(LiteFocusConfig(seed=3)) == draws(LiteFocusConfig(seed=3))
    assert draws(LiteFocusConfig(seed=3)) != draws(LiteFocusConfig(seed=4))
    assert torch.equal(before, torch.get_rng_state())


def test_no_keys_where_compensation_is_off() -> None:
    for config in (LiteFocusConfig(cross_frequency=False), LiteFocusConfig(sparse_ratio=0)):
        assert KeySource(config).keys(0, TokenGrid(50, 8), CPU) is None


@pytest.mark.parametrize("stream", ["timestep", "count"])
@pytest.mark.parametrize("timesteps", [(981, 961, 1), (981.0, 0.5, 1.0), torch.tensor([[981, 7], [961, 7], [1, 7]])])
def test_compiled_draws_follow_the_step_and_equal_the_eager_ones(timesteps: Any, stream: str) -> None:
    torch._dynamo.reset()
    source = KeySource(LiteFocusConfig(stream=stream))
    grid = TokenGrid(50, 8)

    def step(timestep: Any) -> torch.Tensor:
        source.advance(timestep)
        keys = source.keys(1, grid, CPU)
        assert keys is not None
        return keys

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    got = [compiled(timestep).tolist() for timestep in timesteps]
    source = KeySource(LiteFocusConfig(stream=stream))
    assert got == [step(timestep).tolist() for timestep in timesteps]
    assert len({tuple(keys) for keys in got}) == 3


@pytest.mark.parametrize("resample", ["step", "fixed"])
def test_inference_reads_one_static_buffer_that_each_step_refills(resample: str) -> None:
    source, oracle = (KeySource(LiteFocusConfig(resample=resample, seed=3)) for _ in range(2))
    grid, device = TokenGrid(20, 4), torch.device("cpu")
    seen = []
    for timestep in range(3):
        source.advance(timestep)
        oracle.advance(timestep)
        with torch.inference_mode():
            keys = source.keys(7, grid, device)
            assert source.keys(2, grid, device) is keys
        with torch.enable_grad():
            assert torch.equal(keys, oracle.keys(7, grid, device))
        seen.append((keys.data_ptr(), keys.tolist()))
    assert len({pointer for pointer, _ in seen}) == 1
    assert len({tuple(values) for _, values in seen}) == (3 if resample == "step" else 1)


@pytest.mark.parametrize("resample", ["call", "step", "fixed"])
def test_a_source_made_in_inference_mode_serves_everywhere(resample: str) -> None:
    config = LiteFocusConfig(resample=resample)
    with torch.inference_mode():
        source = KeySource(config)
    oracle = KeySource(config)
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            keys = []
            for each in (source, oracle):
                each.advance(5)
                keys.append(each.keys(1, TokenGrid(20, 4), CPU))
            assert torch.equal(*keys)


def test_many_lengths_keep_few_buffers() -> None:
    source = KeySource(LiteFocusConfig(resample="step"))
    source.advance(0)
    with torch.no_grad():
        for time in range(10, 40):
            source.keys(0, TokenGrid(time, 4), torch.device("cpu"))
    assert [name[0] for name in source._buffers] == list(range(32, 40))


def test_the_count_draws_what_it_drew_before_there_was_a_choice() -> None:
    """The committed records were made by it: this is the digest of what revision c4750b8 draws."""
    digest = hashlib.sha256()
    for resample in ("call", "step", "fixed"):
        source = KeySource(LiteFocusConfig(resample=resample, seed=3, stream="count"))
        for _ in range(3):
            source.advance(981)
            for site in (0, 1, 7):
                keys = source.keys(site, TokenGrid(50, 8), CPU)
                assert keys is not None
                digest.update(keys.numpy().tobytes())
    assert digest.hexdigest() == "1c7bef6216b5b33c20c9853408701cbbee79a1306a8b3eaf798676a9983407af"


@pytest.mark.parametrize("resample", ["call", "step"])
def test_a_timestep_means_the_same_keys_in_every_form_and_order(resample: str) -> None:
    source = KeySource(LiteFocusConfig(resample=resample))
    drawn: dict[float, set[tuple[int, ...]]] = {}
    with torch.no_grad():
        for timestep in (981, torch.tensor(0.5), 981.0, torch.tensor([0.5, 3.0]), torch.tensor([[981]]), 0.5):
            source.advance(timestep)
            keys = source.keys(1, TokenGrid(50, 8), CPU)
            assert keys is not None
            value = float(torch.as_tensor(timestep).reshape(-1)[0])
            drawn.setdefault(value, set()).add(tuple(keys.tolist()))
    assert [len(kinds) for kinds in drawn.values()] == [1, 1]
    assert drawn[981] != drawn[0.5]
    with pytest.raises(RuntimeError, match="called without a timestep, from which stream='timestep' draws"):
        source.advance(None)
    KeySource(LiteFocusConfig(resample="fixed")).advance(None)
