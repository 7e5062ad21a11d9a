"""Records: one JSON object per line, appended when the thing it describes is safely on disk.

A run folder holds `records.jsonl`, and one `records.shard-I-of-N.jsonl` per shard that worked on it. Every line carries
`schema` and `kind`; tables, figures and pages are rendered from these lines and from nothing else. This is the only
module that knows the file format; what a line holds is in `types`.
"""

import heapq
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from experiments.records.fields import shown
from experiments.records.outdated import without_outdated_scores
from experiments.records.types import (
    RECORD_TYPES,
    ClipRecord,
    FailureRecord,
    Record,
    StartRecord,
)

logger = logging.getLogger(__name__)
R = TypeVar("R")

SCHEMA_VERSION = 1
RECORDS_FILE = "records.jsonl"
SHARD_FILE = re.compile(r"records\.shard-[0-9]+-of-[0-9]+\.jsonl")
REASONS = {"string_pattern_mismatch": "which is no safe name"}
# Half a surrogate pair, which JSON can spell and no file can hold.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class RecordError(ValueError):
    """A records file that cannot be read: damaged, or of another schema."""


def append_record(run_dir: Path, record: Record, file_name: str = RECORDS_FILE) -> None:
    """Append one line to the run's records and flush it to disk; a shard has a file of its own.

    A partial last line (a process killed while writing) is cut off first: its clip was never acknowledged.

    Raises:
        RecordError: what no reader would accept; one such line would make the whole folder unreadable.
        OSError: naming the file that cannot be written.
    """
    path = run_dir / file_name
    line = json.dumps({"schema": SCHEMA_VERSION, "kind": record.kind, **asdict(record)}, allow_nan=True).encode()
    _decode(line, f"{path}, not written")
    try:
        with path.open("ab+") as file:
            _cut_partial_line(file, path)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            f"{path}: {error.strerror or error} while writing a record; free some space, and the same command resumes"
        ) from error


def _cut_partial_line(file: Any, path: Path) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    keep = file.read().rfind(b"\n") + 1
    logger.warning("%s ends in the middle of a line: %d bytes of an unfinished record were cut off", path, size - keep)
    file.truncate(keep)
    file.seek(0, os.SEEK_END)


def read_records(run_dir: Path) -> list[Record]:
    """Read the records of a run, those of shards included, in the order of the starts that wrote them.

    That is the order of the starts' numbers, whatever a clock said. Starts of before they were numbered come first, by
    date. Of several about one clip (made again, failed, made at last) the newest, and no score of an earlier wav. Of
    identical lines the first alone: no start measures the same twice to the last digit, so the others are copies, which
    would count as repetitions.

    Args:
        run_dir: a run folder; a folder without records gives an empty list.
    Raises:
        FileNotFoundError: no such folder.
        RecordError: a line that is not a record, or of an unknown schema version or kind; errors of `record_files`. An
            unfinished last line (no line end) is the trace of a killed process: it is reported and left out.
    """
    if not run_dir.is_dir():
        raise FileNotFoundError(
            f"no run folder at {run_dir}; give the folder of a run, the one with its {RECORDS_FILE}"
        )
    seen: set[bytes] = set()
    files = [_without_copies(path, seen) for path in record_files(run_dir)]
    starts = [start for records in files for start in of_kind(records, StartRecord)]
    order = {start.run_id: (start.number, "" if start.number else start.started_at) for start in starts}
    # A merge keeps the order within a file, whatever two machines say.
    merged = list(heapq.merge(*files, key=lambda record: order.get(record.run_id, (0, ""))))
    return _newest(without_outdated_scores(merged))


def located_records(run_dir: Path) -> Iterator[tuple[str, Record]]:
    """FILE:LINE and record of every line, file by file, those that others replace included. Raises RecordError."""
    for path in record_files(run_dir):
        for number, (_, record) in enumerate(_parse_lines(path), start=1):
            yield f"{path.name}:{number}", record


