"""Serve one embedder from the environment that its packages need: the process that ``WorkerEmbedder`` starts.

Requests are lines of JSON on standard input, replies lines of JSON on what was standard output. Arrays go through npz
files, which are read without pickle. The process ends when its input does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from evaluation.embedders.protocol import Array, Features, Output, as_text_embedder, identity_of

_ALWAYS_NAMED = ("numpy", "torch")


def main() -> None:
    """Answer requests until the input ends; an error of the embedder is a reply, not the end."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Packages print; only replies may reach the other side.
    sys.argv = sys.argv[:1]  # laion_clap parses them when it is imported.
    served: list[Any] = []
    for line in sys.stdin:
        try:
            reply: dict[str, Any] = {"result": answer(json.loads(line), served)}
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reply = {"error": " ".join(str(error).split()), "kinds": kinds, "traceback": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


def answer(request: Mapping[str, Any], served: list[Any]) -> Any:
    """The result of one request; "make" comes first and puts the embedder into ``served``."""
    call = request["call"]
    if call == "make":
        served[:] = [make(request["target"], request["options"])]
        return describe(served[0])
    embedder = served[0]
    if call == "identity":
        return embedder.identity
    if call == "embed":
        write_features(Path(request["output"]), embedder.embed(read_waveforms(Path(request["input"]))))
    elif call == "embed_text":
        text = as_text_embedder(embedder).embed_text(request["captions"])
        write_features(Path(request["output"]), [{"embedding": text}])
    return None


def make(target: str, options: Mapping[str, Any]) -> Any:
    """The embedder of a dotted class name, with these keyword arguments."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)(**options)


def describe(embedder: Any) -> dict[str, Any]:
    """What the other side must know beforehand, and the versions that go into the record.

    An embedder may name the distributions that it needs as ``distributions``; a missing one shows here.

    Raises:
        ImportError: a distribution that the embedder names is not installed.
    """
    named = {name: _version(name) for name in (*_ALWAYS_NAMED, *getattr(embedder, "distributions", ()))}
    return {
        "name": embedder.name,
        "sample_rate": embedder.sample_rate,
        "outputs": list(embedder.outputs),
        "min_samples": embedder.min_samples,
        "max_samples": embedder.max_samples,
        "environment": {
            "python": platform.python_version(),
            "packages": named,
            "all_packages": identity_of(*sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions())),
        },
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"{name} is not installed in this environment") from None


def write_waveforms(path: Path, waveforms: Sequence[Array]) -> None:
    """(S,) arrays, in order."""
    np.savez(path, *waveforms)


def read_waveforms(path: Path) -> list[Array]:
    """What :func:`write_waveforms` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[f"arr_{number}"] for number in range(len(stored.files))]


def write_features(path: Path, features: Sequence[Features]) -> None:
    """Features of several waveforms, in order."""
    named = {f"{number} {output}": row[output] for number, row in enumerate(features) for output in row}
    # The function's own argument names cannot be keys of the file: ours begin with a digit.
    np.savez(path, **cast(dict[str, Any], named))


def read_features(path: Path) -> list[Features]:
    """What :func:`write_features` wrote."""
    rows: dict[int, Features] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            number, _, output = key.partition(" ")
            rows.setdefault(int(number), {})[cast(Output, output)] = stored[key]
    return [rows[number] for number in sorted(rows)]
