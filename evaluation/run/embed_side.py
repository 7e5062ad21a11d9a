"""Embed one side of a comparison, generated or reference, as a preset asks: every network, every crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluation.embedders.protocol import Embedder
from evaluation.embedding.cache import EmbeddingCache
from evaluation.embedding.embed import EmbeddedSet, embed_files
from evaluation.embedding.preprocessing import Preprocessing
from evaluation.presets import Preset, Role


def embed_side(
    preset: Preset,
    cache: EmbeddingCache,
    embedders: Mapping[Any, Embedder],
    side: Literal["generated", "reference"],
    paths: Mapping[str, Path],
    what: str,
    crops: Mapping[str, str] | None = None,
) -> dict[Role | None, EmbeddedSet]:
    """Features per role; roles that share embedder and preprocessing share the work.

    ``what`` is for progress bars, ``crops`` as in :func:`embed_files`.
    """
    done: dict[tuple[str, Preprocessing], EmbeddedSet] = {}
    found: dict[Role | None, EmbeddedSet] = {}
    for role, embedder in embedders.items():
        preprocessing = preset.preprocessing(side, role)
        key = (embedder.identity, preprocessing)
        if key not in done:
            done[key] = _embed_crops(preset, cache, embedder, preprocessing, paths, f"{embedder.name}, {what}", crops)
        found[role] = done[key]
    return found


def _embed_crops(
    preset: Preset,
    cache: EmbeddingCache,
    embedder: Embedder,
    preprocessing: Preprocessing,
    paths: Mapping[str, Path],
    what: str,
    crops: Mapping[str, str] | None,
) -> EmbeddedSet:
    """One embedding pass, or one per crop seed with the crops side by side as windows."""
    if preprocessing.cut != "random":
        return embed_files(paths, embedder, preprocessing, cache, description=what, crops=crops)
    passes = [
        embed_files(
            paths, embedder, replace(preprocessing, seed=seed), cache, description=f"{what}, crop {seed}", crops=crops
        )
        for seed in preset.crop_seeds
    ]
    features = tuple(
        {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        for rows in zip(*(single.features for single in passes), strict=True)
    )
    return replace(passes[0], features=features)
