"""Rendered clips for the judges and the vocoder: drawn with other seeds than the generator's, cached on disk.

Shapes: N clips, B batch, S samples, E events. Chunks are written whole (temporary name, then rename), so a
killed run renders at most one chunk again. The cache folder is named after a hash of what the corpus renders:
a changed corpus is never mixed with old renders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from experiments.system.files import whole_file
from experiments.testbed.corpus.scenes import EVENT_NAMES, TRAIN_DURATION_S, Scene, render_scene, sample_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vocoder import load_vae, load_vocoder, reconstruct

WEIGHTS = "diffusion_pytorch_model.safetensors"
CHUNK_CLIPS = 256
INT16_SCALE = 32767.0
VERSION_SCENES = 64
TRAIN_FIRST_SEED = 10_000_000
HELDOUT_FIRST_SEED = 20_000_000


@dataclass(frozen=True)
class ClipSet:
    """N rendered clips of equal length and the scenes they were rendered from.

    Attributes:
        chunks: int16 arrays (up to CHUNK_CLIPS, S), memory-mapped.
        scenes: N scenes, in the order of the clips.
    """

    chunks: tuple[np.ndarray, ...]
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.scenes)

    def audio(self, indices: Sequence[int]) -> torch.Tensor:
        """Waveforms (B, S), float32 in [-1, 1]."""
        rows = [self.chunks[i // CHUNK_CLIPS][i % CHUNK_CLIPS] for i in indices]
        return torch.from_numpy(np.stack(rows)).float() / INT16_SCALE

    def labels(self, indices: Sequence[int]) -> torch.Tensor:
        """Which events each clip holds: (B, E), 0 or 1."""
        return event_labels([self.scenes[i] for i in indices])


def event_labels(scenes: Sequence[Scene]) -> torch.Tensor:
    """Event sets as rows of zeros and ones: (B, E) in the order of EVENT_NAMES."""
    labels = torch.zeros(len(scenes), len(EVENT_NAMES))
    for row, scene in enumerate(scenes):
        for event in scene.events:
            labels[row, EVENT_NAMES.index(event.name)] = 1.0
    return labels


@cache
def corpus_version() -> str:
    """Twelve hex digits that change with what the corpus renders: sha256 over a few short scenes and captions."""
    digest = hashlib.sha256()
    for seed in range(VERSION_SCENES):
        scene = sample_scene(seed, split="train")
        digest.update(scene.caption.encode() + _to_int16(render_scene(scene, 1.0)).tobytes())
    return digest.hexdigest()[:12]


def render_clips(root: Path, split: str, count: int, first_seed: int, duration_s: float = TRAIN_DURATION_S) -> ClipSet:
    """Render scenes first_seed, first_seed + 1, ... of a split, or read them from the cache.

    Raises:
        ValueError: count below 1; errors of sample_scene and render_scene pass through.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    scenes = tuple(sample_scene(first_seed + i, split=split) for i in range(count))
    folder = root / f"{corpus_version()}-{split}-{first_seed}-{duration_s:g}s"
    return ClipSet(_cached_chunks(folder, scenes, lambda part: _render_chunk(part, duration_s), split), scenes)


def convert_clips(
    root: Path, name: str, clips: ClipSet, convert: Callable[[torch.Tensor], torch.Tensor], batch_size: int = 8
) -> ClipSet:
    """The clips after `convert` ((B, S) -> (B, S), for example a vocoder round trip), cached under `name`.

    `name` must identify the conversion (a hash of its weights): the cache is trusted by name.
    """
    positions = {scene.seed: i for i, scene in enumerate(clips.scenes)}

    def convert_chunk(part: Sequence[Scene]) -> np.ndarray:
        indices = [positions[scene.seed] for scene in part]
        batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
        with torch.no_grad():
            return _to_int16(np.concatenate([convert(clips.audio(batch)).numpy() for batch in batches]))

    folder = root / f"{corpus_version()}-{name}"
    return ClipSet(_cached_chunks(folder, clips.scenes, convert_chunk, name), clips.scenes)


def with_round_trips(root: Path, clips: ClipSet, vocoder: str, vae: str, count: int) -> list[ClipSet]:
    """[clips], or with a vocoder folder [clips, the first `count` of them after mel analysis and vocoding].

    With a VAE folder too, the mels pass the VAE before the vocoder: what a perfect generator would sound like.
    """
    if not vocoder:
        return [clips]
    network, autoencoder = load_vocoder(Path(vocoder)), load_vae(vae) if vae else None

    def convert(audio: torch.Tensor) -> torch.Tensor:
        mels = log_mel(audio)
        return network(mels if autoencoder is None else reconstruct(autoencoder, mels))

    first = ClipSet(clips.chunks, clips.scenes[:count])
    return [clips, convert_clips(root, f"vocoded-{round_trip_digest(vocoder, vae)}", first, convert)]


def round_trip_digest(vocoder: str, vae: str) -> str:
    """Twelve hex digits of a vocoder folder's weights and configuration, and of a VAE folder's weights."""
    digest = hashlib.sha256((Path(vocoder) / WEIGHTS).read_bytes() + (Path(vocoder) / "config.json").read_bytes())
    if vae:
        digest.update((Path(vae) / WEIGHTS).read_bytes())
    return digest.hexdigest()[:12]


def round_trip_settings(vocoder: str, vae: str, count: int) -> dict[str, int | str]:
    """What a training on `with_round_trips` depends on besides its clips: how many there are, and who made them."""
    return {"round_trips": count, "round_trip_by": round_trip_digest(vocoder, vae)} if vocoder else {"round_trips": 0}


def _cached_chunks(
    folder: Path, scenes: Sequence[Scene], render: Callable[[Sequence[Scene]], np.ndarray], label: str
) -> tuple[np.ndarray, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in tqdm(range(0, len(scenes), CHUNK_CLIPS), desc=f"clips {label}", unit="chunk"):
        part = scenes[start : start + CHUNK_CLIPS]
        path = folder / f"{part[0].seed}-{len(part)}.npy"
        if not path.exists():
            with whole_file(path, shared=True) as file:
                np.save(file, render(part))
        chunks.append(np.load(path, mmap_mode="r", allow_pickle=False))
    return tuple(chunks)


def _render_chunk(scenes: Sequence[Scene], duration_s: float) -> np.ndarray:
    return _to_int16(np.stack([render_scene(scene, duration_s) for scene in scenes]))


def _to_int16(audio: np.ndarray) -> np.ndarray:
    return np.round(np.clip(audio, -1.0, 1.0) * INT16_SCALE).astype(np.int16)
