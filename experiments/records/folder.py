"""Guards of a run folder: one writer at a time, and no mixing of clips made under different settings."""

import fcntl
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.records import ScoreRunRecord, StartRecord

LOCK_FILE = ".lock"
# Settings that change a clip without showing in its condition's name, and those that change a probe's reading, with
# what is tuning of other stages or says nothing about the result left out.
CLIP_KEYS = ("pipeline", "dtype", "exact_batches", "decode_in_chunks")
PROBE_KEYS = ("pipeline", "dtype", "front_end", "data.references")
NOT_SHARED = {
    # Its name and the digest of its weights say which pipeline it is, wherever its class lives.
    "pipeline": ("_target_", "durations", "steps", "guidance", "timing_rounds", "stages", "max_duration_s", "licence"),
    "data.references": ("folder",),  # where references that are rendered are kept
}
NOT_OF_METHOD = ("label", "parts", "needs_schedule")
# What a record that does not say it did: options that are younger, and defaults of the class that some files left out.
BEFORE = {"stream": "count", "blocks": "all", "same_frequency": True, "cross_frequency": True}
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
        except OSError as error:
            raise OSError(
                f"{path} cannot be locked ({error.strerror}), and two processes could mix their clips; set out_dir to "
                "a folder on a file system with locks (a local disk, or a network one mounted with them)"
            ) from error
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


def check_same_settings(
    previous: Sequence[StartRecord], config: Mapping[str, Any], keys: Sequence[str] = CLIP_KEYS
) -> None:
    """Refuse to resume a run whose clips, or a probe whose readings, were made under other settings.

    Args:
        previous: records of the folder's starts, oldest first.
        config: the resolved configuration of this start.
        keys: of the configuration that must be equal, besides the methods that both have.
    Raises:
        ValueError: naming what differs, before and now.
    """
    for record in previous:
        differences = list(_differences(shared_settings(record.config, keys), shared_settings(config, keys)))
        if differences:
            shown = "; ".join(differences[:SHOWN]) + ("; ..." if len(differences) > SHOWN else "")
            raise ValueError(
                f"this run folder was made with other settings: {shown}; set another name or out_dir, or "
                "what it was made with"
            )


def check_same_spelling(previous: Sequence[StartRecord], prompt_ids: Sequence[str]) -> None:
    """Raise ValueError for an id that an earlier start has in other letter case: some file systems keep one file."""
    before = {known.lower(): known for record in previous for known in record.prompt_ids}
    for prompt_id in prompt_ids:
        if (known := before.get(prompt_id.lower(), prompt_id)) != prompt_id:
            raise ValueError(
                f"the prompt id {prompt_id!r} and {known!r} of an earlier start differ in case only, which some file "
                "systems do not tell apart; give it another id, or set another name or out_dir"
            )


def check_same_weights(previous: Sequence[StartRecord], weights: str) -> None:
    """Raise ValueError if the folder's clips were made with other weights, wherever they were loaded from."""
    for before in (record.pipeline["weights"] for record in previous if not isinstance(record, ScoreRunRecord)):
        if before != weights:
            raise ValueError(
                f"this run folder was made with weights {before}, now {weights}; set another name or out_dir"
            )


Settings = dict[str, dict[str, Any]]


def shared_settings(config: Mapping[str, Any], keys: Sequence[str] = CLIP_KEYS) -> Settings:
    """Group -> flat key -> value: a group for each of `keys` that the configuration has, and one per method's name.

    A `_target_` counts without its module: code that moved to another file is the same code.
    """
    groups: Settings = {}
    for name in keys:
        parent, _, key = name.rpartition(".")
        node = config.get(parent, {}) if parent else config
        if key in node:
            groups[name] = {k: v for k, v in _flatten(node[key]).items() if k not in NOT_SHARED.get(name, ())}
    for method in (config["methods"] or {"method": config["method"]}).values():
        settings = {k: _completed(v) for k, v in method.items() if k not in NOT_OF_METHOD}
        groups[f"method {method['name']}"] = _flatten(settings)
    return groups


def _completed(value: Any) -> Any:
    """A setting in which LiteFocus's younger options stand: records from before them did what is written here."""
    if isinstance(value, list | tuple):
        return [_completed(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    before = BEFORE if str(value.get("_target_")).endswith("LiteFocusConfig") else {}
    return before | {key: _completed(inner) for key, inner in value.items()}


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "_convert_":  # how Hydra hands lists over, not what is done
            continue
        if key == "_target_":
            inner = str(inner).rpartition(".")[2]
        flat |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _differences(before: Settings, now: Settings) -> Iterator[str]:
    """Changed values; a group (a method, a setting that is new in the program) that only one has is no difference."""
    for group in sorted(set(before) & set(now)):
        old, new = before[group], now[group]
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                name = f"{group}.{key}" if key else group
                yield f"{name} was {old.get(key)!r}, now {new.get(key)!r}"
