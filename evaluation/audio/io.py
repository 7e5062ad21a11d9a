"""Audio files in and out: what is on disk or a named error with its path, never a substitute.

Shapes: C channels, T samples. Samples are float32 with full scale at 1.
"""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile

from evaluation.audio import ffmpeg
from evaluation.audio.headers import data_chunk, mp3_info_frames, mp3_names_its_length
from evaluation.audio.ogg import ogg_fault
from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array

SILENT_PEAK = 1 / 32768
"""A clip whose samples all stay below one 16-bit step is silent."""
_PEAK_LEVEL = 10 ** (-1 / 20)
_BLOCK_SAMPLES = 1 << 20
_RATES_HZ = (1_000, 768_000)
_MAX_DURATION_S = 3600
_MAX_VALUES = 1 << 28
"""Samples times channels that are held at once: an hour in mono at 48 kHz, half an hour in stereo; 1 GiB."""
_UNKNOWN_FRAMES = 0x7FFFFFFFFFFFFFFF
"""What libsndfile declares for a FLAC that was written to a pipe."""
Mono = Literal["mean", "first"]
Level = Literal["none", "peak"]


class AudioError(ValueError):
    """Audio that cannot be scored; the message starts with the path where there is one."""

    def __init__(self, problem: str, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        super().__init__(problem if path is None else f"{path}: {problem}")


class UnreadableAudioError(AudioError):
    """Not audio, or damaged beyond its header."""


class TruncatedAudioError(AudioError):
    """Holds fewer samples than its header declares, or more than the part of it that would be read."""


class EmptyAudioError(AudioError):
    """Holds no sample."""


class NonFiniteAudioError(AudioError):
    """Holds nan or inf."""


class TooShortAudioError(AudioError):
    """Shorter than what is asked of it."""


class TooLongAudioError(AudioError):
    """Longer than an hour, or than what is held in memory at once."""


class SilentAudioError(AudioError):
    """Silent where sound is required."""


class Audio(NamedTuple):
    """Samples with their rate."""

    samples: Array
    """(C, T) float32."""
    sample_rate: int
    """Hz."""


def load_audio(path: str | os.PathLike[str], *, min_duration_s: float = 0.0, allow_silent: bool = True) -> Audio:
    """Read a whole file at its own rate and channels: what libsndfile reads, by its content, and by its ending ffmpeg.

    A wav (RIFF, RIFX, RF64, W64), aiff or au is compared with the size in its own header, since libsndfile shortens a
    cut file without a word; an ogg by its pages, and an mp3 by its info frames, of which the first alone would count.
    (An ogg that lacks its last pages whole, or an mp3 without an info frame, does not declare its length: such a file
    is read to its end, and a cut cannot be seen.)

    Args:
        path: the file.
        min_duration_s: shortest duration accepted, in seconds.
        allow_silent: whether a silent clip is a result (True) or an error.

    Raises:
        FileNotFoundError: no such file.
        UnreadableAudioError, TruncatedAudioError, EmptyAudioError, NonFiniteAudioError, TooShortAudioError,
        TooLongAudioError, SilentAudioError: see each; all are :class:`AudioError`, a ValueError.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such audio file")
    if Path(path).suffix.lower() in ffmpeg.SUFFIXES:
        samples, rate = _decode(Path(path))
    else:
        samples, rate = _read(Path(path))
    channels_first = np.ascontiguousarray(samples.T)
    check_audio(channels_first, rate, path=path, min_duration_s=min_duration_s, allow_silent=allow_silent)
    return Audio(channels_first, rate)


def _decode(path: Path) -> tuple[Array, int]:
    """(T, C) samples and rate of a file that ffmpeg reads."""
    try:
        samples, rate = ffmpeg.decode(path, lambda frames, rate, channels: _check_length(frames, rate, channels, path))
    except ffmpeg.FfmpegError as error:
        raise UnreadableAudioError(str(error), path) from error
    _check_rate(rate, path)
    return samples, rate


def _read(path: Path) -> tuple[Array, int]:
    """(T, C) samples and rate of a file that libsndfile reads."""
    _check_size(path)
    try:
        with _ForwardFile(os.fsencode(path)) as file:  # as bytes, which need not be UTF-8
            declared, rate = file.frames, file.samplerate
            _check_rate(rate, path)
            is_mp3 = file.format == "MP3"
            estimated = is_mp3 and not mp3_names_its_length(path)
            if estimated or declared == _UNKNOWN_FRAMES:
                declared = 0
            _check_length(declared, rate, file.channels, path)
            samples = np.empty((0, file.channels), np.float32) if estimated else _read_samples(file, path)
        if estimated:
            samples = _read_as_stream(path)
    except soundfile.LibsndfileError as error:
        raise UnreadableAudioError(f"cannot be read as audio ({error.error_string})", path) from error
    if (fault := ogg_fault(path)) is not None:
        raise TruncatedAudioError(fault, path)
    if is_mp3 and not estimated and (count := mp3_info_frames(path)) > 1:
        raise TruncatedAudioError(
            f"{count} mp3 files in one, the first alone would be read: make one wav or flac of it", path
        )
    if len(samples) < declared:
        raise TruncatedAudioError(f"header declares {declared} samples, {len(samples)} could be read", path)
    return samples, rate


class _ForwardFile(soundfile.SoundFile):
    """Read from start to end: soundfile otherwise seeks after every block, which a FLAC of unknown length refuses."""

    def seekable(self) -> bool:
        return False


def _read_samples(file: soundfile.SoundFile, path: Path) -> Array:
    """(T, C), read in blocks: memory follows what a file holds, never what its header claims."""
    blocks: list[Array] = []
    while not blocks or len(blocks[-1]) == _BLOCK_SAMPLES:
        blocks.append(file.read(frames=_BLOCK_SAMPLES, dtype="float32", always_2d=True))
        _check_length(sum(map(len, blocks)), file.samplerate, file.channels, path)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _check_length(frames: int, rate: int, channels: int, path: Path) -> None:
    """A damaged header, or a sparse file, can stand for gigabytes: that is no clip, and must not take all memory."""
    longest = min(_MAX_DURATION_S * rate, _MAX_VALUES // channels)
    if frames > longest:
        raise TooLongAudioError(
            f"lasts {frames / rate:.0f} s or more in {channels} channels; at most"
            f" {longest / rate:.0f} s are read: cut it into clips",
            path,
        )


def _check_rate(rate: int, path: Path) -> None:
    """A header that lies about its rate would turn seconds into hours, and their resampling into all memory."""
    low, high = _RATES_HZ
    if not low <= rate <= high:
        raise UnreadableAudioError(f"header declares {rate} Hz; accepted are {low} to {high} Hz", path)


def _read_as_stream(path: Path) -> Array:
    """(T, C) of a file whose length libsndfile can only estimate: from a pipe it decodes to the end."""
    reading, writing = os.pipe()

    def feed() -> None:
        # The decoder may stop before the end, at damage: then nobody reads any more.
        with suppress(BrokenPipeError), path.open("rb") as source, os.fdopen(writing, "wb") as target:
            shutil.copyfileobj(source, target)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        with _ForwardFile(reading, closefd=True) as file:
            return _read_samples(file, path)
    finally:
        feeder.join()


def check_audio(
    samples: Array,
    sample_rate: int,
    *,
    path: str | os.PathLike[str] | None = None,
    min_duration_s: float = 0.0,
    allow_silent: bool = True,
) -> None:
    """Raise the :class:`AudioError` that fits (C, T) or (T,) samples; ``path`` goes into the message."""
    samples = real_array(samples, "samples")
    length = samples.shape[-1] if samples.ndim else 0
    if length == 0 or samples.size == 0:
        raise EmptyAudioError("holds no samples", path)
    bad = ~np.isfinite(samples)
    if bad.any():
        at = np.flatnonzero(bad.reshape(-1, length).any(axis=0))[0] / sample_rate
        raise NonFiniteAudioError(f"holds {bad.sum()} nan or inf samples, the first at {at:.3f} s", path)
    if length < round(min_duration_s * sample_rate):
        raise TooShortAudioError(f"lasts {length / sample_rate:.3f} s; at least {min_duration_s:g} s needed", path)
    if not allow_silent and np.abs(samples).max() < SILENT_PEAK:
        raise SilentAudioError("is silent (every sample below one 16-bit step)", path)


def mix_to_mono(samples: Array, how: Mono = "mean") -> Array:
    """(C, T) to (T,): the mean of the channels, or the first one as some published protocols take it."""
    if samples.ndim != 2:
        raise ValueError(f"samples have shape {samples.shape}; expected (C, T)")
    if how == "mean":
        return samples.mean(axis=0, dtype=np.float64).astype(samples.dtype)
    if how == "first":
        return samples[0]
    raise ValueError(f"how={how!r}; give 'mean' or 'first'")


def trim_to_duration(samples: Array, sample_rate: int, duration_s: float) -> Array:
    """First ``duration_s`` seconds of (..., T) samples: models emit whole latents, so "10 s" may come as 10.24 s.

    Raises:
        TooShortAudioError: the clip is shorter; it is never padded.
    """
    check_audio(samples, sample_rate, min_duration_s=duration_s)
    return samples[..., : round(duration_s * sample_rate)]


def set_level(samples: Array, level: Level) -> Array:
    """Loudness variants by name: "none" leaves samples alone, "peak" puts the largest sample at -1 dBFS.

    A silent clip stays as it is under both: there is no gain that would lift it.
    """
    if level == "none":
        return samples
    if level != "peak":
        raise ValueError(f"level={level!r}; give 'none' or 'peak'")
    peak = np.abs(samples).max(initial=0.0)
    return samples if peak < SILENT_PEAK else samples * samples.dtype.type(_PEAK_LEVEL / peak)


def int16_round_trip(samples: Array) -> Array:
    """Clip to [-1, 1], truncate to 16 bit and come back, as LAION's CLAP does before embedding; off by <= 1/32767."""
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16).astype(np.float32) / 32767


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        data = data_chunk(file)
    if data is not None and sum(data) > size:
        start, declared = data
        raise TruncatedAudioError(f"header declares {declared} bytes of samples, {size - start} are there", path)
