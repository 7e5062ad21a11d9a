"""Guards of a run folder: one writer at a time, and no mixing of clips made under different settings."""

import fcntl
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.records import RunRecord, StartRecord

LOCK_FILE = ".lock"
# Settings that change a clip without showing in its condition's name, with what is tuning of other stages left out.
SHARED_KEYS = ("pipeline", "dtype", "exact_batches", "decode_in_chunks")
NOT_AUDIO = (
    "pipeline.durations",
    "pipeline.steps",
    "pipeline.guidance",
    "pipeline.timing_rounds",
    "pipeline.stages",
    "pipeline.max_duration_s",
)
SHOWN = 5


@contextmanager
def locked(run_dir: Path, shard: str = "") -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Args:
        shard: name of the shard that this process works on. Shards share the folder and hold a lock each; empty is
            the whole run, alone in its folder.
    Raises:
        ValueError: another process holds it; says which, where and since when.
        OSError: the folder cannot be written.
    """
    check_writable(run_dir)
    own = _flock(run_dir / f"{LOCK_FILE}.{shard}", fcntl.LOCK_EX) if shard else nullcontext()
    with _flock(run_dir / LOCK_FILE, fcntl.LOCK_SH if shard else fcntl.LOCK_EX), own:
        yield


@contextmanager
def _flock(path: Path, operation: int) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{path.parent} is in use by {_owner(file.read())}; wait, or set another out_dir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {platform.node()} {datetime.now(UTC).isoformat(timespec='seconds')}\n")
        file.flush()
        try:
            yield
        finally:
            if operation == fcntl.LOCK_EX:  # Others may share the lock still; the text is theirs too.
                file.truncate(0)


def _owner(text: str) -> str:
    """Who holds a lock and for how long, from what the holder wrote."""
    try:
        process, node, since = text.split()
        age = datetime.now(UTC) - datetime.fromisoformat(since)
    except (ValueError, TypeError):
        return "another process"
    return f"process {process} on {node} since {since} ({timedelta(seconds=int(age.total_seconds()))} ago)"


def check_writable(run_dir: Path) -> None:
    """Make the run folder, or raise OSError that names it: nothing else should be the first to find out."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / LOCK_FILE).open("a"):
            pass
    except OSError as error:
        raise OSError(f"{run_dir} cannot be written ({error.strerror}); set out_dir to a folder that can") from error


def check_same_settings(previous: list[RunRecord], config: Mapping[str, Any]) -> None:
    """Refuse to resume a run whose clips were made under other settings.

    Args:
        previous: run records of the folder, oldest first.
        config: the resolved configuration of this start.
    Raises:
        ValueError: naming what differs, before and now.
    """
    for record in previous:
        differences = list(_differences(audio_settings(record.config), audio_settings(config)))
        if differences:
            shown = "; ".join(differences[:SHOWN]) + ("; ..." if len(differences) > SHOWN else "")
            raise ValueError(f"this run folder was made with other settings: {shown}; set another name or out_dir")


def check_same_weights(previous: Sequence[StartRecord], weights: str) -> None:
    """Raise ValueError if the folder's clips were made with other weights, wherever they were loaded from."""
    for record in previous:
        if record.pipeline["weights"] != weights:
            raise ValueError(
                f"this run folder was made with weights {record.pipeline['weights']}, now {weights}; "
                "set another name or out_dir"
            )


def audio_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flat `key -> value` of everything that shapes a clip besides its condition's name; methods go by name."""
    flat: dict[str, Any] = {}
    for key in SHARED_KEYS:
        flat.update(_flatten(key, config.get(key)))
    for method in (config["methods"] or {"method": config["method"]}).values():
        flat.update(_flatten(f"method {method['name']}", {k: v for k, v in method.items() if k != "label"}))
    return {key: value for key, value in flat.items() if key not in NOT_AUDIO}


def _flatten(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flatten(f"{prefix}.{key}", inner).items()}


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Changed values; a method that only one of them has is not a difference."""
    for key in sorted(set(before) | set(now)):
        method = key.split(".")[0] + "."
        shared = all(any(k.startswith(method) for k in side) for side in (before, now)) or "." not in key
        if shared and before.get(key) != now.get(key):
            yield f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
