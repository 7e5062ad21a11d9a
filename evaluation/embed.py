"""From audio files to embeddings: load, prepare, cut into windows, embed in batches, cache by content.

Shapes: n clips, W windows per clip, S samples of a window, F frames of a window, d embedding size, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.audio import (
    AudioError,
    Level,
    Mono,
    TooShortAudioError,
    load_audio,
    mix_to_mono,
    set_level,
    trim_to_duration,
)
from evaluation.cache import EmbeddingCache, hash_file
from evaluation.embedders.protocol import Array, Embedder, Features, Output, TextEmbedder
from evaluation.resample import RESAMPLER, resample
from evaluation.windows import DEFAULT_WINDOW_S, aligned_windows, edge_crop, random_crop

logger = logging.getLogger(__name__)

Cut = Literal["whole", "aligned", "overlapping", "first", "last", "random"]
_PENDING_WINDOWS = 32
_SAMPLES = "samples"


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a file before the network; its text is part of every cache key and of every result.

    Attributes:
        cut: "whole" clip; "aligned" windows without overlap (the rest is dropped); "overlapping" windows every half
            window, the last one against the end; the "first", "last" or a "random" window.
        window_s: length of a window in seconds.
        seed: of the random window, which depends on it and on the clip's id alone.
        duration_s: trim to exactly this many seconds first (models emit whole latents); None leaves the length.
        allow_short: a clip shorter than a window gives one short window instead of a failure.
        mono: "mean" of the channels, or the "first" one.
        level: "none", or "peak" for -1 dBFS.
        remove_dc: subtract the mean.
        pad_to_s: append zeros up to this many seconds.
        band_limit_hz: sample rate of a round trip that empties the band above half of it; None for none.
    """

    cut: Cut = "aligned"
    window_s: float = DEFAULT_WINDOW_S
    seed: int = 0
    duration_s: float | None = None
    allow_short: bool = False
    mono: Mono = "mean"
    level: Level = "none"
    remove_dc: bool = False
    pad_to_s: float = 0.0
    band_limit_hz: int | None = None

    def describe(self, clip_id: str) -> str:
        """Text for the cache key. The clip's id is in it where it decides the window."""
        if self.cut == "random":
            return f"{self} {RESAMPLER} {clip_id}"
        return f"{replace(self, seed=0)} {RESAMPLER}"


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
) -> EmbeddedSet:
    """Embed one file per clip id.

    A file that cannot be scored becomes a :class:`Failure` with its path and reason; it is never replaced or skipped
    silently. Configuration errors (a window that the embedder cannot take) raise.

    Args:
        paths: clip id to file.
        embedder: the network.
        preprocessing: from file to windows.
        cache: looked up and filled per file; ``EmbeddingCache(None)`` for none.
        description: text of the progress bar.
    """
    _check_window(embedder, preprocessing)
    done: dict[str, Features] = {}
    failures: list[Failure] = []
    pending: list[_Pending] = []
    for clip_id, path in tqdm(paths.items(), desc=description or embedder.name, unit="clip", delay=2, leave=False):
        try:
            key = cache.key(_content(path), embedder.identity, preprocessing.describe(clip_id))
            features = cache.get(key)
            if features is None:
                pending.append(_Pending(clip_id, key, prepare(path, clip_id, embedder, preprocessing)))
            else:
                done[clip_id] = features
        except (AudioError, FileNotFoundError) as error:
            failures.append(Failure(clip_id, str(error)))
        if sum(len(entry.windows) for entry in pending) >= _PENDING_WINDOWS:
            done.update(_embed_pending(pending, embedder, cache))
            pending.clear()
    done.update(_embed_pending(pending, embedder, cache))
    kept = tuple(clip for clip in paths if clip in done)
    whole = 0 if preprocessing.cut == "whole" else round(preprocessing.window_s * embedder.sample_rate)
    short = tuple(clip for clip in kept if done[clip][_SAMPLES].min() < whole)
    return EmbeddedSet(kept, tuple(done[clip] for clip in kept), tuple(failures), short)


def prepare(path: Path, clip_id: str, embedder: Embedder, preprocessing: Preprocessing) -> list[Array]:
    """Load a file and return its windows, each (S,) float32 at the embedder's rate.

    Raises:
        FileNotFoundError, AudioError: the file cannot be scored; the message starts with its path.
    """
    audio = load_audio(path)
    try:
        samples = mix_to_mono(audio.samples, preprocessing.mono)
        keep = preprocessing.allow_short and _is_short(samples, audio.sample_rate, preprocessing)
        if preprocessing.duration_s is not None and not keep:
            samples = trim_to_duration(samples, audio.sample_rate, preprocessing.duration_s)
        if preprocessing.remove_dc:
            samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
        samples = set_level(samples, preprocessing.level)
        rate = audio.sample_rate
        if preprocessing.band_limit_hz is not None and preprocessing.band_limit_hz < rate:
            samples, rate = resample(samples, rate, preprocessing.band_limit_hz), preprocessing.band_limit_hz
        samples = resample(samples, rate, embedder.sample_rate)
        samples = np.pad(samples, (0, max(0, round(preprocessing.pad_to_s * embedder.sample_rate) - len(samples))))
        windows = cut_windows(samples, embedder.sample_rate, clip_id, preprocessing)
        _check_length(windows, embedder)
    except AudioError as error:
        raise type(error)(str(error), path) from error
    return windows


