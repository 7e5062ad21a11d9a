"""Records: one JSON object per line, appended when the thing it describes is safely on disk.

A run folder holds `records.jsonl`, and one `records.shard-I-of-N.jsonl` per shard that worked on it. Every line carries
`schema` and `kind`; tables, figures and pages are rendered from these lines and from nothing else. This is the only
module that knows the file format.
"""

import heapq
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from experiments.record_checks import problems

logger = logging.getLogger(__name__)
R = TypeVar("R")

SCHEMA_VERSION = 1
RECORDS_FILE = "records.jsonl"
SHARD_FILES = "records.shard-*-of-*.jsonl"
# The second timing of the baseline in each round: its ratio to the first is the noise.
AA_SUFFIX = "_again"


@dataclass(frozen=True)
class StartRecord:
    """One start of a program: everything needed to say where its numbers came from.

    Attributes:
        run_id: unique per start; the other records point to it.
        config: the resolved configuration.
        environment: commit, versions, device, threads (`experiments.environment.describe`).
        pipeline: name, trained flag, weights identity.
        prompt_ids: ids of the prompts asked for, in order.
    """

    run_id: str
    started_at: str
    config: dict[str, Any]
    environment: dict[str, Any]
    pipeline: dict[str, Any]
    prompt_ids: list[str]


@dataclass(frozen=True)
class RunRecord(StartRecord):
    """A start of `experiments.run`."""

    kind: ClassVar[str] = "run"


@dataclass(frozen=True)
class ProbeRunRecord(StartRecord):
    """A start of `experiments.probe`; it asks for no clips."""

    kind: ClassVar[str] = "probe_run"


@dataclass(frozen=True)
class ClipRecord:
    """One generated clip. Written only after its audio file is complete.

    Attributes:
        condition: the condition's id, also the audio folder's name.
        audio: path of the wav, relative to the run folder.
        sha256: of the wav file.
        latency_s: text to wave for this clip, model load excluded.
        step_s: median seconds per denoising step (nan with fewer than two steps).
        decode_s: after the last step: VAE and vocoder.
    """

    kind: ClassVar[str] = "clip"
    run_id: str
    condition: str
    method: str
    duration_s: float
    steps: int
    guidance: float
    prompt_id: str
    caption: str
    seed: int
    audio: str
    sha256: str
    sample_rate: int
    samples: int
    latency_s: float
    step_s: float
    decode_s: float


@dataclass(frozen=True)
class FailureRecord:
    """A clip or a timing arm that produced no number, and why."""

    kind: ClassVar[str] = "failure"
    run_id: str
    stage: str
    condition: str
    method: str
    duration_s: float
    reason: str
    prompt_id: str = ""
    seed: int = 0


@dataclass(frozen=True)
class TimingRecord:
    """UNet step latencies of all arms at one duration, interleaved in one process.

    Attributes:
        latencies_s: arm -> one value per round; values with the same index were taken in the same round.
        peak_memory_gib: arm -> peak resident (CPU) or allocated (CUDA) memory of one step, model included.
        load_average: one-minute load before and after (shows a machine that was shared).
    """

    kind: ClassVar[str] = "timing"
    run_id: str
    duration_s: float
    batch: int
    grid_time: int
    grid_freq: int
    baseline: str
    limit: str
    labels: dict[str, str]
    latencies_s: dict[str, list[float]]
    peak_memory_gib: dict[str, float | None]
    load_average: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CellRecord:
    """What a benchmark times at one level, duration and regime; its rounds follow as records of their own.

    Attributes:
        level: op, step, loop or wave. regime: eager or compiled. steps: denoising steps of a loop or wave, else 1.
        approximate: arms that compute neither dense attention nor the paper's LiteFocus.
        flops, scores: arm -> per call and as counted; None where the cost model does not cover the arm.
        setup_s: arm -> seconds to put the method in, packing and compiling included.
        error: arm -> largest difference to the output it must equal, over that output's largest value; None for none.
        skipped: arm -> why it was not timed. backend: what served the attention.
        profile: arm -> kind of module -> share of the step's time.
    """

    kind: ClassVar[str] = "cell"
    run_id: str
    level: str
    duration_s: float
    regime: str
    batch: int
    steps: int
    baseline: str
    limit: str
    labels: dict[str, str]
    approximate: list[str]
    flops: dict[str, int | None]
    scores: dict[str, int | None]
    setup_s: dict[str, float]
    error: dict[str, float | None]
    skipped: dict[str, str]
    backend: str
    profile: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundRecord:
    """One round of a benchmark cell: every arm once, and the matrix-product probe.

    Attributes:
        latencies_s: arm -> seconds. working_memory_gib: arm -> peak memory above what was resident before the call.
        probe_gflops: rate of the probe. load_average: one-minute load after the round.
    """

    kind: ClassVar[str] = "round"
    run_id: str
    level: str
    duration_s: float
    regime: str
    latencies_s: dict[str, float]
    working_memory_gib: dict[str, float | None]
    probe_gflops: float
    load_average: float


