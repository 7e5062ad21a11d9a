"""The options of LiteFocus: one frozen, validated record."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Rational, Real
from typing import Any, TypeGuard

DUPLICATES = ("count_twice", "union")
RESAMPLE = ("call", "step", "fixed")
STREAMS = ("timestep", "count")
BLOCKS = ("all", "first")
BACKENDS = ("auto", "lse", "append")


@dataclass(frozen=True)
class LiteFocusConfig:
    """How the patched self-attentions choose their keys (LiteFocus, arXiv 2407.10468, section 3).

    Attributes:
        same_frequency: a query attends to every key of its own frequency bin.
        cross_frequency: a query attends to a random sample of all keys, the same sample for every query.
        sparse_ratio: share of all tokens in that sample, in [0, 1]; 0 samples nothing.
        duplicates: what a sampled key of the query's own bin counts: "count_twice" as in the authors' code, or once
            as in the paper's text, "union".
        resample: draw new keys at every attention "call" (the authors' code), once per forward of the UNet ("step"),
            or never ("fixed").
        stream: what the draws of "call" and "step" follow. "timestep": the timestep that the UNet is called with, so
            equal seeds give equal clips, whatever ran before and in whichever thread; a batch of several timesteps
            follows the first, and equal timesteps draw equal keys. "count": the number of the forward in its thread,
            which restarts whenever a patch is applied, so a second clip has other keys than the first.
        seed: of the private generator that draws the keys.
        backend: of `lite_focus_attention`: "auto", "lse" or "append".
        window_frames: None, or W, the frames of a block in LiteFocus-Linear (`litefocus.windowed`, our extension):
            focus reaches the query's own block and both neighbours, not the whole clip. Frames of the patched level.
        max_cross_keys: None, or the most keys that are sampled, however long the clip is.
        levels: attention-bearing UNet levels to patch, counted from the finest resolution; the authors patch (0,).
        blocks: which blocks of each transformer of those levels: "all", or the "first" alone, as in the authors' code
            and so in the paper. They differ on AudioLDM2-large: 60 sites and 20.
        frequency_axis: the axis of the latents (B, C, H, W) that holds frequency, -1 or -2. None: known for AudioLDM 2,
            AudioLDM and MusicLDM (-1); a UNet of Stable Diffusion's kind wants an answer (-2: Auffusion, Riffusion).

    Raises:
        ValueError: a value out of range, an unknown string, or nothing left to attend to.
    """

    same_frequency: bool = True
    cross_frequency: bool = True
    sparse_ratio: float = 0.1
    duplicates: str = "count_twice"
    resample: str = "call"
    stream: str = "timestep"
    seed: int = 0
    backend: str = "auto"
    levels: tuple[int, ...] = (0,)
    blocks: str = "all"
    frequency_axis: int | None = None
    window_frames: int | None = None
    max_cross_keys: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", check_levels(self.levels))
        for name in ("sparse_ratio", "seed", "window_frames", "max_cross_keys", "frequency_axis"):
            object.__setattr__(self, name, _plain_number(getattr(self, name)))
        for name in ("same_frequency", "cross_frequency"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r}: accepted are True and False")
        check_choice("duplicates", self.duplicates, DUPLICATES)
        check_choice("resample", self.resample, RESAMPLE)
        check_choice("stream", self.stream, STREAMS)
        check_choice("backend", self.backend, BACKENDS)
        check_choice("blocks", self.blocks, BLOCKS)
        if self.frequency_axis is not None and (
            not is_whole_number(self.frequency_axis) or self.frequency_axis not in (-1, -2)
        ):
            raise ValueError(
                f"frequency_axis={self.frequency_axis!r}: accepted are -1 and -2, or None to know it by the UNet"
            )
        if self.duplicates == "union" and self.backend == "lse":
            raise ValueError("backend='lse' with duplicates='union': accepted are backend='append' and 'auto'")
        check_ratio(self.sparse_ratio)
        check_budget(self.max_cross_keys)
        if self.window_frames is not None:
            check_window(self.window_frames)
            self._check_windowed()
        if not is_whole_number(self.seed) or not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed!r}: accepted are whole numbers from -2**63 to 2**63 - 1")
        if not self.same_frequency and (not self.cross_frequency or self.sparse_ratio == 0):
            raise ValueError(
                f"same_frequency=False with cross_frequency={self.cross_frequency} and sparse_ratio="
                f"{self.sparse_ratio:g} leaves no keys: turn one mechanism on, or leave the model unpatched"
            )

    def _check_windowed(self) -> None:
        for name, wanted in (("same_frequency", True), ("duplicates", "count_twice")):
            if getattr(self, name) != wanted:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} with window_frames={self.window_frames}: accepted is {wanted!r}; "
                    f"or leave window_frames at None"
                )


def is_whole_number(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer of Python or numpy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _plain_number(value: Any) -> Any:
    """A number of numpy as Python's own, so that equal options are equal, and write the same digits into a record."""
    if isinstance(value, bool | int | float) or not isinstance(value, Real):
        return value
    if isinstance(value, Rational):
        return int(value) if isinstance(value, Integral) else float(value)
    # The shortest decimal that the number's own precision tells from its neighbours: np.float32(0.1) is 0.1.
    return float(str(value))


def check_choice(name: str, value: object, accepted: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the accepted strings."""
    if value not in accepted:
        raise ValueError(f"{name}={value!r}: accepted are {', '.join(map(repr, accepted))}")


def check_ratio(ratio: object) -> None:
    """Raise ValueError unless `ratio` is a number in [0, 1]."""
    numeric = isinstance(ratio, Real) and not isinstance(ratio, bool)
    if not numeric or not math.isfinite(ratio) or not 0 <= ratio <= 1:  # type: ignore[arg-type, operator]
        raise ValueError(f"sparse_ratio={ratio!r}: accepted are numbers from 0 to 1 (0.1 keeps a tenth of the tokens)")


def check_window(frames: object) -> None:
    """Raise ValueError unless `frames` is a whole number of at least 1."""
    if not is_whole_number(frames) or frames < 1:
        raise ValueError(f"window_frames={frames!r}: accepted are whole numbers from 1, or None for the whole clip")


def check_budget(keys: object) -> None:
    """Raise ValueError unless `keys` is None or a whole number of at least 1."""
    if keys is not None and (not is_whole_number(keys) or keys < 1):
        raise ValueError(
            f"max_cross_keys={keys!r}: accepted are whole numbers from 1, or None for no limit "
            f"(cross_frequency=False samples nothing)"
        )


def check_levels(levels: Any) -> tuple[int, ...]:
    """Levels as a sorted tuple of distinct non-negative integers, or ValueError."""
    # An array of no axes has the method that makes an Iterable, and cannot be iterated.
    several = isinstance(levels, Iterable) and getattr(levels, "ndim", 1) != 0
    wanted = tuple(levels) if several else (levels,)
    if not wanted or any(not is_whole_number(x) or x < 0 for x in wanted):
        raise ValueError(
            f"levels={levels!r}: accepted are whole numbers from 0 (the finest level with attention), like (0,)"
        )
    return tuple(sorted({int(x) for x in wanted}))


def as_config(config: LiteFocusConfig | Mapping[str, Any] | None, **options: Any) -> LiteFocusConfig:
    """A config from a config, the authors' dictionary of options, or, where that is None, from options by name.

    Raises:
        ValueError: a name that is not an option.
        TypeError: any other type, or a config and options beside it.
    """
    if config is not None and options:
        raise TypeError(
            f"a config and {', '.join(options)} beside it: give the config alone, dataclasses.replace changes one, or "
            f"the options alone"
        )
    if config is None:
        config = options
    if isinstance(config, LiteFocusConfig):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config of type {type(config).__name__}: accepted are LiteFocusConfig, a dict of options, or None"
        )
    accepted = [field.name for field in fields(LiteFocusConfig)]
    if unknown := sorted(set(config) - set(accepted), key=str):
        raise ValueError(f"unknown LiteFocus options {unknown}: accepted are {', '.join(accepted)}")
    return LiteFocusConfig(**config)
