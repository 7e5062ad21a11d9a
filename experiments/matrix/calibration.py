"""From a few measured clips to the seconds of any clip of a run.

clip = start + steps * step(method, duration) + decode(duration). Start, step and decode are what clip records hold.
A length that was measured keeps its own median step. For another length the step is a line in the FLOPs of the cost
model, fitted per method through the measured lengths: its intercept is what a step costs whatever its size (launching
kernels, Python), its slope the seconds per FLOP of this device.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import Condition, Method
from experiments.matrix.shards import predicted_flops
from experiments.pipelines.pipeline import GeneratedClip, Pipeline
from experiments.records import ClipRecord
from experiments.system.progress import progress

WARMUP = 1
MINIMUM_STEPS = 3


@dataclass(frozen=True)
class Sample:
    """What one clip took; the fields are those of a clip record."""

    method: str
    duration_s: float
    steps: int
    latency_s: float
    step_s: float
    decode_s: float


@dataclass(frozen=True)
class Calibration:
    """Measured clips of one pipeline on one device.

    Attributes:
        sample_rate: of the audio in Hz.
    """

    samples: Sequence[Sample]
    sample_rate: int

    def clip_s(self, condition: Condition) -> float:
        """Predicted seconds from text to wave.

        Raises:
            ValueError: no clip of the condition's method was measured.
        """
        return self._start_s + condition.steps * self.step_s(condition) + self._decode_s_per_s * condition.duration_s

    def step_s(self, condition: Condition) -> float:
        """Predicted seconds of one denoising step."""
        measured = self._steps_of(condition.method.name)
        if condition.duration_s in measured:
            return measured[condition.duration_s]
        flops = [_step_flops(condition, duration) for duration in measured]
        intercept, slope = fit_line(flops, list(measured.values()))
        return intercept + slope * _step_flops(condition, condition.duration_s)

    def _steps_of(self, method: str) -> dict[float, float]:
        """Duration -> median seconds per step."""
        steps: dict[float, list[float]] = defaultdict(list)
        for sample in self.samples:
            if sample.method == method and sample.steps >= MINIMUM_STEPS:
                steps[sample.duration_s].append(sample.step_s)
        if not steps:
            known = sorted({sample.method for sample in self.samples})
            raise ValueError(
                f"calibration holds no clip of method {method} with at least {MINIMUM_STEPS} steps (it has "
                f"{', '.join(known)}); leave plan.calibration null to measure now"
            )
        return {duration: median(values) for duration, values in steps.items()}

    @cached_property
    def _decode_s_per_s(self) -> float:
        return median(sample.decode_s / sample.duration_s for sample in self.samples)

    @cached_property
    def _start_s(self) -> float:
        """Before the first step: text encoders, noise, setting up."""
        starts = [s.latency_s - s.decode_s - s.steps * s.step_s for s in self.samples if s.steps >= MINIMUM_STEPS]
        return max(0.0, median(starts)) if starts else 0.0


def _step_flops(condition: Condition, duration_s: float) -> int:
    return predicted_flops(Condition(condition.method, duration_s, 1, condition.guidance))


def fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(intercept, slope) of least squares with both at least 0; a single x gives a line through the origin."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else mean_y / mean_x
    if slope < 0:
        return mean_y, 0.0
    if (intercept := mean_y - slope * mean_x) >= 0:
        return intercept, slope
    return 0.0, sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)


def samples_of(records: Iterable[ClipRecord], conditions: Sequence[Condition] = ()) -> list[Sample]:
    """Clip records as samples; `conditions` say which methods work across the steps."""
    methods = {condition.method.name: condition.method for condition in conditions}
    return [
        Sample(
            r.method, r.duration_s, r.steps, r.latency_s, _mean_step_s(methods.get(r.method), r, r.steps), r.decode_s
        )
        for r in records
    ]


def _mean_step_s(method: Method | None, clip: ClipRecord | GeneratedClip, steps: int) -> float:
    """Seconds that stand for every step of a loop: the median, but the mean where steps differ by design.

    A lever that computes every second step has a median of a step that it skips.
    """
    return (clip.latency_s - clip.decode_s) / steps if method and method.needs_schedule else clip.step_s


def measure(
    pipeline: Pipeline, conditions: Sequence[Condition], durations: Sequence[float], steps: int, rounds: int
) -> list[Sample]:
    """Generate a few clips of every method, interleaved, and keep only what they took.

    Args:
        durations: lengths in seconds. steps: per clip. rounds: clips per method and length, after one of warm-up.
    Raises:
        ValueError: steps or rounds out of range.
    """
    if steps < MINIMUM_STEPS or rounds < 1:
        raise ValueError(
            f"plan.steps={steps} plan.rounds={rounds}: accepted are steps >= {MINIMUM_STEPS} and rounds >= 1"
        )
    methods = {condition.method.name: condition for condition in conditions}
    samples = []
    with progress((rounds + WARMUP) * len(methods) * len(durations), "calibrating", "clip") as bar:
        for index in range(-WARMUP, rounds):
            for duration in durations:
                for name, condition in methods.items():
                    prompt = Prompt("calibration", "A dog barks")
                    with condition.method.patch(pipeline.pipe):
                        clip = pipeline.generate([prompt], [0], duration, steps, condition.guidance)[0]
                    bar.update()
                    if index >= 0:
                        step_s = _mean_step_s(condition.method, clip, steps)
                        samples.append(Sample(name, duration, steps, clip.latency_s, step_s, clip.decode_s))
    return samples