def record_files(run_dir: Path) -> list[Path]:
    """The record files of a run folder that exist, those of shards behind.

    Raises:
        RecordError: another file that is named like one, such as a copy: it could be read twice, or be missed.
    """
    found = sorted(run_dir.glob("records*.jsonl"), key=lambda path: (path.name != RECORDS_FILE, path.name))
    for path in found:
        if path.name != RECORDS_FILE and not SHARD_FILE.fullmatch(path.name):
            raise RecordError(
                f"{path}: no name of a record file; accepted are {RECORDS_FILE} and records.shard-I-of-N.jsonl: move "
                "it out of the run folder, or delete it if it is a copy"
            )
    return found


def _without_copies(path: Path, seen: set[bytes]) -> list[Record]:
    """The records of the lines that are not in `seen` yet; adds them."""
    found, copies = [], 0
    for line, record in _parse_lines(path):
        copies += line in seen
        if line not in seen:
            found.append(record)
        seen.add(line)
    if copies:
        logger.warning("%s: %d lines are copies of earlier ones and are left out", path, copies)
    return found


def _newest(records: list[Record]) -> list[Record]:
    """The records without those that a later one about the same clip replaces."""
    last: dict[Any, int] = {key: number for number, record in enumerate(records) if (key := clip_key(record))}
    return [record for number, record in enumerate(records) if last.get(clip_key(record), number) == number]


def clip_key(record: Record) -> tuple[str, str, int] | None:
    """What a record of a generated or failed clip is about; None for every other record."""
    if isinstance(record, ClipRecord) or (isinstance(record, FailureRecord) and record.stage == "generate"):
        return (record.condition, record.prompt_id, record.seed)
    return None


def _parse_lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    """Every whole line and its record."""
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        logger.warning("%s ends in the middle of a line: that record is left out", path)
    for number, line in enumerate(lines[:-1], start=1):
        yield line, _decode(line, f"{path}:{number}")


def _decode(line: bytes, where: str) -> Record:
    try:
        data = json.loads(line)
        if SURROGATE.search(line):
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # also: a number of thousands of digits, endless nesting
        raise RecordError(f"{where}: not a JSON record ({error}); restore the file or delete that line") from error
    return parse_record(data, where)


def parse_record(data: Any, where: str = "record") -> Record:
    """Turn one decoded JSON object into a record.

    Raises:
        RecordError: not an object, an unknown schema version, an unknown kind, missing or unknown fields, a value of
            another type or unsafe as a name (`experiments.records.types`), or a clip that points at another one's wav.
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"{where}: got {type(data).__name__}, a record is a JSON object")
    version = data.get("schema")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{where}: got schema version {shown(version)}, this program reads {SCHEMA_VERSION};"
            " use the code that wrote it"
        )
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RECORD_TYPES:
        raise RecordError(f"{where}: got kind {shown(kind)}, accepted: {', '.join(sorted(RECORD_TYPES))}")
    values = {key: value for key, value in data.items() if key not in ("schema", "kind")}
    try:
        return RECORD_TYPES[kind](**values)
    except ValidationError as error:
        raise RecordError(f"{where}: {_told(error, kind)}; restore the file or delete that line") from error


def _told(error: ValidationError, kind: str) -> str:
    """The first thing that is wrong with a record, in words."""
    found = error.errors(include_url=False)
    first, unknown = found[0], [f["loc"][0] for f in found if f["type"] == "unexpected_keyword_argument"]
    if unknown:
        return f"unknown fields {shown(unknown)} in a {kind} record"
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"incomplete {kind} record (no {shown(place)[1:-1]})"
    reason = REASONS.get(first["type"]) or first["msg"].replace("Input should be", "accepted is")
    reason = reason.removeprefix("Value error, ")
    if not place:
        return f"a {kind} record has {reason}"
    return f"{shown(place)[1:-1]} is {shown(first['input'])} in a {kind} record, {reason}"


def of_kind(records: list[Record], cls: type[R]) -> list[R]:
    """The records of one type, in order."""
    return [record for record in records if isinstance(record, cls)]
