"""What a run is made of: methods, conditions and clips, expanded from the configuration and validated.

condition = method x duration x steps x guidance (within one pipeline); clip = condition x prompt x seed.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.matrix.composition import composed
from experiments.matrix.plain_settings import check_plain_settings, is_whole
from experiments.records.current import condition_id

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STAGES = ("generate", "timing", "score", "report")
METHOD_KEYS = ("name", "label", "patch", "timing_only", "materialised")
PIPELINE_KEYS = ("_target_", "name", "trained", "training_length_s", "max_duration_s")


@dataclass(frozen=True)
class Method:
    """How the self-attention is computed: a name for files, a label for readers, and a patch.

    Attributes:
        patch: called with a pipeline or UNet, returns a context manager; inside it the method is active.
        timing_only: its audio means nothing (the attention is removed).
        materialised: it writes the score matrix to memory, so long clips may not fit.
        approximate: it computes neither dense attention nor the paper's LiteFocus; tables and figures label it so.
        steps: denoising steps that it samples with, in place of the run's; None keeps the run's.
        guidance: its scale in place of the run's; None keeps the run's.
        same_output_as: the method whose output it must give up to rounding; empty for none.
        needs_schedule: it works across the steps of a denoising loop, so that the time of one step alone tells nothing.
    """

    name: str
    label: str
    patch: Callable[[Any], AbstractContextManager[Any]]
    timing_only: bool = False
    materialised: bool = False
    approximate: bool = False
    steps: int | None = None
    guidance: float | None = None
    same_output_as: str = ""
    needs_schedule: bool = False


@dataclass(frozen=True)
class Condition:
    """One cell of a sweep."""

    method: Method
    duration_s: float
    steps: int
    guidance: float

    @property
    def id(self) -> str:
        """A folder name: equal for equal conditions, different otherwise."""
        return condition_id(self.method.name, self.duration_s, self.steps, self.guidance)


def build_method(config: DictConfig) -> Method:
    """Instantiate one method from its yaml; one made `of` others as `composition.composed` writes it out.

    Raises:
        ValueError: keys that are missing or unknown, a name that is not a safe file name, or steps out of range.
            Errors of the patch's own configuration pass through.
        TypeError: a patch that cannot be called.
    """
    if config.get("of"):
        config = OmegaConf.create(composed(config))
    known = [*(field.name for field in fields(Method)), "parts"]
    check_keys(config, f"method {config.get('name', '')}".rstrip(), METHOD_KEYS, known)
    if not NAME_PATTERN.fullmatch(str(config.name)):
        raise ValueError(f"method name {config.name!r}: letters, digits, '.', '_' and '-' only, at most 64")
    if config.get("steps") is not None:
        check_steps(config.steps)
    if config.get("guidance") is not None:
        check_guidance(config.guidance)
    patch = instantiate(config.patch)
    if not callable(patch):
        raise TypeError(
            f"method {config.name}: its patch gave a {type(patch).__name__}; accepted is a function of a pipeline that "
            "returns a context manager, with patch._partial_=true"
        )
    return Method(
        name=str(config.name),
        label=str(config.label),
        patch=patch,
        timing_only=bool(config.timing_only),
        materialised=bool(config.materialised),
        approximate=bool(config.get("approximate", False)),
        steps=config.get("steps"),
        guidance=config.get("guidance"),
        same_output_as=str(config.get("same_output_as", "")),
        needs_schedule=bool(config.get("needs_schedule", False)),
    )


def build_methods(config: DictConfig) -> dict[str, Method]:
    """Methods that a run generates with: `methods` if a sweep filled it, else the single `method`, by name."""
    chosen = config.methods if config.methods else {"method": config.method}
    return _by_name([build_method(entry) for entry in chosen.values()])


def build_timing_arms(config: DictConfig) -> dict[str, Method]:
    """Methods that a run times: those it generates with, then the timing-only arms."""
    extra = [build_method(entry) for entry in config.timing.arms.values()]
    return _by_name([*build_methods(config).values(), *extra])


def _by_name(methods: list[Method]) -> dict[str, Method]:
    for what in ("name", "label"):  # rows of tables are told apart by the label
        given = [getattr(method, what) for method in methods]
        if twice := sorted({one for one in given if given.count(one) > 1}):
            raise ValueError(f"methods with one {what}: {', '.join(twice)}; give each arm of a sweep its own {what}")
    return {method.name: method for method in methods}


def expand_conditions(config: DictConfig, methods: dict[str, Method]) -> list[Condition]:
    """All conditions of a run, durations outermost, in the order of the configuration.

    Raises:
        ValueError: durations, steps, guidance or seeds out of range, or an unknown stage.
    """
    validate(config)
    conditions = [
        Condition(method, float(duration), int(method.steps or config.steps), _guidance(method, config))
        for duration in config.durations
        for method in methods.values()
    ]
    ids = [condition.id for condition in conditions]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f"two conditions would share the name {twice[0]}: give lengths that differ in six digits")
    return conditions


def validate(config: DictConfig) -> None:
    """Check the pipeline's keys and the plain numbers of a run before anything expensive starts."""
    used = re.findall(r"\$\{pipeline\.(\w+)\}", OmegaConf.to_yaml(config))
    check_keys(config.pipeline, f"pipeline {config.pipeline.get('name', '')}".rstrip(), [*PIPELINE_KEYS, *used])
    if not isinstance(config.pipeline.name, str):
        raise ValueError(f"pipeline.name: got {config.pipeline.name!r}, accepted is a text")
    for key in ("training_length_s", "max_duration_s"):
        if not _number(config.pipeline[key], f"pipeline.{key}") > 0:
            raise ValueError(f"pipeline.{key} {config.pipeline[key]}: accepted are numbers above 0")
    maximum = float(config.pipeline.max_duration_s)
    for key, example in (("durations", "[10,20]"), ("seeds", "[0,1,2]"), ("stages", "[generate,report]")):
        if not OmegaConf.is_list(config[key]):
            raise ValueError(f"{key}: got {config[key]!r}, accepted are lists, like {key}={example}")
    if not config.durations:
        raise ValueError("durations is empty: give at least one length in seconds, for example durations=[10,20]")
    for duration in config.durations:
        number = _number(duration, "durations")
        if not 0 < number <= maximum:
            raise ValueError(
                f"duration {duration} s: accepted are lengths above 0 and up to {maximum:g} s (pipeline.max_duration_s)"
            )
    if len(set(map(float, config.durations))) != len(config.durations):
        raise ValueError(f"durations {list(config.durations)}: a length is given twice")
    check_steps(config.steps)
    check_guidance(config.guidance)
    if not config.seeds or any(not is_whole(seed) or seed < 0 for seed in config.seeds):
        raise ValueError(f"seeds {list(config.seeds)!r}: give whole numbers from 0, like [0,1,2]")
    if len(set(config.seeds)) != len(config.seeds):
        raise ValueError(f"seeds {list(config.seeds)}: a seed is given twice; give each once")
    if unknown := [stage for stage in config.stages if stage not in STAGES]:
        raise ValueError(f"stages {unknown}: accepted are {', '.join(STAGES)}")
    if not is_whole(config.batch_size) or config.batch_size < 1:
        raise ValueError(f"batch_size {config.batch_size!r}: accepted are whole numbers from 1")
    check_plain_settings(config)


