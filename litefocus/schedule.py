"""A length-aware schedule: which options serve which clip length, dense attention below break-even.

The paper's ablation says that focus serves long clips and compensation short ones, and below some length no pattern
beats dense attention. A schedule is data: rules by clip length, each with its own options or none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from litefocus.config import LiteFocusConfig, is_whole_number
from litefocus.context import entered_context
from litefocus.grid import TokenGrid
from litefocus.keys import KeySource
from litefocus.patch import SitePatch, patched
from litefocus.processor import LiteFocusSite, ProjectedSite
from litefocus.sites import find_sites, find_unet


@dataclass(frozen=True)
class LengthRule:
    """The options for clips of up to `max_frames` token frames of the patched level; None serves any length.

    `config` is a LiteFocusConfig, or None for dense attention.

    Raises:
        ValueError: `max_frames` that is not a whole number.
        TypeError: a config of another type.
    """

    max_frames: int | None
    config: LiteFocusConfig | None

    def __post_init__(self) -> None:
        limit = self.max_frames
        if limit is not None and not is_whole_number(limit):
            raise ValueError(f"max_frames={limit!r}: accepted are whole numbers from 1, or None for any length")
        if self.config is not None and not isinstance(self.config, LiteFocusConfig):
            raise TypeError(
                f"config of type {type(self.config).__name__} in a LengthRule: accepted are LiteFocusConfig(...), and "
                f"None for dense attention"
            )


@dataclass(frozen=True)
class LengthSchedule:
    """Rules in order of length; the first that is long enough serves a clip.

    Attributes:
        rules: ascending in `max_frames`; the last one has None.

    Raises:
        TypeError: anything but rules.
        ValueError: no rules, lengths that do not ascend, a last rule with a limit, or rules that patch other levels
            than one and the same: `max_frames` counts the frames of that level.
    """

    rules: tuple[LengthRule, ...]

    def __post_init__(self) -> None:
        rules = tuple(self.rules) if isinstance(self.rules, Iterable) else None
        if rules is None or not all(isinstance(rule, LengthRule) for rule in rules):
            got = ", ".join(sorted({type(rule).__name__ for rule in (rules or ())})) or type(self.rules).__name__
            raise TypeError(
                f"rules of type {got}: accepted is a list of LengthRule, like [LengthRule(100, None), "
                f"LengthRule(None, LiteFocusConfig())]"
            )
        object.__setattr__(self, "rules", rules)
        limits = [rule.max_frames for rule in self.rules]
        if not limits or limits[-1] is not None or None in limits[:-1]:
            raise ValueError(f"schedule with max_frames {limits}: accepted are rules whose last one, alone, has None")
        bounds = [limit for limit in limits if limit is not None]
        if bounds != sorted(set(bounds)) or any(bound < 1 for bound in bounds):
            raise ValueError(f"schedule with max_frames {limits}: accepted are ascending whole numbers from 1")
        configs = [rule.config for rule in self.rules if rule.config is not None]
        if len({(config.levels, config.blocks, config.frequency_axis) for config in configs}) > 1:
            raise ValueError("schedule whose rules patch different levels, blocks or axes: give every rule the same")
        if len(self.levels) > 1:
            raise ValueError(
                f"schedule with levels={self.levels}: accepted is one level, whose frames max_frames counts"
            )

    def select(self, frames: int) -> LiteFocusConfig | None:
        """The options for a clip of `frames` token frames; None means dense attention."""
        fitting = (rule for rule in self.rules if rule.max_frames is None or frames <= rule.max_frames)
        return next(fitting).config

    @property
    def levels(self) -> tuple[int, ...]:
        """The attention-bearing levels that the rules patch."""
        return self._sites.levels

    @property
    def blocks(self) -> str:
        """Which blocks of each transformer the rules patch."""
        return self._sites.blocks

    @property
    def frequency_axis(self) -> int | None:
        """The axis of the latents that the rules take for frequency."""
        return self._sites.frequency_axis

    @property
    def _sites(self) -> LiteFocusConfig:
        return next((rule.config for rule in self.rules if rule.config is not None), LiteFocusConfig())


class ScheduledSite(ProjectedSite):
    """A site that follows the schedule's rule for the grid that it meets."""

    def __init__(self, schedule: LengthSchedule, sources: Sequence[KeySource], number: int) -> None:
        self.schedule = schedule
        self.sites = {source.config: LiteFocusSite(source, number) for source in sources}

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: TokenGrid, scale: float
    ) -> torch.Tensor:
        """Dense or LiteFocus attention of (B, H, N, D), by the clip's length."""
        config = self.schedule.select(grid.time)
        if config is None:
            return F.scaled_dot_product_attention(query, key, value, scale=scale)
        return self.sites[config].attend(query, key, value, grid, scale)


class _Streams:
    """A schedule's sources of keys. Its methods, unlike closures, follow a copy of the patched model."""

    def __init__(self, schedule: LengthSchedule) -> None:
        self.schedule = schedule
        configs = dict.fromkeys(rule.config for rule in schedule.rules if rule.config is not None)
        self.sources = [KeySource(config) for config in configs]

    def site(self, number: int) -> ScheduledSite:
        return ScheduledSite(self.schedule, self.sources, number)

    def advance(self, timestep: Any) -> None:
        for source in self.sources:
            source.advance(timestep)

    def finish(self) -> None:
        for source in self.sources:
            source.finish()

    def recall(self) -> Callable[[], None]:
        calls = [source.recall() for source in self.sources]

        def return_to() -> None:
            for call in calls:
                call()

        return return_to


@entered_context
def scheduled_focus(pipe_or_unet: Any, schedule: LengthSchedule) -> Iterator[int]:
    """`with scheduled_focus(pipe, schedule): ...`: LiteFocus by clip length inside the context; yields the site count.

    Raises:
        TypeError: a schedule of another type, or a model that `lite_focus` refuses.
        ValueError: as `lite_focus`.
    """
    if not isinstance(schedule, LengthSchedule):
        raise TypeError(
            f"schedule of type {type(schedule).__name__}: accepted is LengthSchedule([LengthRule(max_frames, config), "
            f"...]); lite_focus(pipe, config) serves every length with one config"
        )
    unet = find_unet(pipe_or_unet)
    streams, sites = _Streams(schedule), find_sites(unet, schedule.levels, schedule.blocks)
    with patched(SitePatch(unet, sites, streams.site, streams, schedule.frequency_axis)) as count:
        yield count
