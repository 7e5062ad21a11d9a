"""A clip: what identifies a generated file, and all that a run asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import Condition
from experiments.records.audio_path import audio_path


@dataclass(frozen=True)
class Clip:
    """One unit of work: what identifies a generated file."""

    condition: Condition
    prompt: Prompt
    seed: int

    @property
    def audio(self) -> str:
        """Path of the wav relative to the run folder."""
        return audio_path(self.condition.id, self.prompt.id, self.seed)


def plan_clips(conditions: Sequence[Condition], prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Clip]:
    """All clips of a run; the methods of one duration, prompt and seed stand together, so their latencies pair."""
    durations = list(dict.fromkeys(condition.duration_s for condition in conditions))
    return [
        Clip(condition, prompt, seed)
        for duration in durations
        for prompt in prompts
        for seed in seeds
        for condition in conditions
        if condition.duration_s == duration and not condition.method.timing_only
    ]
