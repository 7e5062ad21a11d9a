"""Where a number came from, as plain data that goes into its record."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.audio.resample import RESAMPLER
from evaluation.embedders.protocol import Embedder
from evaluation.embedders.worker_embedder import WorkerEmbedder
from evaluation.files.pairing import Clip
from evaluation.files.whole import sha256_file
from evaluation.material import Material
from evaluation.presets import Preset, Role

_PROTOCOL = (
    "kl_direction",
    "kl_eps",
    "kl_pooling",
    "is_splits",
    "reference_windows",
    "crop_seeds",
    "paired",
    "several_captions",
)
_VERSIONS = ("litefocus", "numpy", "scipy", "soundfile", "soxr", "torch", "transformers")


def describe(
    preset: Preset,
    seed: int,
    embedders: Mapping[Role | None, Embedder],
    clips: Sequence[Clip],
    references: Mapping[str, Path],
    material: Material,
    candidates: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Protocol, embedders, preprocessing, versions and content hashes of one scored folder, as plain data.

    ``candidates`` holds the clip that was kept for each prompt, where the protocol takes the best of several.
    """
    fewest, most = material.windows
    return {
        "preset": preset.name,
        "preset_version": preset.version,
        "description": preset.description,
        "embedders": {str(role or "levels"): f"{e.name} {e.identity}" for role, e in embedders.items()},
        "environments": {str(role): e.environment for role, e in embedders.items() if isinstance(e, WorkerEmbedder)},
        "preprocessing": {
            f"{side} {role or 'levels'}": str(preset.preprocessing(side, role))
            for side in ("generated", "reference")
            for role in embedders
        },
        "protocol": {name: getattr(preset, name) for name in _PROTOCOL},
        "resampler": RESAMPLER,
        "seed": seed,
        "windows": fewest if fewest == most else [fewest, most],
        "short": sorted({clip for found in material.generated.values() for clip in found.short}),
        "short_references": sorted({clip for found in material.reference.values() for clip in found.short}),
        "references": _fingerprint(references),
        "generated": _fingerprint({clip.id: clip.generated for clip in clips}),
        "candidates": dict(candidates or {}),
        "versions": {name: _version(name) for name in _VERSIONS},
    }


def _fingerprint(paths: Mapping[str, Path]) -> str:
    """Hash of names and contents; a file that is missing or cannot be read is part of it: it is reported elsewhere."""
    digest = hashlib.sha256()
    for name, path in sorted(paths.items()):
        digest.update(f"{name} {_content(path)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _content(path: Path) -> str:
    if not path.is_file():
        return "missing"  # A pipe, too: opening one waits for somebody to write.
    try:
        return sha256_file(path)
    except OSError:
        return "missing"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
