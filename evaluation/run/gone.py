"""Clips whose audio is gone: whether the embeddings that were kept of them stand in for it, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evaluation.files.pairing import Clip
from evaluation.run.scorer import Scorer


def first_gone(scorer: Scorer, clips: Sequence[Clip]) -> Clip | None:
    """The first clip that has no file and lacks a kept embedding by some network; None where every clip can be scored.

    No network runs and no file is read but for the networks' identities. Of a protocol that takes the best of several
    clips all are held against the network that chooses, the others see the chosen ones only.
    """
    gone = [clip for clip in clips if not clip.generated.is_file()]
    if not gone:
        return None
    embedders = scorer.all_embedders()
    if scorer.preset.candidates > 1:
        embedders = {"text": scorer.embedders["text"]}
    needed = []
    for role, embedder in embedders.items():
        asked = scorer.preset.preprocessing("generated", role)
        seeds = scorer.preset.crop_seeds if asked.cut == "random" else (asked.seed,)
        needed += [(embedder.identity, replace(asked, seed=seed)) for seed in seeds]
    cache = scorer.cache
    for clip in gone:
        content = cache.content_of(clip.generated)
        for identity, preprocessing in needed:
            # A random window follows the clip's name or, where references are as long as the clips, the prompt's.
            names = (clip.id, clip.prompt)
            if content is None or not any(
                cache.holds(cache.key(content, identity, preprocessing.describe(name))) for name in names
            ):
                return clip
    return None
