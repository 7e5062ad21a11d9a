"""Guards of a run folder: one writer at a time, and no mixing of clips made under different settings."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.records import RunRecord

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
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Raises:
        ValueError: another process holds it; says which and since when.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{run_dir} is in use by {file.read().strip() or 'another process'}; wait, or set another out_dir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} since {datetime.now(UTC).isoformat(timespec='seconds')}\n")
        file.flush()
        yield


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


def check_same_weights(previous: list[RunRecord], weights: str) -> None:
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
