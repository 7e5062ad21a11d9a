"""What the metrics of one folder are computed from: the features of its clips and of their references.

Shapes: n clips, m prompts with a reference, W windows, F frames, r rows, d embedding size, C classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evaluation.embedders.protocol import Output
from evaluation.embedding.embed import SAMPLES, EmbeddedSet
from evaluation.files.pairing import Clip
from evaluation.metrics.hit_rate import ClipLabels
from evaluation.presets import Preset, Role
from evaluation.statistics.bootstrap import Array


@dataclass(frozen=True)
class Material:
    """What the metrics of one folder are computed from.

    Attributes:
        preset: the protocol.
        clips: the n scored clips.
        generated: per role, their features in the same order.
        reference: per role, features of the m references by prompt, those of the scored clips only
            where the sets are paired.
        text: per role that has captions, their (n, K, d) embeddings, nan where a clip has fewer than K.
        labels: what should be heard in each of the n clips, or None.
        outputs: per role, what its embedder gives.
        seed: of subsampling.
        memo: what metrics have computed from the references, which is the same for any of the clips.
    """

    preset: Preset
    clips: tuple[Clip, ...]
    generated: Mapping[Role | None, EmbeddedSet]
    reference: Mapping[Role | None, EmbeddedSet]
    text: Mapping[Role, Array]
    labels: tuple[ClipLabels, ...] | None
    outputs: Mapping[Role | None, tuple[Output, ...]]
    seed: int
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def window_counts(self, role: Role | None) -> list[int]:
        """Windows along each of the n clips; 1 where the second axis holds crop seeds or the clip is one window."""
        if self.preset.generated.cut == "random":
            return [1] * len(self.clips)
        return [len(features[SAMPLES]) for features in self.generated[role].features]

    @property
    def windows(self) -> tuple[int, int]:
        """Fewest and most windows along a clip."""
        counts = [count for role in self.generated for count in self.window_counts(role)]
        return min(counts), max(counts)

    def take(self, index: Sequence[int]) -> Material:
        """What some of the clips are computed from, by their place."""
        clips = tuple(self.clips[i] for i in index)
        return replace(
            self,
            clips=clips,
            generated={role: found.select([clip.id for clip in clips]) for role, found in self.generated.items()},
            text={role: rows[list(index)] for role, rows in self.text.items()},
            labels=None if self.labels is None else tuple(self.labels[i] for i in index),
        )

    def first(self, windows: int) -> Material:
        """The same clips with their first windows only."""
        cut = {
            role: replace(found, features=tuple({n: a[:windows] for n, a in f.items()} for f in found.features))
            for role, found in self.generated.items()
        }
        return replace(self, generated=cut)

    def rows(self, role: Role | None, output: Output) -> Array:
        """(n, W, ...) features of the generated clips; frames as an (n, W) array of (F, d) arrays, F may vary."""
        if output != "frames":
            return self.generated[role].stack(output)
        return boxed([list(features["frames"]) for features in self.generated[role].features])

    def reference_rows(
        self, role: Role | None, output: Output, position: int, prompts: Collection[str] | None = None
    ) -> Array:
        """(r, d) rows of the references, all or those of some prompts, to compare with the windows at a position."""
        window = position if self.preset.reference_windows == "aligned" else 0
        found = self.reference[role]
        chosen = found if prompts is None else found.select([name for name in found.clip_ids if name in prompts])
        arrays = [features[output][window] for features in chosen.features]
        return np.concatenate([array if array.ndim == 2 else array[None] for array in arrays])

    def vectors(self, role: Role) -> Array:
        """(n, W, d) one vector per clip and window: the embedding, or the mean of the frames where there is none."""
        if "embedding" in self.outputs[role]:
            return self.generated[role].stack("embedding")
        means = [features["frames"].mean(axis=1) for features in self.generated[role].features]
        return np.stack(means)

    def reference_vectors(self, role: Role, position: int, prompts: Collection[str] | None = None) -> Array:
        """(r, d) the same of the references, to compare with the windows at a position."""
        if "embedding" in self.outputs[role]:
            return self.reference_rows(role, "embedding", position, prompts)
        window = position if self.preset.reference_windows == "aligned" else 0
        found = self.reference[role]
        chosen = [n for n in found.clip_ids if prompts is None or n in prompts]
        return np.stack([features["frames"][window].mean(axis=0) for features in found.select(chosen).features])

    def prompt_numbers(self, role: Role) -> Array:
        """(n,) number of each clip's prompt, what its seeds share: in paired sets its place among the references."""
        prompts = self.reference[role].clip_ids if self.preset.paired else dict.fromkeys(c.prompt for c in self.clips)
        place = {prompt: number for number, prompt in enumerate(prompts)}
        return np.array([place[clip.prompt] for clip in self.clips])

    def frames_output(self, role: Role) -> Output:
        """Frames where the embedder has them, else one embedding per window."""
        return "frames" if "frames" in self.outputs[role] else "embedding"


def check_aligned(material: Material) -> None:
    """Raise ValueError for a reference that should be as long as its clip, window against window, and is not."""
    if material.preset.reference_windows != "aligned":
        return
    for role, found in material.reference.items():
        generated = material.generated[role].features
        windows = {c.prompt: len(f[SAMPLES]) for c, f in zip(material.clips, generated, strict=True)}
        for prompt, features in zip(found.clip_ids, found.features, strict=True):
            count, expected = len(features[SAMPLES]), windows.get(prompt, len(generated[0][SAMPLES]))
            if count != expected:
                raise ValueError(
                    f"the reference of {prompt} has {count} windows, the clip {expected}; aligned references must be as"
                    " long as the clips: cut the longer ones"
                )


def boxed(rows: list[list[Array]]) -> Array:
    """(n, W) object array of n clips' W arrays. ValueError if clips differ in W."""
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"clips have {sorted({len(row) for row in rows})} windows; all clips must have equal length")
    box = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        for k, array in enumerate(row):
            box[i, k] = array
    return box


def with_column(numbers: Array, rows: Array) -> Array:
    """(n, W, 1 + d): (n,) numbers in front of (n, W, d) rows, so that they stay together when clips are left out."""
    column = np.broadcast_to(numbers[:, None, None], (*rows.shape[:2], 1))
    return np.concatenate([column, rows], axis=2, dtype=np.float64)
