"""Real processes that run the command line, cheap enough to be killed dozens of times, and what a run folder lost.

A fork server imports torch, diffusers and the harness once; every job is a fork of it with a process id of its own,
that runs `experiments.run.main` on real arguments and writes the real files. A SIGKILL ends it like any process.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.records import ClipRecord, of_kind, read_records

# The smoke sweep on the testbed: the untrained model's wavs are silence at 16 bits, and silence proves nothing.
AUDIBLE = (
    "+sweep=smoke", "pipeline=testbed", "data=testbed", "~pipeline.size", "durations=[0.64]", "steps=1",
    "stages=[generate]", "threads=1",
)  # fmt: skip
CLIPS = 12
PRELOADED = [
    "experiments.run",
    "experiments.report",
    "experiments.testbed.plugin.load",
    "experiments.testbed.plugin.load_prompts",
]
TIMEOUT_S = 300
# What may differ between two runs of one clip: which start made it and how long it took.
VOLATILE = ("run_id", "latency_s", "step_s", "decode_s")

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(PRELOADED)
# Outside the run folder's disk, which may be full.
LOGS = tempfile.TemporaryDirectory(prefix="jobs")
NUMBERS = itertools.count()
Prepare = Callable[[], None]


class Job:
    """One start of `python -m experiments.run`, in a process of its own, its output in a file.

    Args:
        prepare: called in the new process before the program starts (a limit, a trap); must be picklable.
    """

    def __init__(self, run_dir: Path, arguments: Sequence[str] = AUDIBLE, prepare: Prepare | None = None) -> None:
        self.log = Path(LOGS.name, f"{next(NUMBERS)}.log")
        words = [*arguments, f"out_dir={run_dir}"]
        self.process = server.Process(target=run_command, args=(words, str(self.log), prepare))
        self.process.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process; it may have ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> bool:
        """SIGKILL; whether it ended the process (False: the process had ended by itself)."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """The exit code; negative for the signal that ended it."""
        self.process.join(TIMEOUT_S)
        assert self.process.exitcode is not None, f"still running after {TIMEOUT_S} s: {self.output()}"
        return self.process.exitcode

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; fail if the process ends before."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.is_alive(), f"ended before it was to be disturbed: {self.output()}"
            assert time.monotonic() < deadline, f"nothing happened in {TIMEOUT_S} s: {self.output()}"
            time.sleep(0.002)

    def output(self) -> str:
        """What it wrote to the terminal."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def error(self) -> str:
        """Its last line on the terminal; an error is one line, never a traceback."""
        assert "Traceback" not in self.output(), self.output()
        return self.output().strip().splitlines()[-1]


def run_command(arguments: list[str], log: str, prepare: Prepare | None) -> None:
    """What a job's process does: the terminal becomes a file, then the program's own main."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["run", *arguments]
    if prepare is not None:
        prepare()
    from experiments.run import main

    main()


def finish(run_dir: Path, arguments: Sequence[str] = AUDIBLE) -> Job:
    """Run the command to its end, undisturbed."""
    job = Job(run_dir, arguments)
    assert job.wait() == 0, job.output()
    return job


def clip_count(run_dir: Path) -> int:
    """Complete lines of clip records, read while another process writes."""
    path = run_dir / "records.jsonl"
    return path.read_bytes().count(b'"kind": "clip"') if path.exists() else 0


@dataclass(frozen=True)
class Damage:
    """What a disturbed and resumed run folder is worth beside an undisturbed one; all zero is the only good value.

    Attributes:
        lost: clips without a record or without a wav. duplicated: clips recorded or stored more often than once.
        bytes_differing: over all wavs. records_differing: clips whose records disagree in more than times and run id.
    """

    lost: int = 0
    duplicated: int = 0
    bytes_differing: int = 0
    records_differing: int = 0

    def __add__(self, other: "Damage") -> "Damage":
        return Damage(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def damage(run_dir: Path, reference: Path) -> Damage:
    """Compare a run folder with an undisturbed one."""
    ours, theirs = _clips(run_dir), _clips(reference)
    recorded = Counter(clip.audio for clip in of_kind(read_records(run_dir), ClipRecord))
    files = {path.relative_to(run_dir).as_posix() for path in (run_dir / "audio").rglob("*") if path.is_file()}
    shared = [name for name in theirs if name in ours and name in files]
    return Damage(
        lost=len(theirs) - len(shared),
        duplicated=sum(count - 1 for count in recorded.values()) + len(files - set(theirs)),
        bytes_differing=sum(_bytes_differing(run_dir / name, reference / name) for name in shared),
        records_differing=sum(ours[name] != theirs[name] for name in shared),
    )


def _clips(run_dir: Path) -> dict[str, dict[str, object]]:
    return {
        clip.audio: {key: value for key, value in asdict(clip).items() if key not in VOLATILE}
        for clip in of_kind(read_records(run_dir), ClipRecord)
    }


def _bytes_differing(path: Path, reference: Path) -> int:
    ours, theirs = path.read_bytes(), reference.read_bytes()
    return abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs, strict=False))
