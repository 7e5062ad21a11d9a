"""Everything that can go wrong in a run, before anything is expensive: python -m experiments.check pipeline=audioldm2

Takes the words of `python -m experiments.run`, prints a table with a mark a line (ok; -- for what is to know; FAIL for
what would stop the run) and ends with 0, or with 2 if a line fails. Nothing is written into the run folder.
"""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.checks.clips import clip_lines, kernel_line, materialised_lines, memory_line
from experiments.checks.cost import cost_lines, folder_line
from experiments.checks.lines import FAIL, NOTE, Line, failures, guarded, render
from experiments.checks.networks import metric_lines
from experiments.checks.weights import component_lines, file_lines, licence_line, source_line
from experiments.datasets.prompts import Prompt
from experiments.matrix.clips import plan_clips
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import build_methods, build_timing_arms, expand_conditions
from experiments.pipelines.pipeline import DTYPES, Pipeline, select_device
from experiments.pipelines.revisions import with_commit
from experiments.stages.setup import load_pipeline, load_prompts
from experiments.system.cli import (
    USAGE_ERROR,
    check_overrides,
    one_line_errors,
    print_what_was_asked,
    with_method_lists,
)
from experiments.system.environment import describe

logger = logging.getLogger(__name__)


def check(config: DictConfig) -> list[Line]:
    """Look at everything that a run of this configuration needs; mistakes in the configuration itself raise."""
    config = with_composed_methods(config)
    conditions = [c for c in expand_conditions(config, build_methods(config)) if not c.method.timing_only]
    run_dir = Path(config.out_dir)
    lines = guarded("environment", lambda: environment(config))
    lines += guarded("out_dir", lambda: folder_line(run_dir))
    prompts: list[Prompt] = []
    lines += guarded("prompts", lambda: _prompts(config, prompts))
    lines += metric_lines(config, prompts) if prompts else [Line(NOTE, "metrics", "not looked at: no prompts")]
    found, pipeline = look_at_weights(config, can_load=lines[0].mark != FAIL)
    lines += found
    if pipeline is None or not prompts:
        return [*lines, Line(NOTE, "clips, memory, hours", "not looked at: no pipeline or no prompts")]
    loaded, lengths = pipeline, [condition.duration_s for condition in conditions]
    shortest, longest, guidance = min(lengths), max(lengths), float(config.guidance)
    lines += guarded("durations", lambda: _durations(loaded, lengths))
    lines += guarded("attention kernel", lambda: kernel_line(loaded))
    # Memory first: what an earlier clip gave back to the allocator would count as in use.
    lines += guarded("memory", lambda: memory_line(loaded, prompts[0], shortest, longest, guidance))
    lines += guarded("clips", lambda: clip_lines(loaded, prompts[0], shortest, guidance))
    lines += guarded("memory", lambda: materialised_lines(loaded, build_timing_arms(config), longest))
    clips = plan_clips(conditions, prompts, list(config.seeds))
    return lines + guarded("hours, disk", lambda: cost_lines(loaded, conditions, clips, run_dir))


def environment(config: DictConfig) -> str:
    """Versions, device, precision and threads. ValueError for a device or a precision that is not there."""
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r}: accepted are {', '.join(DTYPES)}")
    here = describe(select_device(config.device), DTYPES[config.dtype])
    versions = ", ".join(f"{name} {version}" for name, version in here["packages"].items())
    return f"{here['device']}, {here['dtype']}, {here['threads']} threads, python {here['python']}, {versions}"


def look_at_weights(config: DictConfig, can_load: bool = True) -> tuple[list[Line], Pipeline | None]:
    """Lines on the source, the files and the loaded components, and the pipeline; None if it is not to be had yet.

    What has failed already is not tried again under another name: every fault is one line.
    """
    pinned = config

    def source() -> Line:
        nonlocal pinned
        pinned = with_commit(config)
        return source_line(pinned)

    lines = guarded("weights", source)
    lines += guarded("licence", lambda: licence_line(config))
    path = config.pipeline.get("path")
    if path is not None and (Path(path).expanduser() / "model_index.json").is_file():
        lines += guarded("components", lambda: file_lines(Path(path).expanduser()))
    if failures(lines) or (lines[0].mark == NOTE and "hub_id" in config.pipeline):
        return [*lines, Line(NOTE, "loading", "not tried: fetch or mend the weights first")], None
    if not can_load:
        return [*lines, Line(NOTE, "loading", "not tried: see the environment")], None
    loaded: list[Pipeline] = []

    def load() -> list[Line]:
        loaded.append(load_pipeline(pinned))
        return list(component_lines(loaded[0]))

    return lines + guarded("loading", load), loaded[0] if loaded else None


def _prompts(config: DictConfig, prompts: list[Prompt]) -> str:
    prompts += load_prompts(config)
    return f"{len(prompts)} of data={config.data._target_.rpartition('.')[2]}, first {prompts[0].text[:60]!r}"


def _durations(pipeline: Pipeline, lengths: Sequence[float]) -> str:
    for duration in lengths:
        pipeline.check_duration(duration)
    return ", ".join(f"{duration:g} s" for duration in dict.fromkeys(lengths))


def main() -> None:
    """The command line: the overrides of the run."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with one_line_errors():
        print_what_was_asked(sys.argv[1:], "config", __doc__)
        config = check_overrides(with_method_lists(sys.argv[1:]), config_name="config")
        if config is None:
            raise ValueError("experiments.check takes no flags; give overrides, like pipeline=audioldm2")
        start = time.perf_counter()
        lines = check(config)
        print(render(lines))
        count = failures(lines)
        print(f"{count} of {len(lines)} lines fail ({time.perf_counter() - start:.0f} s)")
        if count:
            sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
