"""Which tokens serve as cross-frequency keys: seeded draws that never touch the global random state.

Shapes: N = T * F tokens, S sampled keys.
"""

import hashlib

import torch

from litefocus.config import LiteFocusConfig, check_ratio
from litefocus.grid import TokenGrid

MAX_BUFFERS = 8


def sample_size(grid: TokenGrid, ratio: float, limit: int | None = None) -> int:
    """S = int(ratio * N), as in the authors' code: it truncates, so a small grid may have S = 0 (no compensation).

    `limit` bounds it (LiteFocus-Linear); None, as in the paper, does not.
    """
    size = int(ratio * grid.tokens)
    return size if limit is None else min(size, limit)


def sample_cross_keys(
    grid: TokenGrid, ratio: float, generator: torch.Generator, limit: int | None = None
) -> torch.Tensor:
    """Draw the tokens that every query attends to, uniformly without replacement over all frequencies.

    Args:
        grid: token grid; N = grid.time * grid.freq.
        ratio: share of the tokens to draw, in [0, 1].
        generator: source of randomness; the draw happens on its device and the global state is untouched.
        limit: the most tokens to draw; None for no limit.

    Returns:
        int64 (S,), S = `sample_size(grid, ratio, limit)`, ascending (attention does not depend on the
        order; memory reads do).

    Raises:
        ValueError: ratio outside [0, 1].
    """
    check_ratio(ratio)
    order = torch.randperm(grid.tokens, generator=generator, device=generator.device)
    return order[: sample_size(grid, ratio, limit)].sort().values


def _draw(
    step: torch.Tensor, seed: int, stream: int, time: int, freq: int, ratio: float, limit: int | None
) -> torch.Tensor:
    digest = hashlib.sha256(f"{seed}/{int(step)}/{stream}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:4], "little"))
    return sample_cross_keys(TokenGrid(time, freq), ratio, generator, limit)


# Opaque to torch.compile, and a pure function of its arguments: a compiled graph can neither break on it nor freeze
# the sample, because the step is a tensor and not a constant of the trace.
_draw_op = torch.library.custom_op("litefocus::draw_cross_keys", mutates_args=(), device_types="cpu")(_draw)


@_draw_op.register_fake
def _(
    step: torch.Tensor, seed: int, stream: int, time: int, freq: int, ratio: float, limit: int | None
) -> torch.Tensor:
    return step.new_empty((sample_size(TokenGrid(time, freq), ratio, limit),), dtype=torch.int64)


class KeySource:
    """The stream of sampled keys of one patched model.

    Draw number (step, site) comes from a private generator seeded with (config.seed, step, site), so the keys do not
    depend on the order of the calls, and gradient checkpointing recomputes with the same keys, as long as the backward
    comes before the next forward.

    Under resample="step" or "fixed" an inference reads its keys from a static buffer on its device, which `advance`
    refills before the forward: one draw and one small copy a step, none of it inside a compiled block or a CUDA graph.
    The draw itself is the CPU's on every device, so that a seed means the same keys everywhere.
    """

    def __init__(self, config: LiteFocusConfig) -> None:
        self.config = config
        # A normal tensor, whatever mode the model is patched in: `advance` writes to it in any.
        with torch.inference_mode(False):
            self._step = torch.zeros((), dtype=torch.int64, device="cpu")
        self._buffers: dict[tuple[int, int, str], torch.Tensor] = {}

    def advance(self) -> None:
        """Start the next forward of the UNet."""
        self._step += 1
        if self.config.resample == "step":
            for (time, freq, _), buffer in self._buffers.items():
                buffer.copy_(self._draw(0, TokenGrid(time, freq)))

    def keys(self, site: int, grid: TokenGrid, device: torch.device) -> torch.Tensor | None:
        """int64 (S,) keys of a site in the current forward, on `device`; None where compensation is off."""
        config = self.config
        if not config.cross_frequency or config.sparse_ratio == 0:
            return None
        name = (grid.time, grid.freq, str(device))
        # A compiled graph cannot make a buffer: it draws inside until an eager forward of that length has made one.
        if config.resample == "call" or torch.is_grad_enabled() or self._must_draw_in_graph(name):
            return self._draw(site, grid).to(device)
        if name not in self._buffers:
            self._buffers[name] = self._new_buffer(grid, device)
        return self._buffers[name]

    def _must_draw_in_graph(self, name: tuple[int, int, str]) -> bool:
        return torch.compiler.is_compiling() and name not in self._buffers

    def _draw(self, site: int, grid: TokenGrid) -> torch.Tensor:
        config = self.config
        step = torch.zeros_like(self._step) if config.resample == "fixed" else self._step
        stream = site if config.resample == "call" else 0
        draw = _draw_op if torch.compiler.is_compiling() else _draw
        ratio, limit = float(config.sparse_ratio), config.max_cross_keys
        return draw(step, config.seed, stream, grid.time, grid.freq, ratio, limit)

    def _new_buffer(self, grid: TokenGrid, device: torch.device) -> torch.Tensor:
        """The buffer of a new length; with many lengths in use the oldest goes, so that `advance` stays cheap."""
        if len(self._buffers) == MAX_BUFFERS:
            del self._buffers[next(iter(self._buffers))]
        # A normal tensor, whatever mode the first forward runs in: later forwards write to it.
        with torch.inference_mode(False):
            return self._draw(0, grid).to(device, copy=True)
