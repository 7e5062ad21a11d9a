"""Hydra's -m as one study: jobs that differ in method, its options, steps, guidance, lengths or seeds are one run.

`-m method=litefocus,dense steps=25,50` becomes a run of four methods in one folder, timed, scored and reported
together, as a sweep of conf/sweep/ is. A launcher makes its clips in shards. What else is swept (a pipeline, a dtype)
cannot share a folder: those jobs stay Hydra's own, each in its own folder below that of the study.
"""

import hashlib
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override

from experiments.system.cli import read_words

MULTIRUN = ("-m", "--multirun")
OF_METHODS = ("steps", "guidance")  # of the run, and of each of its methods that does not fix its own
LISTS = ("durations", "seeds")
LONGEST_NAME = 64
# Launchers by name: the distribution that each comes with, and the extra of this project that installs it.
PLUGINS = {
    **dict.fromkeys(("devices", "joblib"), ("hydra-joblib-launcher", "devices")),
    **dict.fromkeys(
        ("slurm_gpu", "slurm_cpu", "submitit_slurm", "submitit_local"), ("hydra-submitit-launcher", "slurm")
    ),
    **dict.fromkeys(("ray", "ray_aws"), ("hydra-ray-launcher", "ray")),
}


@dataclass(frozen=True)
class Study:
    """What a command line with -m asks for.

    Attributes:
        words: of one run; with -m still where `apart` is not empty.
        jobs: how many jobs Hydra would have started for what is one run now.
        launch: the words that choose and configure a launcher.
        apart: swept keys whose values need folders of their own.
        folder: what those folders lie in; empty without any.
    """

    words: list[str]
    jobs: int
    launch: list[str]
    apart: list[str]
    folder: str = ""

    def commands(self, generates: bool) -> list[list[str]]:
        """Command lines in order: with a launcher, the clips in as many shards as there were jobs; then one run."""
        if self.apart:
            return [[*self.words, *self.launch]]
        if not self.launch or not generates:
            return [self.words]
        shards = [f"shard.count={self.jobs}", f"shard.index=range({self.jobs})", "stages=[generate]"]
        return [["-m", *self.words, *self.launch, *shards], self.words]


def check_launcher(words: Sequence[str]) -> None:
    """Raise ModuleNotFoundError naming the extra for a launcher whose plug-in is not installed."""
    for name in (word.partition("=")[2] for word in words if word.lstrip("+").startswith("hydra/launcher=")):
        distribution, extra = PLUGINS.get(name, ("", ""))
        if distribution and not any(importlib.metadata.distributions(name=distribution)):
            raise ModuleNotFoundError(
                f"hydra/launcher={name} needs {distribution}, which is not installed; pip install -e '.[{extra}]'"
            )


def study_of(words: Sequence[str], conf_dir: Path) -> Study | None:
    """The study of a command line; None without -m, for shards, which are one run already, and for another sweeper.

    Raises:
        ValueError: values that no list of numbers can hold, or that are not known beforehand.
    """
    parsed = read_words(words)
    if not parsed.multirun:
        return None
    by_word = {o.input_line: o for o in OverridesParser.create().parse_overrides(parsed.overrides) if o.input_line}
    swept = [override for override in by_word.values() if override.is_sweep_override()]
    if not swept or any(o.key_or_group in ("shard.index", "hydra/sweeper") for o in by_word.values()):
        return None
    folders = [conf_dir, *([Path(parsed.config_dir)] if parsed.config_dir else [])]
    choices = {o.input_line: _values(o, folders) for o in swept}
    whole = [o for o in swept if _is_of_run(o)]
    apart = [o for o in swept if not _is_of_run(o)]
    kept: list[str] = []
    launch: list[str] = []
    for word in words:
        override = by_word.get(word)
        if word in MULTIRUN or (override in whole) or _is_option_of_method(override, swept):
            continue
        is_launcher = override is not None and override.key_or_group.startswith(("hydra/launcher", "hydra.launcher"))
        (launch if is_launcher else kept).append(word)
    varied = [o for o in by_word.values() if o in whole or _is_option_of_method(o, swept)]
    kept += _as_one([(o, choices.get(o.input_line) or [o.get_value_element_as_str()]) for o in varied])
    if not any(word.startswith("name=") for word in words):
        sweep = [o.get_value_element_as_str() for o in by_word.values() if o.key_or_group == "sweep" and o not in swept]
        kept.append(f"name={_name(sweep, [(o.key_or_group, choices[o.input_line]) for o in swept])}")
    base = ""
    if apart:
        base = _base(kept)
        kept = ["-m", *kept, *_folders([o.key_or_group for o in apart], base, folders)]
    return Study(kept, prod(len(choices[o.input_line]) for o in whole), launch, [o.key_or_group for o in apart], base)


