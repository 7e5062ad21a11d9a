"""Best of several: of the clips of one prompt, the one whose audio CLAP finds closest to the caption.

A protocol that takes the best of n reports better numbers than one that counts every clip; its preset says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from evaluation.embedders.protocol import Embedder, as_text_embedder
from evaluation.embedding.cache import EmbeddingCache
from evaluation.embedding.embed import embed_captions, embed_files
from evaluation.files.pairing import Clip
from evaluation.metrics.clap_score import clap_per_clip
from evaluation.presets import Preset, Role


class Best(NamedTuple):
    """What a selection leaves."""

    clips: tuple[Clip, ...]
    """One clip per prompt, under the prompt's name, so that two methods pair whichever clip each of them kept."""
    chosen: dict[str, str]
    """Prompt to the id of the clip that was kept."""
    left_out: dict[str, str]
    """Prompt to the reason why it has none."""


def best_candidates(
    clips: Sequence[Clip], preset: Preset, embedders: Mapping[Role, Embedder], cache: EmbeddingCache, name: str
) -> Best:
    """The best clip of each prompt where the preset takes the best of several, else all clips as they are.

    Raises:
        ValueError: a prompt has another number of clips, or a clip has no caption.
    """
    if preset.candidates == 1:
        return Best(tuple(clips), {}, {})
    if bare := [clip.id for clip in clips if not clip.captions]:
        raise ValueError(f"{name}: clip {bare[0]} has no caption, by which the best of several clips is chosen")
    embedder = as_text_embedder(embedders["text"])
    files = {clip.id: clip.generated for clip in clips}
    preprocessing = preset.preprocessing("generated", "text")
    audio = embed_files(files, embedder, preprocessing, cache, description=f"{embedder.name}, {name}")
    texts = {clip.id: clip.captions[0] for clip in clips}
    scores: dict[str, float] = {}
    if audio.clip_ids:
        captions = embed_captions([texts[clip] for clip in audio.clip_ids], embedder, cache)
        for clip, features, caption in zip(audio.clip_ids, audio.features, captions, strict=True):
            windows = features["embedding"]
            scores[clip] = float(np.mean(clap_per_clip(windows, np.broadcast_to(caption, windows.shape))))
    return keep_best(clips, preset.candidates, scores)


def keep_best(clips: Sequence[Clip], count: int, scores: Mapping[str, float]) -> Best:
    """The clip of the highest score per prompt; the first of equal ones.

    Args:
        clips: all clips of all prompts.
        count: clips that every prompt has.
        scores: clip id to score; a clip without one failed, and then its prompt is left out.

    Raises:
        ValueError: a prompt has another number of clips.
    """
    by_prompt: dict[str, list[Clip]] = {}
    for clip in clips:
        by_prompt.setdefault(clip.prompt, []).append(clip)
    kept: list[Clip] = []
    chosen, left_out = {}, {}
    for prompt, candidates in by_prompt.items():
        if len(candidates) != count:
            raise ValueError(
                f"prompt {prompt} has {len(candidates)} clips; this protocol takes the best of {count}: make {count} of"
                f" each (seeds={list(range(count))}), or choose another preset"
            )
        if failed := [clip.id for clip in candidates if clip.id not in scores]:
            left_out[prompt] = f"{len(failed)} of {count} candidates failed, first {failed[0]}"
            continue
        winner = max(candidates, key=lambda clip: scores[clip.id])
        chosen[prompt] = winner.id
        kept.append(replace(winner, id=prompt))
    return Best(tuple(kept), chosen, left_out)
