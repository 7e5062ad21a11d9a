"""LiteFocus attention: exact, in O(N) extra memory, built from dense flash attention alone.

Shapes: B batch, H heads, N = T * F tokens, T time frames, F frequency bins, D head dim, S sampled cross keys.

Tokens are time-major, so a projection (B, N, H * D) *views* as (B, T, F * H, D): attention within a frequency bin is
dense attention with the frequencies folded into the heads, and no query is copied or transposed. Compensation joins in
one of two exact ways:
    lse     a second attention of all queries to the sampled keys; both results merge by their log-sum-exp.
    append  the sampled keys are appended to the time axis of every frequency fold; one attention.
Measured on 2 CPU cores (B 2, H 8, D 32, F 8, ratio 0.1), lse is 1.1x faster at 10 s and 1.3x at 80 s.
"""

import torch
import torch.nn.functional as F

from litefocus.config import BACKENDS, DUPLICATES, check_choice
from litefocus.grid import TokenGrid, check_grid


def lite_focus_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor | None,
    *,
    same_frequency: bool = True,
    scale: float | None = None,
    backend: str = "auto",
    duplicates: str = "count_twice",
) -> torch.Tensor:
    """Attend to the keys of the query's own frequency bin and to a sample of keys, in one softmax.

    Source: LiteFocus (arXiv 2407.10468), equations of section 3; `count_twice` is the arithmetic of the authors' code.

    Args:
        query: (B, H, N, D), time-major tokens. Fastest as a transposed view of (B, N, H, D), as projections give it:
            then it is not copied. Other layouts cost one copy.
        key: (B, H, N, D), as `query`.
        value: (B, H, N, D), as `query`.
        grid: T and F with N == T * F.
        cross_keys: int64 (S,) tokens in [0, N) that every query also attends to, from `sample_cross_keys`; None or
            empty for no compensation.
        same_frequency: attend to the T keys of the query's own frequency bin.
        scale: of the scores; None means D ** -0.5.
        backend: "lse", "append", or "auto": the faster one that can serve the request (lse has no gradient).
        duplicates: a sampled key of the query's own bin counts twice ("count_twice") or once ("union").

    Returns:
        (B, H, N, D) in the query's dtype, a transposed view of contiguous (B, N, H, D).

    Raises:
        TypeError: a grid that is no TokenGrid, or cross_keys that are no tensor.
        ValueError: N is not T * F, shapes, dtypes or devices disagree, no keys are left, a cross key is not a token
            (asked on the CPU alone: a GPU would have to wait for the answer), or "lse" is asked for something that it
            cannot do exactly.
    """
    check_choice("backend", backend, BACKENDS)
    check_choice("duplicates", duplicates, DUPLICATES)
    cross_keys = _validate(query, key, value, grid, cross_keys, same_frequency)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    tokens = (query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    if cross_keys is None:
        output = _focus(*tokens, grid, scale)
    elif not same_frequency:
        output = _compensation(*tokens, cross_keys, scale)
    elif duplicates == "union" or _resolve_backend(backend, query, key, value) == "append":
        if backend == "lse":
            raise ValueError("backend='lse' with duplicates='union': accepted are backend='append' and 'auto'")
        output = _append(*tokens, grid, cross_keys, scale, drop_own=duplicates == "union")
    else:
        output = _merge(*tokens, grid, cross_keys, scale)
    return output.transpose(1, 2)


def _validate(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor | None,
    same_frequency: bool,
) -> torch.Tensor | None:
    """Check the request; returns the cross keys, or None where there are none."""
    check_grid(grid)
    if cross_keys is not None and not isinstance(cross_keys, torch.Tensor):
        raise TypeError(f"cross_keys of type {type(cross_keys).__name__}: accepted is an int64 tensor (S,), or None")
    if query.ndim != 4 or key.shape != query.shape or value.shape != query.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (query, key, value))
        raise ValueError(
            f"query, key, value of shapes {shapes}: accepted are three equal shapes (batch, heads, N, head_dim)"
        )
    if len({query.dtype, key.dtype, value.dtype}) > 1 or len({query.device, key.device, value.device}) > 1:
        got = ", ".join(f"{x.dtype} on {x.device}" for x in (query, key, value))
        raise ValueError(f"query, key, value are {got}: accepted is one dtype on one device")
    grid.check(query.shape[2])
    if cross_keys is not None and (cross_keys.ndim != 1 or cross_keys.dtype != torch.int64):
        raise ValueError(f"cross_keys {cross_keys.dtype} {tuple(cross_keys.shape)}: accepted is int64 of shape (S,)")
    if cross_keys is not None and cross_keys.shape[0] == 0:
        cross_keys = None
    if type(cross_keys) is torch.Tensor and cross_keys.device.type == "cpu" and not torch.compiler.is_compiling():
        first, last = cross_keys.aminmax()
        if first < 0 or last >= grid.tokens:
            raise ValueError(f"cross_keys from {first} to {last}: accepted are tokens from 0 to {grid.tokens - 1}")
    if cross_keys is None and not same_frequency:
        raise ValueError(
            "same_frequency=False without cross_keys leaves no keys: sample at least one, or attend densely"
        )
    return cross_keys