def _is_of_run(override: Override) -> bool:
    """Whether all values of a swept key can be conditions of one run."""
    key = override.key_or_group
    return override.package is None and (key in ("method", *OF_METHODS, *LISTS) or key.startswith("method."))


def _is_option_of_method(override: Override | None, swept: Sequence[Override]) -> bool:
    """Whether an option, `method.patch.config.sparse_ratio=0.2`, is one of several methods."""
    several = any(other.key_or_group == "method" for other in swept)
    return override is not None and several and override.key_or_group.startswith("method.")


def _values(override: Override, folders: Sequence[Path]) -> list[str]:
    """The values of a sweep in Hydra's own spelling."""
    value = override.value()
    if isinstance(value, Glob):
        names = sorted({path.stem for folder in folders for path in (folder / override.key_or_group).glob("*.yaml")})
        return list(value.filter(names))
    if not override.is_discrete_sweep():
        raise ValueError(f"got {override.input_line!r}; give the values themselves, like {override.key_or_group}=1,2")
    return list(override.sweep_string_iterator())


def _as_one(varied: Sequence[tuple[Override, list[str]]]) -> list[str]:
    """Overrides of one run that has every combination of values as a condition."""
    words, entries = [], []
    for override, values in varied:
        key = override.key_or_group
        if key == "method":
            words += [f"+method@methods.{re.sub(r'[^A-Za-z0-9_]', '_', value)}={value}" for value in values]
        elif key in LISTS:
            items = [item.strip() for value in values for item in value.strip(" []").split(",")]
            words.append(f"{key}=[{','.join(dict.fromkeys(items))}]")
        else:
            path, new = key.removeprefix("method."), str(override.is_add()).lower()
            entries.append(f"{{key: '{path}', values: [{','.join(values)}], new: {new}}}")
    return [*words, *([f"+vary=[{','.join(entries)}]"] if entries else [])]


def _name(sweep: Sequence[str], axes: Sequence[tuple[str, list[str]]]) -> str:
    """A name for files: what is swept, and over which values."""
    parts = [*sweep, *("_".join([key.rpartition(".")[2], *(v.strip("[]") for v in values)]) for key, values in axes)]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_.-")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _base(words: Sequence[str]) -> str:
    """The folder of a study whose jobs have folders of their own."""
    own = next((word.partition("=")[2] for word in words if word.startswith("out_dir=")), "runs/${name}")
    name = next((word.partition("=")[2] for word in words if word.startswith("name=")), "study")
    return own.replace("${name}", name)


def _folders(keys: Sequence[str], base: str, folders: Sequence[Path]) -> list[str]:
    """Overrides that give every job a folder of its own below `base`, named by the values of the swept keys."""
    groups = [any((folder / key).is_dir() for folder in folders) for key in keys]
    values = [
        f"{key.rpartition('.')[2].lstrip('+')}_${{{f'hydra:runtime.choices.{key}' if group else key}}}"
        for key, group in zip(keys, groups, strict=True)
    ]
    return [f"out_dir={base}/{'-'.join(values)}", f"hydra.sweep.dir={base}/jobs", "hydra.sweep.subdir=${hydra:job.num}"]
