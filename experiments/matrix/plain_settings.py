"""Settings of a run that are plain numbers, switches and names, held against what the stages can use of them.

Each would otherwise be found after the clips are made, or never.
"""

import math
from typing import Any

from omegaconf import DictConfig

from evaluation.scoring.registry import METRICS
from experiments.system.cli import CONF_DIR, nearest


def check_plain_settings(config: DictConfig) -> None:
    """Raise ValueError naming the first of timing's, metrics' and data's settings that is none."""
    _check_timing(config)
    if "metrics" in config:
        _check_metrics(config.metrics)
    references = config.get("data", {}).get("references")
    if not (references is None or isinstance(references, str) or "_target_" in references):
        raise ValueError(f"data.references: got {references}; accepted are a folder, a _target_ of its own, or null")
    if not (config.decode_in_chunks is None or isinstance(config.decode_in_chunks, DictConfig)):
        raise ValueError(f"decode_in_chunks: got {config.decode_in_chunks!r}; set decode_in_chunks.KEY=VALUE, or null")


def _check_timing(config: DictConfig) -> None:
    timing = config.timing
    for key, least in (("rounds", 1), ("starts", 1), ("warmup", 0)):
        if not is_whole(timing[key]) or timing[key] < least:
            raise ValueError(f"timing.{key} {timing[key]!r}: accepted are whole numbers from {least}")
    arms = [*(config.methods or {"method": config.method}).values(), *timing.arms.values()]
    named = [str(arm.get("name", "")) for arm in arms]
    # The baseline may be a method that this run leaves out.
    if timing.baseline not in {*named, *(file.stem for file in (CONF_DIR / "method").glob("*.yaml"))}:
        raise ValueError(
            f"timing.baseline {timing.baseline!r}: no such method; {nearest(str(timing.baseline), named)}, or the name "
            "of another file of conf/method"
        )


def _check_metrics(metrics: DictConfig) -> None:
    if metrics.window_s is not None and not _is_above_zero(metrics.window_s):
        raise ValueError(f"metrics.window_s {metrics.window_s!r}: accepted are seconds above 0, or null")
    for key in ("aligned_references", "keep_embeddings", "half"):
        if not isinstance(metrics[key], bool):
            raise ValueError(f"metrics.{key} {metrics[key]!r}: accepted are true and false")
    for name, margin in metrics.margins.items():
        if name not in METRICS:
            raise ValueError(f"metrics.margins.{name}: no such metric; {nearest(str(name), METRICS)}")
        if not _is_above_zero(margin):
            raise ValueError(f"metrics.margins.{name} {margin!r}: accepted are numbers above 0")
    for key in ("cache_dir", "preset"):
        if metrics[key] == "":
            raise ValueError(f"metrics.{key} is empty; give one, or null")


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def is_whole(value: Any) -> bool:
    """Whether a value of a configuration is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)
