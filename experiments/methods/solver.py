"""Few-step solvers: another sampler for the same model, so that far fewer steps are needed.

DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) and UniPC (Zhao et al. 2023, arXiv 2302.04867), as diffusers has them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers

SOLVERS = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DDIMScheduler")


@contextmanager
def solver(pipe: Any, name: str, **options: Any) -> Iterator[None]:
    """The pipeline samples with another solver inside the context.

    The noise schedule, prediction type, zero-terminal-SNR rescaling and spacing of the steps are the model's own: they
    come from the configuration of the scheduler that the solver stands in for.

    Args:
        pipe: a diffusers pipeline.
        name: a diffusers scheduler of SOLVERS. options: of its constructor, over the model's own.

    Raises:
        TypeError: a model without a scheduler (a bare UNet has none).
        ValueError: an unknown solver.
    """
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r}: accepted are {', '.join(SOLVERS)}")
    before = getattr(pipe, "scheduler", None)
    if before is None:
        raise TypeError(f"{type(pipe).__name__} has no scheduler to replace: give the pipeline, not its UNet")
    pipe.scheduler = getattr(diffusers, name).from_config(before.config, **options)
    try:
        yield
    finally:
        pipe.scheduler = before
