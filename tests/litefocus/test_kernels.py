"""Which kernel serves on which device, told without a GPU: the choice is a function, and the calls are recorded."""

from types import SimpleNamespace

import pytest
import torch

from litefocus.attention import _cuda_state, _flash_with_lse, _lse_obstacle, _resolve_backend, lse_kernel


@pytest.mark.parametrize(
    ("dtype", "dim", "served"),
    [
        (torch.float16, 32, True), (torch.float32, 256, True), (torch.float64, 32, False), (torch.float16, 36, False),
        (torch.float16, 264, False),
    ],
)  # fmt: skip
def test_what_the_log_sum_exp_serves_on_cuda_is_told_without_a_gpu(dtype, dim, served, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 0))
    device = SimpleNamespace(type="cuda", index=0)
    fake = SimpleNamespace(device=device, dtype=dtype, shape=(1, 8, 64, dim), requires_grad=False)
    obstacle = _lse_obstacle(fake, fake, fake)
    assert (obstacle is None) == served
    if served:
        assert _resolve_backend("auto", fake, fake, fake) == "lse"
    else:
        assert _resolve_backend("auto", fake, fake, fake) == "append"
        assert obstacle == f"{dtype} with head_dim {dim} on cuda: needs <= 32 bits and a multiple of 8 up to 256"


HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
T4, A100, H100 = (7, 5), (8, 0), (9, 0)
# Flash attention and bfloat16 kernels start with Ampere; the memory-efficient kernel serves the rest.
KERNELS = [
    ("cuda", T4, HALF, True, "efficient"),
    ("cuda", T4, SINGLE, True, "efficient"),
    ("cuda", T4, BRAIN, True, None),
    ("cuda", T4, BRAIN, False, None),
    ("cuda", T4, DOUBLE, True, None),
    ("cuda", A100, HALF, True, "flash"),
    ("cuda", A100, BRAIN, True, "flash"),
    ("cuda", H100, BRAIN, True, "flash"),
    ("cuda", A100, HALF, False, "efficient"),
    ("cuda", A100, BRAIN, False, "efficient"),
    ("cuda", A100, SINGLE, True, "efficient"),
    ("cuda", A100, DOUBLE, True, None),
    ("mps", (0, 0), SINGLE, True, None),
    *(("cpu", (0, 0), dtype, flash, "cpu") for dtype in (HALF, BRAIN, SINGLE, DOUBLE) for flash in (True, False)),
]


@pytest.mark.parametrize(("device", "capability", "dtype", "flash", "kernel"), KERNELS)
def test_the_kernel_by_device_capability_and_dtype(device, capability, dtype, flash, kernel):
    assert lse_kernel(device, capability, dtype, flash) == kernel


@pytest.mark.parametrize(("device", "capability", "dtype", "flash", "kernel"), [x for x in KERNELS if x[0] == "cuda"])
def test_that_kernel_runs_on_cuda_and_none_means_append(monkeypatch, device, capability, dtype, flash, kernel):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.backends.cuda, "flash_sdp_enabled", lambda: flash)
    shape = (1, 8, 64, 32)
    device = SimpleNamespace(type=device, index=0)
    query = SimpleNamespace(device=device, dtype=dtype, shape=shape, requires_grad=False)
    assert _resolve_backend("auto", query, query, query) == ("append" if kernel is None else "lse")
    if kernel is None:
        with pytest.raises(ValueError, match=f"backend='lse' cannot serve {dtype} .*accepted are backend='append'"):
            _resolve_backend("lse", query, query, query)
        return
    calls = []
    results = torch.zeros(shape), torch.zeros(1, 8, 96), None, None  # kernels pad the log-sum-exp
    names = ("_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention")
    kernels = {name: lambda *args, name=name, **kwargs: calls.append(name) or results for name in names}
    monkeypatch.setattr(torch.ops, "aten", SimpleNamespace(**kernels))
    _, lse = _flash_with_lse(query, query, query, 1.0)
    assert calls == [f"_scaled_dot_product_{kernel}_attention"]
    assert lse.shape == shape[:3]


def test_the_choice_of_a_kernel_breaks_no_graph(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: T4)

    def capability(x: torch.Tensor) -> torch.Tensor:
        return x + _cuda_state(0)[0][0]

    assert torch.compile(capability, backend="eager", fullgraph=True)(torch.zeros(1)).item() == 7
