"""Which tokens serve as cross-frequency keys: seeded draws that never touch the global random state.

Shapes: N = T * F tokens, S sampled keys.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch

from litefocus.config import LiteFocusConfig, check_ratio
from litefocus.grid import NO_BACKWARD, UNKNOWN_FORWARD, TokenGrid, backward_number, check_grid

MAX_BUFFERS = 8
NOT_CALLED = (
    "a LiteFocus attention ran in a forward that did not begin with a call of the UNet, so its keys are unknown: call "
    "the UNet itself, not unet.forward"
)


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
        TypeError: a grid that is no TokenGrid, or a generator that is none.
        ValueError: ratio outside [0, 1].
    """
    check_grid(grid)
    check_ratio(ratio)
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator of type {type(generator).__name__}: accepted is torch.Generator().manual_seed(seed)"
        )
    order = torch.randperm(grid.tokens, generator=generator, device=generator.device)
    return order[: sample_size(grid, ratio, limit)].sort().values


def _draw(
    place: torch.Tensor, seed: int, stream: int, time: int, freq: int, ratio: float, limit: int | None
) -> torch.Tensor:
    digest = hashlib.sha256(f"{seed}/{place.item()}/{stream}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:4], "little"))
    return sample_cross_keys(TokenGrid(time, freq), ratio, generator, limit)


# Opaque to torch.compile, and a pure function of its arguments: a compiled graph can neither break on it nor freeze
# the sample, because the place is a tensor and not a constant of the trace.
_draw_op = torch.library.custom_op("litefocus::draw_cross_keys", mutates_args=(), device_types="cpu")(_draw)


@_draw_op.register_fake
def _(
    place: torch.Tensor, seed: int, stream: int, time: int, freq: int, ratio: float, limit: int | None
) -> torch.Tensor:
    return place.new_empty((sample_size(TokenGrid(time, freq), ratio, limit),), dtype=torch.int64)


class Stream(Protocol):
    """What the sites of a patch draw from, as `KeySource`."""

    def advance(self, timestep: Any) -> None:
        """Start a forward of the UNet."""

    def finish(self) -> None:
        """End it, whether it returned or raised."""

    def recall(self) -> Callable[[], None]:
        """A call that returns to the current forward, for a backward that recomputes it."""


class KeySource:
    """The stream of sampled keys of one patched model.

    A draw comes from a private generator seeded with (config.seed, place, site). Under `stream="timestep"` the place is
    the timestep that the UNet is called with, so that the keys of a forward depend on nothing that ran before it; under
    "count" it is the number of the forward, counted from 1 in every thread.

    Under resample="step" or "fixed" an inference reads its keys from a static buffer on its device, which `advance`
    refills before the forward: one draw and one small copy a step, none of it inside a compiled block or a CUDA graph.
    The draw itself is the CPU's on every device, so that a seed means the same keys everywhere.

    Each thread has a place and buffers of its own. A copy of the model starts like a new patch.
    """

    def __init__(self, config: LiteFocusConfig) -> None:
        self.config = config
        self._thread = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"])  # type: ignore[misc]

    def advance(self, timestep: Any) -> None:
        """Start the next forward of the UNet, at a timestep: a number, or a tensor whose first element counts.

        Raises:
            RuntimeError: no timestep, where the stream needs one, or an export of a stream that counts.
        """
        if not self._samples or self.config.resample == "fixed":
            return
        if self.config.stream == "timestep":
            self._set_place(_scalar(timestep))
        elif torch.compiler.is_exporting():
            raise RuntimeError(
                "torch.export records one number of the forward, so stream='count' would draw the same keys for ever: "
                "inject with stream='timestep'"
            )
        elif backward_number() == NO_BACKWARD:
            # Not in place: a graph, or a backward that recomputes, may hold the number of an earlier forward.
            self._thread.count = getattr(self._thread, "count", torch.zeros((), dtype=torch.int64, device="cpu")) + 1
            self._set_place(self._thread.count)
        if self.config.resample == "step":
            for (time, freq, _), buffer in self._buffers.items():
                buffer.copy_(self._draw(0, TokenGrid(time, freq)))

    def finish(self) -> None:
        """End the forward: what runs outside of one has no keys, rather than those of the timestep before."""
        if backward_number() == NO_BACKWARD:
            self._thread.place = None

    def recall(self) -> Callable[[], None]:
        """A call that returns to this forward's keys, for the backward that recomputes it (gradient checkpointing)."""
        return partial(self._set_place, getattr(self._thread, "place", None))

    def keys(self, site: int, grid: TokenGrid, device: torch.device) -> torch.Tensor | None:
        """int64 (S,) keys of a site in the current forward, on `device`; None where compensation is off.

        Raises:
            RuntimeError: outside of a forward, or inside a backward that recomputes an unknown one.
        """
        if not self._samples:
            return None
        name = (grid.time, grid.freq, str(device))
        # A compiled graph cannot make a buffer: it draws inside until an eager forward of that length has made one.
        if self.config.resample == "call" or torch.is_grad_enabled() or self._must_draw_in_graph(name):
            return self._draw(site, grid).to(device)
        self._place()  # a forward that did not advance would read what an earlier one left
        if name not in self._buffers:
            self._buffers[name] = self._new_buffer(grid, device)
        return self._buffers[name]

    @property
    def _samples(self) -> bool:
        return self.config.cross_frequency and self.config.sparse_ratio > 0

    @property
    def _buffers(self) -> dict[tuple[int, int, str], torch.Tensor]:
        if not hasattr(self._thread, "buffers"):
            self._thread.buffers = {}
        return self._thread.buffers

    def _set_place(self, place: torch.Tensor | None) -> None:
        number = backward_number()
        if number == NO_BACKWARD:
            self._thread.place = place
        else:
            self._thread.recomputed = (number, place)

    def _place(self) -> torch.Tensor:
        number = backward_number()
        if self.config.resample == "fixed":
            return torch.zeros((), dtype=torch.int64, device="cpu")
        if number == NO_BACKWARD:
            place = getattr(self._thread, "place", None)
            if place is None:
                raise RuntimeError(NOT_CALLED)
            return place
        known, place = getattr(self._thread, "recomputed", (NO_BACKWARD, None))
        if known != number or place is None:
            raise RuntimeError(UNKNOWN_FORWARD)
        return place

    def _must_draw_in_graph(self, name: tuple[int, int, str]) -> bool:
        return torch.compiler.is_compiling() and name not in self._buffers

    def _draw(self, site: int, grid: TokenGrid) -> torch.Tensor:
        config = self.config
        if torch.jit.is_tracing():
            raise RuntimeError(
                "torch.jit.trace records neither seeds nor lengths, so LiteFocus cannot be traced: use torch.compile, "
                "or disable_lite_focus() first"
            )
        stream = site if config.resample == "call" else 0
        draw = _draw_op if torch.compiler.is_compiling() else _draw
        ratio, limit = float(config.sparse_ratio), config.max_cross_keys
        return draw(self._place(), config.seed, stream, grid.time, grid.freq, ratio, limit)

    def _new_buffer(self, grid: TokenGrid, device: torch.device) -> torch.Tensor:
        """The buffer of a new length; with many lengths in use the oldest goes, so that `advance` stays cheap."""
        if len(self._buffers) == MAX_BUFFERS:
            del self._buffers[next(iter(self._buffers))]
        # A normal tensor, whatever mode the first forward runs in: later forwards write to it.
        with torch.inference_mode(False):
            return self._draw(0, grid).to(device, copy=True)


def _scalar(timestep: Any) -> torch.Tensor:
    """A timestep as float64 () on the CPU: a number, or the first element of a tensor on any device."""
    if isinstance(timestep, torch.Tensor):
        return timestep.detach().reshape(-1)[0].to("cpu", torch.float64)
    if timestep is None:
        raise RuntimeError(
            "the UNet was called without a timestep, from which stream='timestep' draws its keys: pass it as the "
            "second argument or as timestep=, or inject with stream='count'"
        )
    return torch.tensor(float(timestep), dtype=torch.float64, device="cpu")
