"""Metrics for generated audio: from two folders (``evaluate``) or from embeddings (everything else).

The names below are loaded on first use, so that ``import evaluation`` costs nothing: no torch, no network.
``(reference, generated)`` is the argument order everywhere, and every estimate here has a sibling ending
in ``_interval`` that also returns its interval, its N and its resampling unit.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.evaluate import evaluate
    from evaluation.metrics.clap_score import clap_score
    from evaluation.metrics.fad import frechet_distance
    from evaluation.metrics.fad_infinity import fad_infinity
    from evaluation.metrics.kad import kernel_audio_distance
    from evaluation.metrics.kl import kl_divergence
    from evaluation.statistics.bootstrap import Interval, bootstrap_interval

__all__ = [
    "Interval",
    "bootstrap_interval",
    "clap_score",
    "evaluate",
    "fad_infinity",
    "frechet_distance",
    "kernel_audio_distance",
    "kl_divergence",
]

_HOME = {
    "Interval": "statistics.bootstrap",
    "bootstrap_interval": "statistics.bootstrap",
    "clap_score": "metrics.clap_score",
    "evaluate": "evaluate",
    "fad_infinity": "metrics.fad_infinity",
    "frechet_distance": "metrics.fad",
    "kernel_audio_distance": "metrics.kad",
    "kl_divergence": "metrics.kl",
}


class _Package(ModuleType):
    """Resolves public names on first use and keeps them.

    Importing a submodule binds it on its package, so ``evaluation.evaluate`` would turn from the function into the
    module of the same name as soon as anything imported the latter. Here a public name is always the function;
    ``from evaluation.evaluate import ...`` reaches into the module as usual.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"evaluation has no attribute {name!r}; it offers {', '.join(__all__)}")
        value = getattr(importlib.import_module(f"evaluation.{_HOME[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


sys.modules[__name__].__class__ = _Package
