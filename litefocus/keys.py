"""Which tokens serve as cross-frequency keys: seeded draws that never touch the global random state.

Shapes: N = T * F tokens, S sampled keys.
"""

import hashlib

import torch

from litefocus.config import LiteFocusConfig, check_ratio
from litefocus.grid import TokenGrid


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
    depend on the order of the calls, and a recomputed forward (gradient checkpointing) sees the same keys.
    """

    def __init__(self, config: LiteFocusConfig) -> None:
        self.config = config
        self._step = torch.zeros((), dtype=torch.int64, device="cpu")

    def advance(self) -> None:
        """Start the next forward of the UNet."""
        self._step += 1

    def keys(self, site: int, grid: TokenGrid, device: torch.device) -> torch.Tensor | None:
        """int64 (S,) keys of a site in the current forward, on `device`; None where compensation is off."""
        config = self.config
        if not config.cross_frequency or config.sparse_ratio == 0:
            return None
        step = torch.zeros_like(self._step) if config.resample == "fixed" else self._step
        stream = site if config.resample == "call" else 0
        draw = _draw_op if torch.compiler.is_compiling() else _draw
        ratio, limit = float(config.sparse_ratio), config.max_cross_keys
        return draw(step, config.seed, stream, grid.time, grid.freq, ratio, limit).to(device)
