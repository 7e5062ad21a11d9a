"""From a file to the waveforms that an embedder takes: channels, length, level, rate, windows.

Shapes: S samples of a window, T samples of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.audio.io import (
    AudioError,
    Level,
    Mono,
    TooShortAudioError,
    UnreadableAudioError,
    load_audio,
    mix_to_mono,
    set_level,
    trim_to_duration,
)
from evaluation.audio.resample import RESAMPLER, resample
from evaluation.audio.windows import DEFAULT_WINDOW_S, aligned_windows, edge_crop, random_crop
from evaluation.embedders.protocol import Embedder
from evaluation.statistics.bootstrap import Array

Cut = Literal["whole", "aligned", "overlapping", "first", "last", "random"]


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


def prepare(path: Path, clip_id: str, embedder: Embedder, preprocessing: Preprocessing) -> list[Array]:
    """Load a file and return its windows, each (S,) float32 at the embedder's rate.

    Raises:
        FileNotFoundError, AudioError: the file cannot be scored; the message starts with its path.
        ValueError: a whole clip that is too long for the embedder.
    """
    try:
        windows = _read_windows(path, clip_id, embedder, preprocessing)
        _check_shortest(windows, embedder)
    except FileNotFoundError:
        raise
    except AudioError as error:
        if error.path is not None:
            raise
        raise type(error)(str(error), path) from error
    except Exception as error:
        # Whatever a disk, a decoder or a lack of memory makes of one file is that file's failure, not the run's.
        raise UnreadableAudioError(f"cannot be read ({type(error).__name__}: {error})", path) from error
    _check_longest(windows, embedder)
    return windows


def _read_windows(path: Path, clip_id: str, embedder: Embedder, preprocessing: Preprocessing) -> list[Array]:
    audio = load_audio(path)
    samples = mix_to_mono(audio.samples, preprocessing.mono)
    duration_s = preprocessing.duration_s
    if duration_s is not None and not _may_stay_short(samples, audio.sample_rate, duration_s, preprocessing):
        samples = trim_to_duration(samples, audio.sample_rate, duration_s)
    if preprocessing.remove_dc:
        samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    samples = set_level(samples, preprocessing.level)
    rate = audio.sample_rate
    if preprocessing.band_limit_hz is not None and preprocessing.band_limit_hz < rate:
        samples, rate = resample(samples, rate, preprocessing.band_limit_hz), preprocessing.band_limit_hz
    samples = resample(samples, rate, embedder.sample_rate)
    samples = np.pad(samples, (0, max(0, round(preprocessing.pad_to_s * embedder.sample_rate) - len(samples))))
    return cut_windows(samples, embedder.sample_rate, clip_id, preprocessing)


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


def band_limited(preprocessing: Preprocessing, rate_hz: int) -> Preprocessing:
    """The same preprocessing behind a round trip through ``rate_hz``."""
    return replace(preprocessing, band_limit_hz=rate_hz)


def _may_stay_short(samples: Array, sample_rate: int, duration_s: float, preprocessing: Preprocessing) -> bool:
    shortest = round(min(duration_s, preprocessing.window_s) * sample_rate)
    return preprocessing.allow_short and len(samples) < shortest


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


def check_window(embedder: Embedder, preprocessing: Preprocessing) -> None:
    """Raise ValueError for a window that the embedder cannot take."""
    longest = embedder.max_samples
    window = round(preprocessing.window_s * embedder.sample_rate)
    if preprocessing.cut != "whole" and not embedder.min_samples <= window <= (longest or window):
        upper = "" if longest is None else f" and at most {longest / embedder.sample_rate:g} s"
        raise ValueError(
            f"window_s={preprocessing.window_s:g}; {embedder.name} takes at least"
            f" {embedder.min_samples / embedder.sample_rate:.3f} s{upper}"
        )


def _check_shortest(windows: Sequence[Array], embedder: Embedder) -> None:
    shortest = min(len(window) for window in windows)
    if shortest < embedder.min_samples:
        seconds, needed = (count / embedder.sample_rate for count in (shortest, embedder.min_samples))
        raise TooShortAudioError(f"lasts {seconds:.3f} s; {embedder.name} needs at least {needed:.3f} s")


def _check_longest(windows: Sequence[Array], embedder: Embedder) -> None:
    longest = max(len(window) for window in windows)
    if embedder.max_samples is not None and longest > embedder.max_samples:
        raise ValueError(
            f"a whole clip of {longest / embedder.sample_rate:g} s is too long for {embedder.name}"
            f" ({embedder.max_samples / embedder.sample_rate:g} s); cut it into windows"
        )