@dataclass(frozen=True)
class MetricRecord:
    """One metric of one condition, with its interval.

    Attributes:
        preset: the named protocol that produced the value.
        unit: what the interval resamples (for example "clip").
        baseline: the method the value is a paired difference against; empty for a plain value.
        window: window index for per-position values, -1 for the whole.
    """

    kind: ClassVar[str] = "metric"
    run_id: str
    condition: str
    method: str
    duration_s: float
    preset: str
    metric: str
    value: float
    low: float
    high: float
    n_scored: int
    n_failed: int
    unit: str
    higher_is_better: bool | None
    baseline: str = ""
    window: int = -1
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbeLossRecord:
    """Teacher-forced denoising loss of single clips under one method, at one length and noise level.

    Attributes:
        t: noise level, a training timestep of the scheduler.
        noise_seed: of the added noise; records that share it, t and the length saw the same inputs.
        key_seed: of LiteFocus's sampled keys where another than the method's own was asked for, else None.
        losses: mean squared error of the model's own target, one per clip of `clip_ids`.
    """

    kind: ClassVar[str] = "probe_loss"
    run_id: str
    method: str
    duration_s: float
    t: int
    noise_seed: int
    key_seed: int | None
    clip_ids: list[str]
    losses: list[float]


@dataclass(frozen=True)
class AttentionRecord:
    """Where one attention site of a dense model looks, as `experiments.probes.SiteStructure` says it."""

    kind: ClassVar[str] = "attention"
    run_id: str
    duration_s: float
    clip_ids: list[str]
    structure: dict[str, Any]


Benchmark = CellRecord | RoundRecord
Measurement = ClipRecord | FailureRecord | TimingRecord | Benchmark | MetricRecord | ProbeLossRecord | AttentionRecord
Record = RunRecord | ProbeRunRecord | Measurement
RECORD_TYPES: dict[str, type[Record]] = {cls.kind: cls for cls in get_args(Record)}


class RecordError(ValueError):
    """A records file that cannot be read: damaged, or of another schema."""


def append_record(run_dir: Path, record: Record, file_name: str = RECORDS_FILE) -> None:
    """Append one line to the run's records and flush it to disk; a shard has a file of its own.

    A partial last line (a process killed while writing) is cut off first: its clip was never acknowledged.
    """
    path = run_dir / file_name
    line = json.dumps({"schema": SCHEMA_VERSION, "kind": record.kind, **asdict(record)}, allow_nan=True)
    with path.open("ab+") as file:
        _cut_partial_line(file, path)
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


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

    Of several about one clip (made again, failed, made at last) the newest.

    Args:
        run_dir: a run folder; a folder without records gives an empty list.
    Raises:
        RecordError: a line that is not a record, or of an unknown schema version or kind. An unfinished last line
            (no line end) is the trace of a killed process: it is reported and left out.
    """
    files = [list(_parse_lines(path)) for path in record_files(run_dir)]
    started = {run.run_id: run.started_at for records in files for run in of_kind(records, RunRecord)}
    # A merge keeps the order within a file whatever the clocks of two machines say.
    return _newest(list(heapq.merge(*files, key=lambda record: started.get(record.run_id, ""))))


def record_files(run_dir: Path) -> list[Path]:
    """The record files of a run folder that exist."""
    whole = run_dir / RECORDS_FILE
    return [path for path in (whole, *sorted(run_dir.glob(SHARD_FILES))) if path.exists()]


def _newest(records: list[Record]) -> list[Record]:
    """The records without those that a later one about the same clip replaces."""
    last: dict[Any, int] = {key: number for number, record in enumerate(records) if (key := _clip_key(record))}
    return [record for number, record in enumerate(records) if last.get(_clip_key(record), number) == number]


def _clip_key(record: Record) -> tuple[str, str, int] | None:
    """What a record of a generated or failed clip is about; None for every other record."""
    if isinstance(record, ClipRecord) or (isinstance(record, FailureRecord) and record.stage == "generate"):
        return (record.condition, record.prompt_id, record.seed)
    return None


def _parse_lines(path: Path) -> Iterator[Record]:
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        logger.warning("%s ends in the middle of a line: that record is left out", path)
    for number, line in enumerate(lines[:-1], start=1):
        where = f"{path}:{number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:  # also: a number of thousands of digits, endless nesting
            raise RecordError(f"{where}: not a JSON record ({error}); restore the file or delete that line") from error
        yield parse_record(data, where)


def parse_record(data: Any, where: str = "record") -> Record:
    """Turn one decoded JSON object into a record.

    Raises:
        RecordError: not an object, an unknown schema version, an unknown kind, missing or unknown fields, or a value
            of another type or unsafe as a name (`experiments.record_checks`).
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"{where}: got {type(data).__name__}, a record is a JSON object")
    version = data.get("schema")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{where}: got schema version {version!r}, this program reads {SCHEMA_VERSION}; use the code that wrote it"
        )
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RECORD_TYPES:
        raise RecordError(f"{where}: got kind {kind!r}, accepted: {', '.join(sorted(RECORD_TYPES))}")
    cls = RECORD_TYPES[kind]
    values = {key: value for key, value in data.items() if key not in ("schema", "kind")}
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise RecordError(f"{where}: unknown fields {unknown} in a {kind} record, accepted: {sorted(known)}")
    try:
        record = cls(**values)
    except TypeError as error:
        raise RecordError(f"{where}: incomplete {kind} record ({error})") from error
    if problem := next(problems(record), ""):
        raise RecordError(f"{where}: {problem} in a {kind} record; restore the file or delete that line")
    return record


def of_kind(records: list[Record], cls: type[R]) -> list[R]:
    """The records of one type, in order."""
    return [record for record in records if isinstance(record, cls)]
