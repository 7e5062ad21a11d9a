"""What a run would cost on a calibrated device: clips, hours, disk and how evenly shards would end."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from experiments.matrix.calibration import Calibration
from experiments.matrix.clips import Clip
from experiments.matrix.shards import assign, group_of

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
