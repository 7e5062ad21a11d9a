"""From audio files to embeddings: prepare, embed in batches, cache by content.

Shapes: n clips, W windows per clip, S samples of a window, F frames of a window, d embedding size, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.audio.io import AudioError, UnreadableAudioError
from evaluation.embedders.protocol import Array, Embedder, Features, Output, TextEmbedder
from evaluation.embedding.cache import SAMPLES, EmbeddingCache
from evaluation.embedding.prefetch import prefetched
from evaluation.embedding.preprocessing import Preprocessing, check_window, prepare
from evaluation.files.whole import sha256_file

_PENDING_WINDOWS = 32


class Failure(NamedTuple):
    """A clip that has no number, and why."""

    clip_id: str
    reason: str


@dataclass(frozen=True)
class EmbeddedSet:
    """Features of the clips that could be embedded, in the order asked for.

    Attributes:
        clip_ids: n ids.
        features: per clip, arrays with a leading window axis: "frames" (W, F, d), "embedding" (W, d), "logits" (W, C),
            and "samples" (W,), the length of each window.
        failures: the clips that could not, with the reason.
        short: ids of clips that were kept although shorter than a window.
    """

    clip_ids: tuple[str, ...]
    features: tuple[Features, ...]
    failures: tuple[Failure, ...] = ()
    short: tuple[str, ...] = ()
    _index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._index.update({clip: number for number, clip in enumerate(self.clip_ids)})

    def select(self, clip_ids: Sequence[str]) -> EmbeddedSet:
        """The same set with these clips only, in this order."""
        features = tuple(self.features[self._index[clip]] for clip in clip_ids)
        short = tuple(clip for clip in clip_ids if clip in self.short)
        return EmbeddedSet(tuple(clip_ids), features, self.failures, short)

    def stack(self, output: Output) -> Array:
        """(n, W, ...) array of one output.

        Raises:
            ValueError: clips differ in the number of windows or frames, or there are none.
        """
        arrays = [features[output] for features in self.features]
        if not arrays or len({array.shape for array in arrays}) != 1:
            shapes = sorted({array.shape for array in arrays})
            raise ValueError(f"{output} of {len(arrays)} clips has shapes {shapes}; all clips must have equal length")
        return np.stack(arrays)

    def first_windows(self, output: Output) -> tuple[Array, Array]:
        """Rows (r, d) of every clip's first window, and the clip number (r,) of every row."""
        arrays = [features[output][0] for features in self.features]
        rows = [array if array.ndim == 2 else array[None] for array in arrays]
        return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def embed_files(
    paths: Mapping[str, Path],
    embedder: Embedder,
    preprocessing: Preprocessing,
    cache: EmbeddingCache,
    *,
    description: str = "",
    crops: Mapping[str, str] | None = None,
) -> EmbeddedSet:
    """Embed one file per clip id.

    A file that cannot be scored, or whose embedding is not finite, becomes a :class:`Failure` with its path and
    reason; it is never replaced or skipped silently. Configuration errors (a window that the embedder cannot take)
    raise.

    Files are read and decoded ahead of the network, a few at a time.

    Args:
        paths: clip id to file.
        embedder: the network.
        preprocessing: from file to windows.
        cache: looked up and filled per file; ``EmbeddingCache(None)`` for none.
        description: text of the progress bar.
        crops: clip id to the name that decides its random window; a clip that is not in it has its own id.
    """
    check_window(embedder, preprocessing)
    done: dict[str, Features] = {}
    failures: list[Failure] = []
    pending: list[_Pending] = []
    found = prefetched(lambda item: _find(*item, embedder, preprocessing, cache, crops or {}), list(paths.items()))
    for entry in tqdm(found, description or embedder.name, len(paths), unit="clip", delay=2, leave=False):
        if isinstance(entry, Failure):
            failures.append(entry)
        elif isinstance(entry, _Pending):
            pending.append(entry)
        else:
            done.update(entry)
        if sum(len(entry.windows) for entry in pending) >= _PENDING_WINDOWS:
            done.update(_embed_pending(pending, embedder, cache))
            pending.clear()
    done.update(_embed_pending(pending, embedder, cache))
    undefined = {clip for clip, features in done.items() if not _is_finite(features)}
    failures += [
        Failure(clip, f"{paths[clip]}: {embedder.name} gives nan or inf") for clip in done if clip in undefined
    ]
    kept = tuple(clip for clip in paths if clip in done and clip not in undefined)
    whole = 0 if preprocessing.cut == "whole" else round(preprocessing.window_s * embedder.sample_rate)
    short = tuple(clip for clip in kept if done[clip][SAMPLES].min() < whole)
    return EmbeddedSet(kept, tuple(done[clip] for clip in kept), tuple(failures), short)


