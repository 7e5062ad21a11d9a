"""What a record holds: one dataclass per kind of line in a run folder (experiments.records reads and writes them).

Records travel: they are copied from clusters, attached to issues, sent by strangers. Making or reading one holds it
against these types: nothing is converted but a whole number to a float, names are harmless in a path, times are times,
and what tables read out of a dict is in it (`fields`).
"""

from dataclasses import field
from typing import Any, ClassVar, Self, get_args

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from experiments.records import fields
from experiments.records.fields import CHECKED, Inside, Name, Seconds


@dataclass(frozen=True, config=CHECKED)
class StartRecord:
    """One start of a program: everything needed to say where its numbers came from.

    Attributes:
        run_id: unique per start; the other records point to it.
        config: the resolved configuration.
        environment: commit, versions, device, threads (`experiments.system.environment.describe`).
        pipeline: name, trained flag, weights identity.
        prompt_ids: ids of the prompts asked for, in order.
        number: 1 + the largest of the folder when it started: which of two starts came first is not the clock's to say.
            0 in records of before it was kept.
        overrides: the command line's, without what is private.
    """

    kind: ClassVar[str]
    run_id: Name
    started_at: str
    config: dict[str, Any]
    environment: fields.Environment
    pipeline: fields.PipelineKeys
    prompt_ids: list[str]
    number: int = 0
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True, config=CHECKED)
class RunRecord(StartRecord):
    """A start of `experiments.run`."""

    kind: ClassVar[str] = "run"
    config: fields.RunConfig


@dataclass(frozen=True, config=CHECKED)
class ProbeRunRecord(StartRecord):
    """A start of `experiments.probe`; it asks for no clips."""

    kind: ClassVar[str] = "probe_run"
    config: fields.ProbeConfig


@dataclass(frozen=True, config=CHECKED)
class ScoreRunRecord(StartRecord):
    """A start of `experiments.run` that scores or reports what is there; it loads no pipeline, its weights are none."""

    kind: ClassVar[str] = "score_run"


@dataclass(frozen=True, config=CHECKED)
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
    run_id: Name
    condition: Name
    method: Name
    duration_s: Seconds
    steps: int
    guidance: float
    prompt_id: Name
    caption: str
    seed: int
    audio: Inside
    sha256: str
    sample_rate: fields.Count
    samples: fields.Count
    latency_s: Seconds
    step_s: float
    decode_s: float

    @model_validator(mode="after")
    def _own_audio(self) -> Self:
        fields.check_audio(self.audio, self.condition, self.prompt_id, self.seed)
        return self


@dataclass(frozen=True, config=CHECKED)
class FailureRecord:
    """A clip or a timing arm that produced no number, and why."""

    kind: ClassVar[str] = "failure"
    run_id: Name
    stage: str
    condition: Name
    method: Name
    duration_s: Seconds
    reason: str
    prompt_id: Name = ""
    seed: int = 0


@dataclass(frozen=True, config=CHECKED)
class TimingRecord:
    """UNet step latencies of all arms at one duration, interleaved in one process.

    Attributes:
        latencies_s: arm -> one value per round; values with the same index were taken in the same round.
        peak_memory_gib: arm -> peak resident (CPU) or allocated (CUDA) memory of one step, model included.
        load_average: one-minute load before and after (shows a machine that was shared).
    """

    kind: ClassVar[str] = "timing"
    run_id: Name
    duration_s: Seconds
    batch: int
    grid_time: int
    grid_freq: int
    baseline: Name
    limit: Name
    labels: dict[str, str]
    latencies_s: dict[str, list[Seconds]]
    peak_memory_gib: dict[str, float | None]
    load_average: list[float] = field(default_factory=list)


@dataclass(frozen=True, config=CHECKED)
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
    run_id: Name
    level: str
    duration_s: Seconds
    regime: str
    batch: int
    steps: int
    baseline: Name
    limit: Name
    labels: dict[str, str]
    approximate: list[str]
    flops: dict[str, int | None]
    scores: dict[str, int | None]
    setup_s: dict[str, float]
    error: dict[str, float | None]
    skipped: dict[str, str]
    backend: str
    profile: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, config=CHECKED)
