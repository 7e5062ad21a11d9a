"""What the fields of records may hold, down to the keys that tables, figures and pages rely on."""

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, NotRequired

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from typing_extensions import TypedDict

from experiments.records.audio_path import audio_path

# The second timing of the baseline in each round: its ratio to the first is the noise.
AA_SUFFIX = "_again"

# Every field is there, of its type, and there is no other.
CHECKED = ConfigDict(strict=True, extra="forbid")

# A part of a file name somewhere; empty where there is none. As free at the start as `prompts.safe_id`: ids of YouTube
# begin with "-" or "_" now and then.
Name = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._+-]{0,199})?$")]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in path or not path.isprintable():
        raise ValueError("which is no path below the run folder")
    return path


Inside = Annotated[str, AfterValidator(_inside)]

# What a clock can have shown: over 0, as ratios are taken of it, and under thirty years.
Seconds = Annotated[float, Field(gt=0, lt=1e9)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


def _with_keys(shape: type) -> GetPydanticSchema:
    """Hold a dict against a TypedDict and keep it as it was given: in its order, with whatever else it has."""

    def keep(value: Any, check: ValidatorFunctionWrapHandler) -> dict[str, Any]:
        check(value)
        return dict(value)

    return GetPydanticSchema(lambda _, handler: handler.generate_schema(Annotated[shape, WrapValidator(keep)]))


class Keys(TypedDict):
    """A dict of which some keys are known."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]


class _Packages(Keys):
    torch: str


class _Environment(Keys):
    commit: str | None
    dirty: bool | None
    device: str
    dtype: str
    threads: int
    packages: _Packages


class _Reading(Keys):
    length: float
    verdicts: dict[str, bool]


class _Pipeline(Keys):
    name: str
    trained: bool
    training_length_s: NotRequired[Positive | None]
    unet_parameters: NotRequired[float | None]
    gate: NotRequired[list[_Reading] | None]


class _Method(Keys):
    name: str
    label: str
    timing_only: bool


class _Config(Keys):
    methods: NotRequired[dict[str, _Method] | None]
    method: NotRequired[_Method]
    durations: NotRequired[list[float]]
    seeds: NotRequired[list[int]]
    steps: NotRequired[int]
    guidance: NotRequired[float]
    stages: NotRequired[list[str]]
    timing: NotRequired[dict[str, Any]]
    metrics: NotRequired[dict[str, Any] | None]
    data: NotRequired[dict[str, Any] | None]


class _ProbeConfig(Keys):
    methods: dict[str, _Method]
    durations: list[float]
    levels: list[int]


class _Site(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    site: str
    t: int
    frames: Annotated[int, Field(gt=0)]
    frames_per_second: Finite
    same_frequency: Finite
    uniform_same_frequency: Positive
    entropy_gap_nat: Finite
    far_same_frequency: float
    frequency_mass: Annotated[list[Finite], Field(min_length=1)]
    time_mass: Annotated[list[Finite], Field(min_length=1)]
    joint_mass: list[list[Finite]]


class _Details(Keys):
    per_clip: NotRequired[dict[str, float]]  # nan of a clip that a metric has no value for
    candidates: NotRequired[Annotated[int, Field(gt=0)]]


def _asks_for_clips(config: dict[str, Any]) -> dict[str, Any]:
    """What says which clips were asked for has to be whole."""
    if config.get("durations") and "generate" in config.get("stages", ["generate"]):
        lacking = [key for key in ("seeds", "steps", "guidance") if key not in config]
        if lacking or not (config.get("methods") or config.get("method")):
            raise ValueError(f"which asks for clips and does not say {', '.join(lacking) or 'by which methods'}")
    return config


Environment = Annotated[dict[str, Any], _with_keys(_Environment)]
PipelineKeys = Annotated[dict[str, Any], _with_keys(_Pipeline)]
RunConfig = Annotated[dict[str, Any], _with_keys(_Config), AfterValidator(_asks_for_clips)]
ProbeConfig = Annotated[dict[str, Any], _with_keys(_ProbeConfig)]
SiteValues = Annotated[dict[str, Any], _with_keys(_Site)]
Details = Annotated[dict[str, Any], _with_keys(_Details)]


def check_audio(audio: str, condition: str, prompt_id: str, seed: int) -> None:
    """Raise ValueError for a clip that points at another one's wav: it would get the other's scores."""
    own = audio_path(condition, prompt_id, seed)
    if audio != own:
        raise ValueError(f"audio {shown(audio)}; that of its condition, prompt and seed is {shown(own)}")


def check_metric(value: float, low: float, high: float, n_scored: int, per_clip: Mapping[str, float]) -> None:
    """Raise ValueError unless a metric agrees with itself: intervals and claims read the clips, tables the value."""
    if low > high:
        raise ValueError(f"an interval from {low} to {high}")
    clips = list(per_clip.values())
    with_value = sum(not math.isnan(clip) for clip in clips)
    if clips and not with_value <= n_scored <= len(clips):
        raise ValueError(f"n_scored {n_scored} where its per_clip has {with_value} values of {len(clips)} clips")
    if clips and with_value == len(clips):
        mean = math.fsum(clips) / len(clips)
        if not math.isclose(value, mean, rel_tol=1e-9, abs_tol=1e-12):
            raise ValueError(f"value {value} where the mean of its per_clip is {mean}")


def shown(value: Any) -> str:
    """A value in an error, cut to 80 characters: a damaged file can hold one of any size."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