def embed_captions(captions: Sequence[str], embedder: TextEmbedder, cache: EmbeddingCache) -> Array:
    """(n, d) text embeddings, each caption embedded once and cached by its text. ValueError for nan or inf."""
    keys = {caption: cache.key(f"caption {caption}", embedder.identity, "text") for caption in captions}
    known = {caption: cache.get(key, ("embedding",)) for caption, key in keys.items()}
    missing = [caption for caption, features in known.items() if features is None]
    if missing:
        for caption, row in zip(missing, embedder.embed_text(missing), strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"{embedder.name} gives nan or inf for the caption {caption!r}; leave it out")
            known[caption] = cache.put(keys[caption], {"embedding": row})
    return np.stack([features["embedding"] for caption in captions if (features := known[caption]) is not None])


def embed_several_captions(captions: Sequence[tuple[str, ...]], embedder: TextEmbedder, cache: EmbeddingCache) -> Array:
    """(n, K, d) embeddings of the captions of n clips, nan where a clip has fewer than K."""
    rows = embed_captions([text for texts in captions for text in texts], embedder, cache)
    padded = np.full((len(captions), max(map(len, captions)), rows.shape[1]), np.nan, np.float32)
    padded[np.arange(padded.shape[1]) < np.array([[len(texts)] for texts in captions])] = rows
    return padded


class _Pending(NamedTuple):
    clip_id: str
    key: str
    windows: list[Array]


def _find(
    clip_id: str,
    path: Path,
    embedder: Embedder,
    preprocessing: Preprocessing,
    cache: EmbeddingCache,
    crops: Mapping[str, str],
) -> dict[str, Features] | _Pending | Failure:
    """What the cache holds of a file, or its windows, or why there are none."""
    crop = crops.get(clip_id, clip_id)
    try:
        key = cache.key(_content(path, cache), embedder.identity, preprocessing.describe(crop))
        features = cache.get(key, (*embedder.outputs, SAMPLES))
        if features is not None:
            return {clip_id: features}
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such audio file, and no embedding of it by {embedder.name} was kept")
        return _Pending(clip_id, key, prepare(path, crop, embedder, preprocessing))
    except (AudioError, FileNotFoundError) as error:
        return Failure(clip_id, str(error))


def _embed_pending(
    pending: Sequence[_Pending], embedder: Embedder, cache: EmbeddingCache
) -> Iterator[tuple[str, Features]]:
    rows = iter(embedder.embed([window for entry in pending for window in entry.windows]) if pending else [])
    for entry in pending:
        own = [next(rows) for _ in entry.windows]
        features: Features = {output: np.stack([row[output] for row in own]) for output in embedder.outputs}
        features[SAMPLES] = np.array([len(window) for window in entry.windows])
        yield entry.clip_id, cache.put(entry.key, features) if _is_finite(features) else features


def _is_finite(features: Features) -> bool:
    return all(np.isfinite(array).all() for array in features.values())


def _content(path: Path, cache: EmbeddingCache) -> str:
    if not path.is_file():
        if (known := cache.content_of(path)) is not None:
            return known
        raise FileNotFoundError(f"{path}: no such audio file")
    try:
        return sha256_file(path)
    except OSError as error:
        raise UnreadableAudioError(f"cannot be read ({type(error).__name__}: {error.strerror})", path) from error