def cut_windows(samples: Array, sample_rate: int, clip_id: str, preprocessing: Preprocessing) -> list[Array]:
    """Windows (S,) of (T,) samples.

    Raises:
        TooShortAudioError: less than one window, unless ``allow_short``.
        ValueError: an unknown cut.
    """
    window_s = preprocessing.window_s
    if preprocessing.cut == "whole" or (preprocessing.allow_short and _is_short(samples, sample_rate, preprocessing)):
        return [samples]
    if preprocessing.cut == "aligned":
        return list(aligned_windows(samples[None], sample_rate, window_s)[:, 0])
    if preprocessing.cut == "overlapping":
        return _overlapping_windows(samples, sample_rate, window_s)
    if preprocessing.cut == "random":
        return [random_crop(samples, sample_rate, window_s, seed=preprocessing.seed, clip_id=clip_id)]
    if preprocessing.cut in ("first", "last"):
        where: Literal["first", "last"] = "first" if preprocessing.cut == "first" else "last"
        return [edge_crop(samples, sample_rate, window_s, where=where)]
    raise ValueError(f"cut={preprocessing.cut!r}; give whole, aligned, overlapping, first, last or random")


def embed_captions(captions: Sequence[str], embedder: TextEmbedder, cache: EmbeddingCache) -> Array:
    """(n, d) text embeddings, each caption embedded once and cached by its text."""
    keys = {caption: cache.key(f"caption {caption}", embedder.identity, "text") for caption in captions}
    known = {caption: cache.get(key) for caption, key in keys.items()}
    missing = [caption for caption, features in known.items() if features is None]
    if missing:
        for caption, row in zip(missing, embedder.embed_text(missing), strict=True):
            known[caption] = {"embedding": row}
            cache.put(keys[caption], {"embedding": row})
    return np.stack([features["embedding"] for caption in captions if (features := known[caption]) is not None])


def band_limited(preprocessing: Preprocessing, rate_hz: int) -> Preprocessing:
    """The same preprocessing behind a round trip through ``rate_hz``."""
    return replace(preprocessing, band_limit_hz=rate_hz)


class _Pending(NamedTuple):
    clip_id: str
    key: str
    windows: list[Array]


def _embed_pending(
    pending: Sequence[_Pending], embedder: Embedder, cache: EmbeddingCache
) -> Iterator[tuple[str, Features]]:
    rows = iter(embedder.embed([window for entry in pending for window in entry.windows]) if pending else [])
    for entry in pending:
        own = [next(rows) for _ in entry.windows]
        # What a cache hit gives back, whatever precision an embedder answers in: cold and warm runs are equal.
        features: Features = {
            output: np.stack([row[output] for row in own]).astype(np.float32) for output in embedder.outputs
        }
        features[_SAMPLES] = np.array([len(window) for window in entry.windows])
        cache.put(entry.key, features)
        yield entry.clip_id, features


def _content(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such audio file")
    return hash_file(path)


def _is_short(samples: Array, sample_rate: int, preprocessing: Preprocessing) -> bool:
    return len(samples) < round(preprocessing.window_s * sample_rate)


def _overlapping_windows(samples: Array, sample_rate: int, window_s: float) -> list[Array]:
    length, hop = round(window_s * sample_rate), round(window_s * sample_rate / 2)
    if len(samples) < length:
        raise TooShortAudioError(f"lasts {len(samples) / sample_rate:.3f} s; a window takes {window_s:g} s")
    starts = list(range(0, len(samples) - length + 1, hop))
    if starts[-1] + length < len(samples):
        starts.append(len(samples) - length)
    return [samples[start : start + length] for start in starts]


def _check_window(embedder: Embedder, preprocessing: Preprocessing) -> None:
    longest = embedder.max_samples
    window = round(preprocessing.window_s * embedder.sample_rate)
    if preprocessing.cut != "whole" and not embedder.min_samples <= window <= (longest or window):
        upper = "" if longest is None else f" and at most {longest / embedder.sample_rate:g} s"
        raise ValueError(
            f"window_s={preprocessing.window_s:g}; {embedder.name} takes at least"
            f" {embedder.min_samples / embedder.sample_rate:.3f} s{upper}"
        )


def _check_length(windows: Sequence[Array], embedder: Embedder) -> None:
    for window in windows:
        seconds = len(window) / embedder.sample_rate
        if len(window) < embedder.min_samples:
            needed = embedder.min_samples / embedder.sample_rate
            raise TooShortAudioError(f"lasts {seconds:.3f} s; {embedder.name} needs at least {needed:.3f} s")
        if embedder.max_samples is not None and len(window) > embedder.max_samples:
            raise ValueError(
                f"a whole clip of {seconds:g} s is too long for {embedder.name}"
                f" ({embedder.max_samples / embedder.sample_rate:g} s); cut it into windows"
            )