class RoundRecord:
    """One round of a benchmark cell: every arm once, and the matrix-product probe.

    Attributes:
        latencies_s: arm -> seconds. working_memory_gib: arm -> peak memory above what was resident before the call.
        probe_gflops: rate of the probe. load_average: one-minute load after the round.
    """

    kind: ClassVar[str] = "round"
    run_id: Name
    level: str
    duration_s: Seconds
    regime: str
    latencies_s: dict[str, Seconds]
    working_memory_gib: dict[str, float | None]
    probe_gflops: fields.Positive
    load_average: float


@dataclass(frozen=True, config=CHECKED)
class MetricRecord:
    """One metric of one condition, with its interval.

    Attributes:
        preset: the named protocol that produced the value.
        unit: what the interval resamples (for example "clip").
        baseline: the method the value is a paired difference against; empty for a plain value.
        window: window index for per-position values, -1 for the whole.
        preset_version: of the protocol. n_references: behind the value; None where it needs none.
        judges: role -> name and hash (weights, front end, options) of the network that the metric hears with.
        protocol: hash of preset, version, preprocessing and seed. material: hash of the prompts, captions and seeds
            asked for and of the references' content. Values compare where judges, protocol and material are equal.
            These are empty in records of before they were kept.
    """

    kind: ClassVar[str] = "metric"
    run_id: Name
    condition: Name
    method: Name
    duration_s: Seconds
    preset: Name
    metric: Name
    value: float
    low: float
    high: float
    n_scored: fields.Count
    n_failed: fields.Count
    unit: str
    higher_is_better: bool | None
    baseline: Name = ""
    window: int = -1
    details: fields.Details = field(default_factory=dict)
    preset_version: int | None = None
    n_references: fields.Count | None = None
    judges: dict[str, str] = field(default_factory=dict)
    protocol: str = ""
    material: str = ""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        fields.check_metric(self.value, self.low, self.high, self.n_scored, self.details.get("per_clip", {}))
        return self


@dataclass(frozen=True, config=CHECKED)
class ProbeLossRecord:
    """Teacher-forced denoising loss of single clips under one method, at one length and noise level.

    Attributes:
        t: noise level, a training timestep of the scheduler.
        noise_seed: of the added noise; records that share it, t and the length saw the same inputs.
        key_seed: of LiteFocus's sampled keys where another than the method's own was asked for, else None.
        losses: mean squared error of the model's own target, one per clip of `clip_ids`.
    """

    kind: ClassVar[str] = "probe_loss"
    run_id: Name
    method: Name
    duration_s: Seconds
    t: int
    noise_seed: int
    key_seed: int | None
    clip_ids: list[str]
    losses: list[float]

    @model_validator(mode="after")
    def _one_loss_per_clip(self) -> Self:
        if not len(set(self.clip_ids)) == len(self.clip_ids) == len(self.losses):
            raise ValueError("other than one of its losses for each of its clip_ids")
        return self


@dataclass(frozen=True, config=CHECKED)
class AttentionRecord:
    """Where one attention site of a dense model looks, as `records.site_structure.SiteStructure` says it."""

    kind: ClassVar[str] = "attention"
    run_id: Name
    duration_s: Seconds
    clip_ids: list[str]
    structure: fields.SiteValues


@dataclass(frozen=True, config=CHECKED)
class EmbeddingsRecord:
    """The file of embeddings behind a start's scores: with it they are computed again without the audio.

    Attributes:
        file: relative to the run folder. sha256, size_bytes: of it. entries: clips, references and captions in it.
    """

    kind: ClassVar[str] = "embeddings"
    run_id: Name
    file: Inside
    sha256: str
    size_bytes: int
    entries: int


Benchmark = CellRecord | RoundRecord
Measurement = ClipRecord | FailureRecord | TimingRecord | Benchmark | MetricRecord | ProbeLossRecord | AttentionRecord
Record = RunRecord | ProbeRunRecord | ScoreRunRecord | Measurement | EmbeddingsRecord
RECORD_TYPES: dict[str, type[Record]] = {cls.kind: cls for cls in get_args(Record)}