def _lse_obstacle(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> str | None:
    """Why the log-sum-exp merge cannot serve these tensors; None if it can."""
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return "gradients: torch's log-sum-exp is not differentiable"
    if query.device.type == "cpu":
        return None
    if query.device.type != "cuda":
        return f"device {query.device.type}: torch returns a log-sum-exp on cpu and cuda"
    if query.dtype == torch.float64 or query.shape[-1] % 8 or query.shape[-1] > 256:
        return f"{query.dtype} with head_dim {query.shape[-1]} on cuda: needs <= 32 bits and a multiple of 8 up to 256"
    if _kernel(query) is None:
        return f"{query.dtype} on this GPU: torch's kernels take it from compute capability 8.0 on"
    return None


def lse_kernel(device: str, capability: tuple[int, int], dtype: torch.dtype, flash_enabled: bool) -> str | None:
    """Which of torch's attention kernels that return a log-sum-exp serves: "cpu", "flash", "efficient", or None.

    Args:
        device: its type. capability: of a CUDA device; flash attention and bfloat16 need (8, 0), so not on T4 or V100.
        flash_enabled: torch's switch for flash attention on CUDA.
    """
    if device == "cpu":
        return "cpu"
    half, ampere = dtype in (torch.float16, torch.bfloat16), capability >= (8, 0)
    if device != "cuda" or not (half or dtype == torch.float32) or (dtype == torch.bfloat16 and not ampere):
        return None
    return "flash" if half and ampere and flash_enabled else "efficient"


def _kernel(query: torch.Tensor) -> str | None:
    device = query.device
    capability, flash_enabled = _cuda_state(device.index) if device.type == "cuda" else ((0, 0), False)
    return lse_kernel(device.type, capability, query.dtype, flash_enabled)


def _cuda_state(index: int | None) -> tuple[tuple[int, int], bool]:
    return torch.cuda.get_device_capability(index), torch.backends.cuda.flash_sdp_enabled()


# The compiler cannot trace the switch. This is all that torch.compiler.assume_constant_result does, but calling that
# imports the compiler, which more than doubles the time of `import litefocus`.
_cuda_state._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _resolve_backend(backend: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> str:
    if backend == "append":
        return "append"
    obstacle = _lse_obstacle(query, key, value)
    if obstacle is None:
        return "lse"
    if backend == "lse":
        raise ValueError(f"backend='lse' cannot serve {obstacle}; accepted are backend='append' and 'auto'")
    return "append"


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Flash kernels read rows of D contiguous numbers; another layout would silently run the materialised path."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _fold(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """(B, N, H, D) -> (B, F * H, T, D): frequencies become heads; a view for contiguous tokens."""
    batch, _, heads, dim = x.shape
    return _rows(x.reshape(batch, grid.time, grid.freq * heads, dim).transpose(1, 2))


def _unfold(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """(B, F * H, T, D) -> (B, N, H, D): the inverse of `_fold`, a view of what flash attention returns."""
    batch, folds, _, dim = x.shape
    return x.transpose(1, 2).reshape(batch, grid.tokens, folds // grid.freq, dim)


def _focus(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float) -> torch.Tensor:
    output = F.scaled_dot_product_attention(_fold(query, grid), _fold(key, grid), _fold(value, grid), scale=scale)
    return _unfold(output, grid)


def _sampled(x: torch.Tensor, cross_keys: torch.Tensor) -> torch.Tensor:
    """(B, N, H, D) -> (B, H, S, D)."""
    return _rows(x.index_select(1, cross_keys).transpose(1, 2))


def _compensation(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cross_keys: torch.Tensor, scale: float
) -> torch.Tensor:
    output = F.scaled_dot_product_attention(
        _rows(query.transpose(1, 2)), _sampled(key, cross_keys), _sampled(value, cross_keys), scale=scale
    )
    return output.transpose(1, 2).contiguous()


def _append(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor,
    scale: float,
    drop_own: bool,
) -> torch.Tensor:
    output = F.scaled_dot_product_attention(
        _fold(query, grid),
        _extended(key, grid, cross_keys),
        _extended(value, grid, cross_keys),
        attn_mask=_own_key_bias(query, grid, cross_keys) if drop_own else None,
        scale=scale,
    )
    return _unfold(output, grid)


def _extended(x: torch.Tensor, grid: TokenGrid, cross_keys: torch.Tensor) -> torch.Tensor:
    """(B, N, H, D) -> (B, F * H, T + S, D): every frequency's own keys, then the sampled keys."""
    batch, _, heads, dim = x.shape
    own = x.reshape(batch, grid.time, grid.freq, heads, dim)
    sampled = x.index_select(1, cross_keys).unsqueeze(2).expand(-1, -1, grid.freq, -1, -1)
    return torch.cat([own, sampled], dim=1).flatten(2, 3).transpose(1, 2)


def _own_key_bias(query: torch.Tensor, grid: TokenGrid, cross_keys: torch.Tensor) -> torch.Tensor:
    """(1, F * H, T, T + S) bias that drops the sampled keys of the fold's own frequency; stride 0 over the queries."""
    heads = query.shape[2]
    bins = torch.arange(grid.freq, device=query.device)
    own = (cross_keys % grid.freq == bins[:, None]).repeat_interleave(heads, dim=0)
    bias = query.new_zeros(grid.freq * heads, grid.time + cross_keys.shape[0])
    bias[:, grid.time :].masked_fill_(own, float("-inf"))
    return bias[None, :, None, :].expand(1, -1, grid.time, -1)


def _merge(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: TokenGrid,
    cross_keys: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    batch, _, heads, _ = query.shape
    own, own_lse = _flash_with_lse(_fold(query, grid), _fold(key, grid), _fold(value, grid), scale)
    sampled, sampled_lse = _flash_with_lse(
        _rows(query.transpose(1, 2)), _sampled(key, cross_keys), _sampled(value, cross_keys), scale
    )
    own_lse = own_lse.transpose(1, 2).reshape(batch, grid.tokens, heads)
    weight = torch.sigmoid(own_lse - sampled_lse.transpose(1, 2)).to(query.dtype).unsqueeze(-1)
    # In place on a fresh tensor: at long clips this pass over memory is what the merge costs.
    return sampled.transpose(1, 2).contiguous().lerp_(_unfold(own, grid), weight)


def _flash_with_lse(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention (B, H, Q, D) and its log-sum-exp (B, H, Q) float32; torch's public SDPA does not return the latter."""
    aten = torch.ops.aten
    if query.device.type == "cpu":
        output, lse = aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, scale=scale)
    elif _kernel(query) == "flash":
        output, lse = aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)[:2]
    else:
        output, lse = aten._scaled_dot_product_efficient_attention(query, key, value, None, True, scale=scale)[:2]
    return output, lse[..., : query.shape[2]]
