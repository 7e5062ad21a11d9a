"""Which clips a shard makes: every clip in exactly one of `count` shards that end together.

The methods of one prompt, seed and duration stay together, so that their latencies pair on one device. Groups are dealt
out seed by seed, the dearest first, each to the shard with the least work so far; groups of equal cost come in the
order of a hash of their identity. The result depends on the set of clips alone: not on the order of prompts, the
machine, the process or what is done already. More seeds (above the earlier ones) move no clip of the earlier ones, and
are dealt out evenly themselves. More prompts or durations may move a clip to another shard; one that is done stays
done, because every shard reads the records of all.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from experiments.matrix.clips import Clip
from experiments.matrix.conditions import Condition, Method
from experiments.records import RECORDS_FILE
from litefocus import TokenGrid
from litefocus.cost import Method as CostMethod
from litefocus.cost import site_cost

# AudioLDM 2's published UNet, one clip with guidance. A test compares with `litefocus.cost.unet_step_cost`.
SITES, HEADS, HEAD_DIM, BATCH = 20, 8, 32, 2
SITE_FRAMES_PER_S, SITE_BINS = 12.5, 8
LINEAR_FLOPS_PER_S = 29_000_000_000
# Self-attention at coarser levels, which no method changes, as a share of dense attention at the sites.
OTHER_ATTENTION = 0.106


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a run; the default is the whole.

    Raises:
        ValueError: an index outside 0..count-1.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        whole_numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in (self.index, self.count))
        if not whole_numbers or not 0 <= self.index < self.count:
            raise ValueError(
                f"shard.index={self.index!r} shard.count={self.count!r}: accepted are whole numbers, "
                "0 <= index < count, like -m shard.count=8 'shard.index=range(8)'"
            )

    @property
    def is_whole(self) -> bool:
        """Whether this is the only shard."""
        return self.count == 1

    @property
    def name(self) -> str:
        """A part of file names, like `shard-03-of-08`; empty for the whole."""
        if self.is_whole:
            return ""
        digits = max(2, len(str(self.count)))
        return f"shard-{self.index:0{digits}}-of-{self.count:0{digits}}"

    @property
    def records_file(self) -> str:
        """The file that this shard appends records to; no other process writes it."""
        return RECORDS_FILE if self.is_whole else f"records.{self.name}.jsonl"

    def select(self, clips: Sequence[Clip]) -> list[Clip]:
        """The clips of a run that are this shard's, in the order given."""
        if self.is_whole:
            return list(clips)
        shards = assign(clips, self.count)
        return [clip for clip in clips if shards[group_of(clip)] == self.index]

    def deal(self, items: Sequence[Any]) -> list[Any]:
        """Every `count`-th item: for the few large pieces of work, such as timing one duration."""
        return list(items[self.index :: self.count])


class Group(NamedTuple):
    """The clips of one noise: all methods of a prompt, a seed and a duration."""

    prompt_id: str
    seed: int
    duration_s: float


def group_of(clip: Clip) -> Group:
    """The group of a clip."""
    return Group(clip.prompt.id, clip.seed, clip.condition.duration_s)


def assign(clips: Sequence[Clip], count: int) -> dict[Group, int]:
    """Group -> shard index, for all clips of a run."""
    clip_cost = cache(predicted_flops)
    costs: dict[Group, int] = defaultdict(int)
    for clip in clips:
        costs[group_of(clip)] += clip_cost(clip.condition)
    loads = [(0, index) for index in range(count)]
    shards = {}
    for group in sorted(costs, key=lambda group: (group.seed, -costs[group], _digest(group))):
        load, index = loads[0]
        shards[group] = index
        heapq.heapreplace(loads, (load + costs[group], index))
    return shards


def _digest(group: Group) -> bytes:
    return hashlib.sha256(f"{group.prompt_id}\0{group.seed}\0{group.duration_s:g}".encode()).digest()


def predicted_flops(condition: Condition) -> int:
    """FLOPs of a clip's denoising at AudioLDM 2's size, the yardstick for every pipeline: only ratios matter here."""
    grid = TokenGrid(max(1, round(condition.duration_s * SITE_FRAMES_PER_S)), SITE_BINS)
    dense = site_cost(grid, BATCH, HEADS, HEAD_DIM).flops * SITES
    at_sites = site_cost(grid, BATCH, HEADS, HEAD_DIM, cost_method(condition.method)).flops * SITES
    step = LINEAR_FLOPS_PER_S * condition.duration_s + OTHER_ATTENTION * dense + at_sites
    return round(step) * condition.steps


def cost_method(method: Method) -> CostMethod:
    """What `litefocus.cost` calls a method: its LiteFocusConfig if the patch takes one, else "dense" or "removed"."""
    config = getattr(method.patch, "keywords", {}).get("config")
    if config is not None:
        return config
    return "removed" if method.timing_only else "dense"