def check_keys(node: DictConfig, what: str, required: Iterable[str], known: Collection[object] = ()) -> None:
    """Raise ValueError naming every key that a node lacks and, where `known` says all there are, every other one."""
    lacking = [key for key in dict.fromkeys(required) if key not in node]  # of a "???", `in` says no, too
    unknown = [str(key) for key in node if key not in known] if known else []
    if lacking or unknown:
        found = [f"missing {', '.join(lacking)}"] * bool(lacking) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"{what}: {'; '.join(found)}; its keys are described in docs/extending.md")


def check_steps(steps: Any) -> None:
    """Raise ValueError unless `steps` is a whole number from 1 to 1000."""
    if not is_whole(steps) or not 1 <= steps <= 1000:
        raise ValueError(f"steps {steps!r}: accepted are whole numbers from 1 to 1000")


def check_guidance(guidance: Any) -> None:
    """Raise ValueError unless `guidance` is a finite number from 0."""
    if not math.isfinite(_number(guidance, "guidance")) or guidance < 0:
        raise ValueError(f"guidance {guidance}: accepted are finite numbers from 0 (1 turns guidance off)")


def _guidance(method: Method, config: DictConfig) -> float:
    return float(config.guidance if method.guidance is None else method.guidance)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: got {value!r}, accepted are numbers")
    return float(value)
