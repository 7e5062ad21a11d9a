"""Attention within a band against its definition in float64, and that it costs what a band costs."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from litefocus.long_audio.band import band_attention
from litefocus.reference import reference_band_attention


def inputs(length: int, *, heads: int = 4, key_heads: int = 2, batch: int = 2, dtype: Any = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(batch, heads, length, 16, generator=generator)
    key, value = torch.randn(2, batch, key_heads, length, 16, generator=generator)
    return query.to(dtype), key.to(dtype), value.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("half_width", [0, 1, 17, 128, None])
@pytest.mark.parametrize("length", [1, 16, 17, 18, 1000, 3001])
def test_a_band_equals_its_definition(length: int, half_width: int | None, padded: bool, dtype: torch.dtype) -> None:
    half_width = length if half_width is None else half_width
    query, key, value = inputs(length, dtype=dtype)
    padding = None
    if padded:
        padding = torch.rand(2, length, generator=torch.Generator().manual_seed(1)) > 0.2
        padding[1, length // 2 :] = False  # a clip of half the length: queries without any key
    output = band_attention(query, key, value, half_width, key_padding=padding)
    assert output.dtype == dtype
    wanted = reference_band_attention(query, key, value, half_width, key_padding=padding)
    # bfloat16 keeps 8 bits; the values reach about 4.
    assert (output - wanted).abs().max() < (2e-6 if dtype == torch.float32 else 4e-2)


@pytest.mark.parametrize("chunk", [1, 7, 32, 500])
def test_the_result_does_not_depend_on_the_chunk(chunk: int) -> None:
    tokens = inputs(300)
    expected = reference_band_attention(*tokens, 9, scale=0.5)
    assert (band_attention(*tokens, 9, scale=0.5, chunk=chunk) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("length", "half_width"), [(1, 0), (40, 100), (150, 9), (1000, 17)])
def test_extra_keys_share_the_softmax_and_count_again_inside_the_band(
    length: int, half_width: int, padded: bool
) -> None:
    query, key, value = inputs(length)
    own = torch.tensor([0, length // 2, length // 2, length - 1])
    extra = key[:, :, own], value[:, :, own]
    padding = torch.arange(length)[None].expand(2, -1) < length * 2 // 3 if padded else None
    output = band_attention(query, key, value, half_width, extra=extra, key_padding=padding)
    wanted = reference_band_attention(query, key, value, half_width, extra=extra, key_padding=padding)
    assert (output - wanted).abs().max() < 2e-6
    # The oracle once more, as a count of every key in the softmax.
    count = (torch.arange(length)[:, None] - torch.arange(length)).abs().le(half_width).double()
    count = count * (1.0 if padding is None else padding[:, None, None])
    count = count + torch.bincount(own, minlength=length).double()
    keys, values = (x.repeat_interleave(2, dim=1).double() for x in (key, value))
    scores = query.double() @ keys.mT / 4 + count.log()
    assert (scores.softmax(-1) @ values - wanted).abs().max() < 1e-12


def test_gradients_are_those_of_the_definition() -> None:
    tokens = [x.double().requires_grad_() for x in inputs(150, batch=1)]
    padding = torch.arange(150)[None] < 140
    weight = torch.randn(1, 4, 150, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = torch.autograd.grad((band_attention(*tokens, 5, key_padding=padding) * weight)[:, :, :130].sum(), tokens)
    wanted = torch.autograd.grad(
        (reference_band_attention(*tokens, 5, key_padding=padding) * weight)[:, :, :130].sum(), tokens
    )
    for mine, theirs in zip(ours, wanted, strict=True):
        assert (mine - theirs).abs().max() < 1e-12


def flops(call: Any) -> int:
    """Of matrix products, with attention as two of them: torch does not count those of its fused CPU kernel."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def test_the_work_grows_with_the_length_and_not_with_its_square() -> None:
    def band(length: int) -> int:
        return flops(lambda: band_attention(*inputs(length, batch=1, key_heads=4), 17))

    dense = flops(lambda: F.scaled_dot_product_attention(*inputs(4096, batch=1, key_heads=4)))
    assert dense == 4096 * 4096 * 4 * 16 * 4
    # 2 products of 2 operations for 4 heads of 16: at most two keys computed for every one in a band of 35.
    assert 4096 * 4 * 16 * 4 * 35 < band(4096) < 4096 * 4 * 16 * 4 * 35 * 2
    assert band(8192) == pytest.approx(2 * band(4096), rel=0.01)


def test_it_compiles_as_one_graph() -> None:
    tokens = inputs(200)
    compiled = torch.compile(band_attention, backend="eager", fullgraph=True)
    assert torch.equal(compiled(*tokens, 9), band_attention(*tokens, 9))


@pytest.mark.parametrize("shape", [(1, 4, 3, 16), (2, 2, 3, 8), (2, 3, 16)])
def test_extra_keys_that_do_not_fit_are_one_line(shape: tuple[int, ...]) -> None:
    extra = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"accepted are keys and values \(2, 2, E, 16\)"):
        band_attention(*inputs(20), 3, extra=(extra, extra))


@pytest.mark.parametrize(
    ("shapes", "half_width", "padding", "message"),
    [
        (((1, 2, 5, 4), (1, 2, 6, 4)), 1, None, "the same B, L and D"),
        (((1, 3, 5, 4), (1, 2, 5, 4)), 1, None, "a number of key heads that divides"),
        (((2, 5, 4), (2, 5, 4)), 1, None, r"accepted are \(B, H, L, D\)"),
        (((1, 2, 5, 4), (1, 2, 5, 4)), -1, None, "half_width=-1"),
        (((1, 2, 5, 4), (1, 2, 5, 4)), "3", None, "half_width='3', chunk=None: accepted are whole numbers from 0"),
        (((1, 2, 5, 4), (1, 2, 5, 4)), 2.5, None, "half_width=2.5, chunk=None: accepted are whole numbers from 0"),
        (((1, 2, 5, 4), (1, 2, 5, 4)), 1, torch.ones(1, 5), r"accepted is bool \(1, 5\)"),
    ],
)
def test_what_does_not_fit_is_one_line(shapes: Any, half_width: Any, padding: Any, message: str) -> None:
    query, key = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        band_attention(query, key, key, half_width, key_padding=padding)


def test_a_chunk_of_no_whole_number_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"half_width=3, chunk=2.5: accepted are whole numbers from 0, and from 1"):
        band_attention(*inputs(20), 3, chunk=2.5)  # type: ignore[arg-type]
