"""What a CUDA machine lent for minutes should answer, in one command: make gpu

The check of a run, then op, step and loop of AudioLDM 2's published architecture (seeded weights) to 320 s in bfloat16
and float16, with peak memory. Every part is a process of its own with the time that is left; one that fails or runs out
of time never takes the later ones with it, and what it measured until then is kept. Overrides go to every part, so that
the same script is rehearsed at small size: python -m experiments.benchmark.gpu device=cpu pipeline.size=tiny
"""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.system.cli import USAGE_ERROR

logger = logging.getLogger(__name__)

BUDGET_S = 570.0
ROOT = Path(__file__).resolve().parents[2]
TIMED_OUT = 124


class Part(NamedTuple):
    """A command, and the most seconds it may take."""

    name: str
    words: tuple[str, ...]
    limit_s: float


class Outcome(NamedTuple):
    """How a part ended: its exit code (124: out of time; None: not started), and its seconds."""

    name: str
    code: int | None
    seconds: float


CHECK = (
    "experiments.check",
    "pipeline=audioldm2_untrained",
    "data=demo",
    "durations=[10,320]",
    "steps=2",
    "device=cuda",
)
PARTS = (
    Part("check, float16", (*CHECK, "dtype=float16"), 120),
    Part("bfloat16", ("experiments.benchmark", "+grid=gpu", "dtype=bfloat16"), 240),
    Part("float16", ("experiments.benchmark", "+grid=gpu", "dtype=float16"), 240),
)


def run_parts(parts: Sequence[Part], overrides: Sequence[str], budget_s: float) -> list[Outcome]:
    """Run the parts in order within the budget."""
    end = time.monotonic() + budget_s
    outcomes = []
    for part in parts:
        left = min(part.limit_s, end - time.monotonic())
        if left <= 0:
            outcomes.append(Outcome(part.name, None, 0.0))
            continue
        print(f"== {part.name}: python -m {' '.join([*part.words, *overrides])}", flush=True)
        start = time.monotonic()
        try:
            code = subprocess.run([sys.executable, "-m", *part.words, *overrides], timeout=left, check=False).returncode
        except subprocess.TimeoutExpired:
            code = TIMED_OUT
        outcomes.append(Outcome(part.name, code, time.monotonic() - start))
    return outcomes


def render(outcomes: Sequence[Outcome]) -> str:
    """One line a part."""
    words = {0: "ok", TIMED_OUT: "out of time", None: "not started: no time left"}
    return "\n".join(
        f"{outcome.name:<16} {words.get(outcome.code, f'exit code {outcome.code}'):<26} {outcome.seconds:4.0f} s"
        for outcome in outcomes
    )


def main() -> None:
    """The command line: overrides for every part. Ends with 2 where a part did not end well."""
    outcomes = run_parts(PARTS, sys.argv[1:], BUDGET_S)
    print(render(outcomes))
    if any(outcome.code != 0 for outcome in outcomes):
        sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
