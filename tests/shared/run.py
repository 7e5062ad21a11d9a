"""What a shared machine costs: the demo's run alone, beside one busy process a core, and with company after a minute.

    python tests/shared/run.py [OVERRIDE...]    # in a clone where make demo has run; an idle machine, some 40 minutes
    python tests/shared/run.py 'durations=[5.12,10.24]'    # smaller, five minutes

Each of three ways in which OpenMP's threads may wait for each other, in turn: `short`, as a command chooses that begins
alone, `passive`, as one chooses that begins beside other work, and `libgomp`, as it does by itself. Prints seconds, and
how many times its time alone a run took beside others. The exit code is 1 where `passive` costs over 2.5 times beside
busy processes, `short` over 2.5 times with company that comes later, or over 5% alone against libgomp's.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from experiments import SPIN_COUNT

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "experiments.run", "+sweep=durations"]
WAITS = {
    "short": {"GOMP_SPINCOUNT": SPIN_COUNT},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "libgomp": {"GOMP_SPINCOUNT": "300000"},
}
COMPANY_AFTER_S = 60.0
MOST_BUSY, MOST_QUIET = 2.5, 1.05


@contextlib.contextmanager
def company() -> Iterator[None]:
    """One busy process for each core this one may use."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run(wait: dict[str, str], overrides: list[str], company_after_s: float | None) -> float:
    """Seconds of one run into a new folder; company from then on, never where None."""
    environment = {name: text for name, text in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if company_after_s == 0:
            stack.enter_context(company())
        start = time.monotonic()
        command = [*COMMAND, f"out_dir={folder}/run", *overrides]
        process = subprocess.Popen(command, cwd=ROOT, env=environment | wait, stdout=subprocess.DEVNULL)
        if company_after_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(company_after_s)
            stack.enter_context(company())
        if process.wait():
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        return time.monotonic() - start


def main() -> None:
    """The table and the verdict."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"load average {load:.1f}: other work runs here; wait until it is below 0.5", file=sys.stderr)
        sys.exit(2)
    overrides = sys.argv[1:]
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, {' '.join(COMMAND[1:] + overrides)}\n")
    print(
        f"| threads wait | alone, s | {cores} busy processes, s | from {COMPANY_AFTER_S:.0f} s on, s | times | times |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    alone, times = {}, {}
    for name, wait in WAITS.items():
        alone[name], beside, later = (run(wait, overrides, after) for after in (None, 0.0, COMPANY_AFTER_S))
        times[name] = (beside / alone[name], later / alone[name])
        seconds = " | ".join(f"{value:.0f}" for value in (alone[name], beside, later))
        print(f"| {name} | {seconds} | {times[name][0]:.2f} | {times[name][1]:.2f} |", flush=True)
    cheap = max(times["passive"][0], times["short"][1]) <= MOST_BUSY and alone["short"] <= MOST_QUIET * alone["libgomp"]
    sys.exit(0 if cheap else 1)


if __name__ == "__main__":
    main()
