"""What a run would cost on a calibrated device: clips, hours, disk and how evenly shards would end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.matrix.calibration import Calibration
from experiments.matrix.clips import Clip
from experiments.matrix.conditions import Condition, Method
from experiments.matrix.shards import assign, group_of, predicted_flops

BYTES_PER_SAMPLE = 2
# A wav header with its file's last partial block, and one record line with a caption.
BYTES_PER_CLIP = 4096 + 1024


class Plan(NamedTuple):
    """The cost of a run.

    Attributes:
        clip_s: condition id -> predicted seconds of one clip.
        hours: method name -> device-hours.
        disk_gib: audio and records.
        shard_hours: of each shard.
    """

    clips: int
    clip_s: dict[str, float]
    hours: dict[str, float]
    disk_gib: float
    shard_hours: list[float]


def timing_hours(
    arms: Sequence[Method], durations_s: Sequence[float], calibration: Calibration, timing: Mapping[str, Any]
) -> tuple[float, list[str]]:
    """Device-hours of the timing stage, and the arms that were not calibrated: theirs follow from FLOPs alone.

    A call of every arm a round, the baseline twice (A/A), and one more call of each that measures its memory.

    Args:
        timing: the node of the configuration: rounds, warmup, baseline.
    """
    known = {sample.method for sample in calibration.samples}
    timed = [arm for arm in arms if not arm.needs_schedule]
    yardstick = next((arm for arm in timed if arm.name in known), None)
    if yardstick is None:
        return 0.0, [arm.name for arm in timed]

    def step_s(arm: Method, duration_s: float) -> float:
        asked, measured = (Condition(method, duration_s, 1, 1.0) for method in (arm, yardstick))
        if arm.name in known:
            return calibration.step_s(asked)
        return calibration.step_s(measured) * predicted_flops(asked) / predicted_flops(measured)

    calls = [*timed, *(arm for arm in timed if arm.name == timing["baseline"])]
    a_round = sum(step_s(arm, duration) for duration in durations_s for arm in calls)
    return (timing["rounds"] + timing["warmup"] + 1) * a_round / 3600, [a.name for a in timed if a.name not in known]


def plan_run(clips: Sequence[Clip], calibration: Calibration, shard_hours: float) -> Plan:
    """Predict the cost of clips on the calibrated device.

    Args:
        shard_hours: how long one shard should take; as many shards as that needs.
    Raises:
        ValueError: shard_hours not above 0, or a method that was not calibrated.
    """
    if not shard_hours > 0:
        raise ValueError(f"plan.shard_hours {shard_hours!r}: accepted are numbers above 0")
    conditions = {clip.condition.id: clip.condition for clip in clips}
    clip_s = {name: calibration.clip_s(condition) for name, condition in conditions.items()}
    hours = {condition.method.name: 0.0 for condition in conditions.values()}
    for clip in clips:
        hours[clip.condition.method.name] += clip_s[clip.condition.id] / 3600
    count = max(1, math.ceil(sum(hours.values()) / shard_hours))
    shards = assign(clips, count)
    loads = [0.0] * count
    for clip in clips:
        loads[shards[group_of(clip)]] += clip_s[clip.condition.id] / 3600
    audio_s = sum(clip.condition.duration_s for clip in clips)
    size = audio_s * calibration.sample_rate * BYTES_PER_SAMPLE + len(clips) * BYTES_PER_CLIP
    return Plan(len(clips), clip_s, hours, size / 2**30, loads)
