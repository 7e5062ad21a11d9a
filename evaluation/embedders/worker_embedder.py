"""An embedder that runs in an environment of its own, because its packages cannot be installed beside this one's.

A process of that environment (``evaluation.embedders.worker``) embeds: waveforms go there and features come back as npz
files. Of this environment it sees the package ``evaluation`` only. Any class with the attributes of the embedder
protocol can be served; in a configuration:

    embedders:
      frames:
        _target_: evaluation.embedders.worker_embedder.WorkerEmbedder
        target: my_package.MyEmbedder     # importable there, from its own packages, PYTHONPATH or the current folder
        environment: .venv-mine           # a virtual environment, or an interpreter
        batch_size: 4                     # any further key is an argument of MyEmbedder
"""

from __future__ import annotations

import json
import logging
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from evaluation.embedders.protocol import Array, Features, Output, check_waveforms
from evaluation.embedders.weights import WeightsError, WeightSource, find_weights
from evaluation.embedders.worker import read_features, write_waveforms

logger = logging.getLogger(__name__)

# One package of this environment is handed over by name, so that no other one is found there by accident.
_START = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("evaluation", sys.argv[1])
sys.modules["evaluation"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from evaluation.embedders.worker import main
main()
"""
_PACKAGE = Path(__file__).parents[1] / "__init__.py"
_INTERPRETERS = ("bin/python", "Scripts/python.exe")
_KINDS = {kind.__name__: kind for kind in (ValueError, TypeError, FileNotFoundError, ImportError, WeightsError)}
_SECONDS_TO_END = 10


class WorkerError(OSError):
    """The other environment's process ended, or its embedder failed; the text holds its last line."""


class WorkerEmbedder:
    """An embedder of another environment, behind the same protocol; its identity is the one that it has there.

    Args:
        target: dotted name of the class.
        environment: folder of a virtual environment, or an interpreter; relative to the current folder.
        weights: argument ``weights`` of the class, found (or fetched and checked) by this side; None for none.
        files: further such arguments by name.
        make_with: the command that makes the environment, for the error that says it is missing.
        options: the class's further arguments, as plain values of JSON.

    Raises:
        FileNotFoundError: no such environment.
    """

    def __init__(
        self,
        target: str,
        environment: str | Path,
        weights: WeightSource | str | Path | None = None,
        *,
        files: Mapping[str, WeightSource | str | Path] | None = None,
        make_with: str = "",
        **options: Any,
    ) -> None:
        self.target = target
        self.folder = Path(environment).expanduser()
        self.python = _interpreter(self.folder, target, make_with)
        self.source = weights
        self.files = dict(files or {})
        self.options = options

    @property
    def sources(self) -> tuple[WeightSource | str | Path, ...]:
        """What must be there before it runs."""
        return (*(() if self.source is None else (self.source,)), *self.files.values())

    @property
    def name(self) -> str:
        """As there."""
        return str(self._description["name"])

    @property
    def sample_rate(self) -> int:
        """As there."""
        return int(self._description["sample_rate"])

    @property
    def outputs(self) -> tuple[Output, ...]:
        """As there."""
        return tuple(self._description["outputs"])

    @property
    def min_samples(self) -> int:
        """As there."""
        return int(self._description["min_samples"])

    @property
    def max_samples(self) -> int | None:
        """As there."""
        longest = self._description["max_samples"]
        return None if longest is None else int(longest)

    @cached_property
    def identity(self) -> str:
        """As there: computed in that environment, from its versions."""
        return str(self._worker.call("identity"))

    @property
    def environment(self) -> dict[str, Any]:
        """Where it runs, for the record: interpreter version, packages, and a hash over all that are installed."""
        return dict(self._description["environment"])

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """See :meth:`evaluation.embedders.protocol.Embedder.embed`."""
        rows = check_waveforms(waveforms, self)
        return self._worker.features("embed", waveforms=rows) if rows else []

    def embed_text(self, captions: Sequence[str]) -> Array:
        """(n, d) embeddings of captions. TypeError if the class there has no ``embed_text``."""
        return self._worker.features("embed_text", captions=list(captions))[0]["embedding"]

    @cached_property
    def _worker(self) -> _Worker:
        weights = {} if self.source is None else {"weights": str(find_weights(self.source))}
        files = {name: str(find_weights(source)) for name, source in self.files.items()}
        return _worker(self.python, self.target, json.dumps({**weights, **files, **self.options}, sort_keys=True))

    @property
    def _description(self) -> dict[str, Any]:
        return self._worker.description


class _Worker:
    """The process, and the folder through which arrays go."""

    def __init__(self, python: Path, target: str, options: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="litefocus_worker_")
        self._log = Path(self._folder.name) / "log.txt"
        self._python = python
        self._lock = threading.Lock()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-c", _START, str(_PACKAGE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        self._end = weakref.finalize(self, _end, self._process, self._folder)
        self.description: dict[str, Any] = self.call("make", target=target, options=options)

    def call(self, call: str, **arguments: Any) -> Any:
        """The result of one request; an error there is raised here, as the same kind where that is a common one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            reply = self._exchange(json.dumps({"call": call, **arguments}), self._process.stdin, self._process.stdout)
        if "error" in reply:
            logger.debug("%s, %s", self._python, reply["traceback"])
            kind = next((_KINDS[name] for name in reply["kinds"] if name in _KINDS), WorkerError)
            raise kind(f"{reply['error'] or reply['kinds'][0]} (in {self._python})")
        return reply["result"]

    def features(self, call: str, waveforms: Sequence[Array] = (), **arguments: Any) -> list[Features]:
        """The features that a request leaves in a file."""
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            sent, received = Path(folder) / "waveforms.npz", Path(folder) / "features.npz"
            if waveforms:
                write_waveforms(sent, waveforms)
            self.call(call, input=str(sent), output=str(received), **arguments)
            return read_features(received)

    def _exchange(self, line: str, requests: IO[str], replies: IO[str]) -> dict[str, Any]:
        try:
            print(line, file=requests, flush=True)
            answer = replies.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self._process.wait()
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise WorkerError(
                f"the embedder's process in {self._python} ended with code {code}: {said[-1] if said else 'no output'}"
            )
        reply: dict[str, Any] = json.loads(answer)
        return reply


@cache
def _worker(python: Path, target: str, options: str) -> _Worker:
    """One process per embedder, however many scorers use it."""
    return _Worker(python, target, json.loads(options))


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    folder.cleanup()


def _interpreter(environment: Path, target: str, make_with: str) -> Path:
    """Not resolved: a virtual environment is found by the place of its link."""
    candidates = [environment] if environment.is_file() else [environment / part for part in _INTERPRETERS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.absolute()
    advice = f"make it: {make_with}" if make_with else "give a virtual environment or an interpreter"
    raise FileNotFoundError(f"{target} runs in the environment {environment}, which is not there; {advice}")
