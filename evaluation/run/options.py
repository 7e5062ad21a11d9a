"""Options that a scorer takes, checked before anything is loaded: from a command line and from Python alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from evaluation.metric import Metric

_SECONDS = ("window_s", "duration_s")
_WHOLE_NUMBERS = {"seed": 0, "batch_size": 1}
_SWITCHES = ("aligned_references", "strict", "paired", "floors", "half")
_LISTS = ("metrics", "extra")
_BY_KEY = {"weights": "weights.vggish=PATH", "embedders": "embedders.frames._target_=my.Embedder"}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of another type or range than it takes; one that is not there is not missed."""
    for name in _SECONDS:
        value = options.get(name)
        if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value}: accepted is a number without a unit, above 0, like {name}=10")
    for name, least in _WHOLE_NUMBERS.items():
        value = options.get(name, least)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value}: accepted is a whole number without a unit, from {least} on")
    for name in _SWITCHES:
        if not isinstance(options.get(name, False), bool):
            raise ValueError(f"{name}={options[name]}: accepted are true and false")
    for name in _LISTS:
        value = options.get(name)
        if isinstance(value, str):
            raise ValueError(f"{name}={value}: give a list, like {name}=[{value}]")
        if value is not None and not (isinstance(value, Sequence) and all(isinstance(v, str | Metric) for v in value)):
            raise ValueError(f"{name}={value}: give a list of names, like {name}=[first,second]")
    for name, example in _BY_KEY.items():
        if not isinstance(options.get(name) or {}, Mapping):
            raise ValueError(f"{name}={options[name]}: give each by its key, like {example}")
    for name, value in (options.get("weights") or {}).items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"weights.{name}={value}: give a path or sha256:HEX, as text")
    if options.get("metrics") is not None and not len(options["metrics"]):
        raise ValueError("metrics=[]: name at least one, or leave metrics out for the preset's own")
    if options.get("device") is not None:
        _check_device(options["device"])


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_device(name: str) -> None:
    import torch

    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name not in available and not (name == "cuda" and torch.cuda.is_available()):
        raise ValueError(f"device={name}: torch sees {', '.join(available)} here")
