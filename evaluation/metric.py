"""What a metric is: everything that any other file knows about one.

Shapes: n clips, W windows, r rows, d embedding size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

from numpy.typing import NDArray

from evaluation.results.result import DRIFT, FLOOR, SLOPE, MetricResult

if TYPE_CHECKING:
    from evaluation.material import Material

Array = NDArray[Any]
PositionStatistic = Callable[[Array, int], float]
# windows: clips of several; windows_of_each: none of a single one; equal_windows: as many of each clip.
Need = Literal["reference", "pairs", "captions", "labels", "windows", "windows_of_each", "equal_windows"]


@runtime_checkable
class LeavesOut(Protocol):
    """A statistic that knows what it would be without each group of clips, for less than to be computed anew."""

    def __call__(self, rows: Array, position: int) -> float:
        """The statistic of (n, ...) rows at a window position."""

    def without_groups(self, rows: Array, groups: Array, position: int) -> Array:
        """(G,) statistics without the rows of each group, of (n, ...) rows and the (n,) numbers of their groups."""


@runtime_checkable
class HasInfluence(Protocol):
    """A statistic that knows its derivative in the direction of each clip."""

    def influence(self, rows: Array, position: int) -> Array:
        """(n,) influences of the clips of (n, ...) rows, with mean 0: their variance over n is the statistic's."""


@dataclass(frozen=True)
class SetValues:
    """What a number of a whole set is computed from, in a form that can be resampled by clip.

    Attributes:
        rows: (n, W, ...) material.
        statistic: of the rows (n, ...) at one window position, whose number it gets; it may be a :class:`LeavesOut`.
        details: go into every result.
        statistic_to: the statistic against the references of some prompts only; None where no reference is in it.
    """

    rows: Array
    statistic: PositionStatistic
    details: Mapping[str, Any] = field(default_factory=dict)
    statistic_to: Callable[[Collection[str] | None], PositionStatistic] | None = None


class Floor(NamedTuple):
    """The same number where nothing was generated: what was taken instead, the value, and the references behind it."""

    name: str
    value: float
    n: int


@dataclass(frozen=True)
class Metric:
    """A metric, of this package or of a user's own (``docs/extending.md``).

    Attributes:
        name: as it is asked for and recorded: small letters, digits and underscores.
        measure: its values from the features: (n, W) numbers, one per clip and window, whose mean is the metric; or a
            statistic of the whole set.
        role: of the network whose features it needs; ``embedders`` fills it. None: the waveform's own levels.
        higher_is_better: None where neither direction is.
        needs: what must be given, or hold, for it to be computed.
        label: for readers; the name with spaces where it is empty.
        unit: of the value, such as "Hz"; empty for a plain number.
        uneven: what is taken of clips with different numbers of windows: each clip's mean over its own, the first
            ones, as many as every clip has, or all of them.
        shown: in the main tables and figures: the value ("") and its drift along the clip ("_drift").
        fewest: clips, and references where it needs some, that it takes at least.
        lacking: why the features do not allow it, or None.
        floor: the same number on references alone.
        within: least and greatest value that it can have, where its intervals end; those of differences do not.
        finished: in place of ``measure``, from the features and the number of failed clips: for a metric with an
            interval of its own, which has no paired form.
    """

    name: str
    measure: Callable[[Material], Array | SetValues] | None
    role: str | None
    higher_is_better: bool | None
    needs: frozenset[Need] = frozenset()
    label: str = ""
    unit: str = ""
    uneven: Literal["mean", "first", "all"] = "mean"
    shown: tuple[str, ...] = ("",)
    fewest: int = 1
    lacking: Callable[[Material], str | None] | None = None
    floor: Callable[[Material], Floor] | None = None
    finished: Callable[[Material, int], MetricResult] | None = None
    within: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"metric name {name!r}: accepted are small letters, digits and underscores")
        if name.startswith(FLOOR) or name.endswith((DRIFT, SLOPE)):
            raise ValueError(f"metric name {name!r}: {FLOOR}, {DRIFT} and {SLOPE} are of derived numbers; take another")
        if not callable(self.measure) and not callable(self.finished):
            raise ValueError(f"metric {name}: measure is {self.measure!r}; give a function of the features")
        if self.higher_is_better not in (True, False, None):
            raise ValueError(f"metric {name}: higher_is_better is {self.higher_is_better!r}; give True, False or None")
        object.__setattr__(self, "needs", frozenset(self.needs))
        if unknown := sorted(self.needs - set(get_args(Need))):
            raise ValueError(f"metric {name}: needs {unknown[0]!r}; accepted are {', '.join(get_args(Need))}")
        if not self.within[0] < self.within[1]:
            raise ValueError(f"metric {name}: within is {self.within}; give the least and the greatest value")
        if not self.label:
            object.__setattr__(self, "label", name.replace("_", " "))
