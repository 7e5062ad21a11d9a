"""A zoo of audio files: format, rate, channels and header fault, each with its samples or its error."""

import io
import shutil
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
import soundfile

from evaluation.audio import ffmpeg
from evaluation.audio.io import AudioError, EmptyAudioError, TruncatedAudioError, UnreadableAudioError, load_audio
from evaluation.evaluate import evaluate
from evaluation.files.names import AUDIO_SUFFIXES

SECONDS = 1.3
MEMORY_BYTES = 64 << 20
DELAY = 4000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def tone(rate, channels=1, seconds=SECONDS):
    """(T, C): another frequency in every channel, so that a swapped or missing channel shows."""
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * (300 + 110 * c) * time + 1) for c in range(channels)], axis=1)


def similarity(heard, expected):
    """Worst correlation over channels of a tenth of a second in the middle, at the best of all delays a codec has."""
    length, start = len(expected) // 13, len(expected) // 3
    found = []
    for one, other in zip(heard.T.astype(np.float64), expected.T, strict=True):
        part = other[start : start + length]
        near = np.lib.stride_tricks.sliding_window_view(one[max(0, start - DELAY) : start + length + DELAY], length)
        found.append(np.max(near @ part / (np.linalg.norm(near, axis=1) * np.linalg.norm(part) + 1e-9)))
    return min(found)


# Ending, container, coding, rates, channels, largest error of a sample (None: a lossy codec, compared by correlation),
# and how many samples its blocks may add.
WRITTEN = [
    ("wav", "WAV", "PCM_U8", (8000,), (1, 2), 2**-7, 0),
    ("wav", "WAV", "PCM_16", (8000, 22050, 48000, 192000), (1, 2, 6), 2**-15, 0),
    ("wav", "WAV", "PCM_24", (44100,), (1, 2), 2**-22, 0),
    ("wav", "WAV", "PCM_32", (11025,), (1,), 2**-22, 0),
    ("wave", "WAV", "FLOAT", (16000, 96000), (1, 8), 2**-22, 0),
    ("bwf", "WAVEX", "DOUBLE", (32000,), (2,), 2**-22, 0),
    ("wav", "WAV", "ULAW", (8000,), (1,), 0.02, 0),
    ("wav", "WAV", "ALAW", (8000,), (1,), 0.02, 0),
    ("wav", "WAV", "IMA_ADPCM", (16000,), (1, 2), None, 600),
    ("wav", "WAV", "MS_ADPCM", (16000,), (1,), None, 600),
    ("wav", "WAV", "GSM610", (8000,), (1,), None, 640),
    ("rf64", "RF64", "PCM_16", (44100,), (2,), 2**-15, 0),
    ("w64", "W64", "PCM_16", (8000, 44100), (1, 2), 2**-15, 0),
    ("aiff", "AIFF", "PCM_16", (22050, 44100), (1, 2), 2**-15, 0),
    ("aif", "AIFF", "PCM_24", (48000,), (6,), 2**-22, 0),
    ("aifc", "AIFF", "FLOAT", (48000,), (2,), 2**-22, 0),
    ("au", "AU", "PCM_16", (8000, 44100), (1, 2), 2**-15, 0),
    ("snd", "AU", "ULAW", (8000,), (1,), 0.02, 0),
    ("caf", "CAF", "PCM_16", (44100,), (1, 2), 2**-15, 0),
    ("caf", "CAF", "ALAC_16", (44100,), (2,), 2**-15, 0),
    ("flac", "FLAC", "PCM_16", (8000, 44100, 96000), (1, 2), 2**-15, 0),
    ("flac", "FLAC", "PCM_24", (48000,), (6,), 2**-22, 0),
    ("ogg", "OGG", "VORBIS", (16000, 44100), (1, 2), None, 0),
    ("oga", "OGG", "VORBIS", (16000,), (6,), None, 0),
    ("opus", "OGG", "OPUS", (16000, 48000), (1, 2), None, 0),
    ("mp3", "MP3", "MPEG_LAYER_III", (16000, 44100), (1, 2), None, 0),
    ("sph", "NIST", "PCM_16", (16000,), (1,), 2**-15, 0),
    ("voc", "VOC", "PCM_16", (16000,), (2,), 2**-15, 0),
    ("avr", "AVR", "PCM_16", (16000,), (1,), 2**-15, 0),
    ("paf", "PAF", "PCM_16", (16000,), (1,), 2**-15, 0),
    ("pvf", "PVF", "PCM_16", (16000,), (2,), 2**-15, 0),
    ("svx", "SVX", "PCM_16", (16000,), (1,), 2**-15, 0),
    ("ircam", "IRCAM", "FLOAT", (16000,), (2,), 2**-22, 0),
]
INTACT = [(*row[:3], rate, channels, *row[5:]) for row in WRITTEN for rate in row[3] for channels in row[4]]


@pytest.mark.parametrize(("ending", "container", "coding", "rate", "channels", "error", "added"), INTACT)
def test_every_format_comes_back_whole(tmp_path, ending, container, coding, rate, channels, error, added):
    samples = tone(rate, channels)
    path = tmp_path / f"clip.{ending}"
    soundfile.write(path, samples, rate, coding, format=container)
    audio = load_audio(path)
    assert f".{ending}" in AUDIO_SUFFIXES
    assert audio.sample_rate == rate
    assert len(samples) <= audio.samples.shape[1] <= len(samples) + added
    assert audio.samples.shape[0] == channels
    if error is None:
        assert similarity(audio.samples.T, samples) > 0.97
    else:
        np.testing.assert_allclose(audio.samples.T, samples, atol=error)


def encoded(container, coding, rate=16000, channels=1):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(rate, channels), rate, coding, format=container)
    return bytearray(buffer.getvalue())


def patched(at, layout, *values):
    """A fault that overwrites bytes of a header."""

    def spoil(content):
        struct.pack_into(layout, content, at, *values)
        return content

    return spoil


def half(content):
    return content[: len(content) // 2]


def at_chunk(name, offset, layout, *values):
    """As :func:`patched`, behind the name of a chunk."""
    return lambda content: patched(content.index(name) + offset, layout, *values)(content)


def with_chunk(content):
    """A chunk of odd length before the samples, and another behind them."""
    chunk = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    at = content.index(b"data")
    return content[:at] + chunk + content[at:] + b"junk" + struct.pack("<I", 3) + b"abc\0"


def without_info_frame(content):
    """From the second frame on, which begins with the same sync word and version as the first."""
    return content[content.index(content[:2], 4) :]


def twice(content):
    return content + content


def without_samples(content):
    return at_chunk(b"data", 4, "<I", 0)(content)[: content.index(b"data") + 8]


def with_the_largest_length(content):
    return patched(21, ">B", content[21] | 0x0F)(patched(22, ">I", 2**32 - 1)(content))


WHOLE = round(16000 * SECONDS)
NOT_AUDIO = (b"", b"\0", b"not audio\n" * 50, bytes(5000), b"PK\3\4" * 99)
FAULTS = [
    *((ending, container, coding, half, TruncatedAudioError, "declares") for ending, container, coding in [
        ("wav", "WAV", "PCM_16"), ("wav", "WAV", "IMA_ADPCM"), ("rf64", "RF64", "FLOAT"), ("w64", "W64", "PCM_24"),
        ("aiff", "AIFF", "PCM_16"), ("aifc", "AIFF", "FLOAT"), ("au", "AU", "PCM_16"), ("mp3", "MP3", None),
    ]),
    *((ending, container, coding, half, AudioError, r"clip\.") for ending, container, coding in [
        ("flac", "FLAC", "PCM_16"), ("caf", "CAF", "PCM_16"), ("caf", "CAF", "ALAC_16"), ("opus", "OGG", "OPUS"),
    ]),
    ("wav", "WAV", "PCM_16", with_chunk, WHOLE, ""),
    ("wav", "WAV", "PCM_16", patched(4, "<I", 7), WHOLE, ""),
    ("wav", "WAV", "PCM_16", at_chunk(b"data", 4, "<I", 0xFFFFFFFF), WHOLE, ""),
    ("wav", "WAV", "PCM_16", at_chunk(b"data", 4, "<I", 0x7FFFFFFE), TruncatedAudioError, "declares 2147483646 bytes"),
    ("wav", "WAV", "PCM_16", patched(24, "<I", 1), UnreadableAudioError, "declares 1 Hz"),
    ("wav", "WAV", "PCM_16", patched(24, "<I", 2**31 - 1), UnreadableAudioError, "Hz"),
    ("wav", "WAV", "PCM_16", patched(24, "<I", 0), AudioError, r"clip\.wav"),
    ("wav", "WAV", "PCM_16", patched(22, "<H", 0), UnreadableAudioError, "cannot be read"),
    ("wav", "WAV", "PCM_16", patched(22, "<H", 0xFFFF), UnreadableAudioError, "cannot be read"),
    ("wav", "WAV", "PCM_16", patched(20, "<H", 0x2000), UnreadableAudioError, "cannot be read"),
    ("wav", "WAV", "FLOAT", lambda c: c[:-4] + struct.pack("<f", np.nan), AudioError, "1 nan or inf samples"),
    ("wav", "WAV", "FLOAT", lambda c: c[:-4] + struct.pack("<f", -np.inf), AudioError, "1 nan or inf samples"),
    ("wav", "WAV", "PCM_16", without_samples, EmptyAudioError, "no samples"),
    ("aiff", "AIFF", "PCM_16", at_chunk(b"COMM", 10, ">I", 2**31 - 1), WHOLE, ""),
    ("aiff", "AIFF", "PCM_16", at_chunk(b"SSND", 4, ">I", 2**31 - 1), TruncatedAudioError, "declares 2147483647 bytes"),
    ("au", "AU", "PCM_16", patched(8, ">I", 0xFFFFFFFF), WHOLE, ""),
    ("au", "AU", "PCM_16", patched(8, ">I", 0x7FFFFFFE), TruncatedAudioError, "declares 2147483646 bytes"),
    ("au", "AU", "PCM_16", patched(16, ">I", 3), UnreadableAudioError, "declares 3 Hz"),
    ("w64", "W64", "PCM_16", at_chunk(b"data", 16, "<Q", 2**62), TruncatedAudioError, "declares"),
    ("flac", "FLAC", "PCM_16", patched(22, ">I", 0), WHOLE, ""),
    ("flac", "FLAC", "PCM_16", with_the_largest_length, AudioError, r"clip\.flac"),
    ("mp3", "MP3", None, without_info_frame, range(WHOLE, WHOLE + 3 * 576), ""),
    ("mp3", "MP3", None, lambda c: b"ID3\x04\0\0\0\0\x01\0" + bytes(128) + c, WHOLE, ""),
    ("ogg", "OGG", "VORBIS", lambda c: c[:60], UnreadableAudioError, "cannot be read"),
    ("ogg", "OGG", "VORBIS", lambda c: c + b"TAG" + bytes(125), WHOLE, ""),
    *((ending, "OGG", coding, twice, TruncatedAudioError, r"another ogg stream begins at byte \d+")
      for ending, coding in (("ogg", "VORBIS"), ("opus", "OPUS"))),
    ("mp3", "MP3", None, twice, TruncatedAudioError, "2 mp3 files in one, the first alone would be read"),
    *((ending, "WAV", "PCM_16", lambda _, b=content: bytearray(b), AudioError, rf"clip\.{ending}")
      for ending in ("wav", "mp3", "flac") for content in NOT_AUDIO),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "container", "coding", "fault", "expected", "message"), FAULTS)
def test_every_fault_is_one_named_error_or_none_in_bounded_memory(
    tmp_path, ending, container, coding, fault, expected, message
):
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(fault(encoded(container, coding, 48000 if coding == "OPUS" else 16000)))
    tracemalloc.start()
    try:
        if isinstance(expected, type):
            with pytest.raises(expected, match=message) as caught:
                load_audio(path)
            assert str(path) in str(caught.value)
        else:
            count = load_audio(path).samples.shape[1]
            assert count in (expected if isinstance(expected, range) else [expected])
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_the_zoo_is_large_enough():
    assert len(INTACT) + len(FAULTS) >= 100


# Ending, and what ffmpeg is told; PIPE: its output goes into a file that it cannot go back in.
BY_FFMPEG = [
    ("m4a", "-c:a aac -b:a 96k"), ("m4a", "-c:a alac"), ("m4b", "-c:a aac -f mp4"), ("mp4", "-c:a aac"),
    ("aac", "-c:a aac"), ("wma", "-c:a wmav2"), ("webm", "-c:a libopus"), ("mka", "-c:a flac"),
    ("mka", "-c:a vorbis -strict -2 -ac 2"), ("ac3", "-c:a ac3"), ("eac3", "-c:a eac3"), ("wv", "-c:a wavpack"),
    ("tta", "-c:a tta"), ("mp3", "-q:a 4 -f mp3"), ("mp3", "-q:a 4 -f mp3 PIPE"),
    ("mp3", "-b:a 128k -write_xing 0 -f mp3"), ("mp2", "-c:a mp2"), ("flac", "-f flac PIPE"), ("wav", "-f wav PIPE"),
    ("wav", "-c:a pcm_s24le"), ("opus", "-c:a libopus"), ("ogg", "-c:a libvorbis"), ("aiff", "-c:a pcm_s16be"),
    ("au", "-f au PIPE"), ("caf", "-c:a pcm_s16le"), ("w64", "-f w64 -c:a pcm_s16le"), ("wav", "-rf64 always"),
]  # fmt: skip
SLACK_SAMPLES = 4200


def by_ffmpeg(folder, ending, options, channels=2, rate=44100):
    soundfile.write(folder / "source.wav", tone(rate, channels), rate)
    path = folder / f"clip.{ending}"
    words = options.replace(" PIPE", "").split()
    command = ["ffmpeg", "-v", "error", "-y", "-i", folder / "source.wav", *words]
    if options.endswith("PIPE"):
        path.write_bytes(subprocess.run([*command, "-"], check=True, capture_output=True).stdout)
    else:
        subprocess.run([*command, path], check=True, capture_output=True)
    return path


@needs_ffmpeg
@pytest.mark.parametrize(
    ("ending", "options", "channels"), [(*row, 1 + number % 2) for number, row in enumerate(BY_FFMPEG)]
)
def test_what_ffmpeg_writes_is_read_whole(tmp_path, ending, options, channels):
    audio = load_audio(by_ffmpeg(tmp_path, ending, options, channels))
    expected = tone(audio.sample_rate, 2 if "-ac 2" in options else channels)
    assert audio.samples.shape[0] == expected.shape[1]
    assert abs(audio.samples.shape[1] - len(expected)) <= SLACK_SAMPLES
    if audio.samples.shape[0] == channels:
        assert similarity(audio.samples.T, expected) > 0.95


@needs_ffmpeg
@pytest.mark.parametrize(("ending", "options"), [o for o in BY_FFMPEG if o[0] in ("m4a", "mka", "wma", "tta", "wv")])
def test_a_cut_file_is_an_error_and_not_a_shorter_clip(tmp_path, ending, options):
    path = by_ffmpeg(tmp_path, ending, options)
    path.write_bytes(half(path.read_bytes()))
    with pytest.raises(UnreadableAudioError, match=rf"clip\.{ending}: ffmpeg: .*[a-z]") as caught:
        load_audio(path)
    assert " @ 0x" not in str(caught.value)


@needs_ffmpeg
def test_a_film_without_sound_and_what_is_no_media_are_named(tmp_path):
    path = tmp_path / "clip.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=size=16x16:duration=1", path]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UnreadableAudioError, match="ffmpeg: .*matches no streams"):
        load_audio(path)
    path.write_bytes(b"#EXTM3U\nhttp://localhost:9/a.mp3\n")
    with pytest.raises(UnreadableAudioError, match=r"clip\.mp4: ffmpeg: "):
        load_audio(path)


@needs_ffmpeg
def test_a_stream_beyond_all_bounds_is_stopped(tmp_path, monkeypatch):
    path = by_ffmpeg(tmp_path, "m4a", "-c:a aac")
    monkeypatch.setattr("evaluation.audio.io._MAX_DURATION_S", 1)
    with pytest.raises(AudioError, match="at most 1 s are read"):
        load_audio(path)


def test_without_ffmpeg_a_clip_that_needs_it_fails_by_name_and_the_others_are_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "FFMPEG", "no-such-program")
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", tone(16000), 16000)
    (tmp_path / "d.m4a").write_bytes(b"x")
    found = evaluate(None, tmp_path, metrics=("level",), window_s=1.0, cache_dir=None)
    reason = ".m4a is read by ffmpeg, which is not installed: install it, or convert to wav or flac"
    assert found.failures == {"d": f"{tmp_path / 'd.m4a'}: {reason}"}
    assert {(row.n_scored, row.n_failed) for row in found.results} == {(3, 1)}


def test_a_folder_with_all_kinds_of_broken_files_counts_them(tmp_path):
    clips = [f"clip{i:02}" for i in range(20)]
    for name in clips:
        soundfile.write(tmp_path / f"{name}.wav", tone(16000), 16000)
    broken = [row for row in FAULTS if isinstance(row[4], type)][:9]
    for name, (ending, container, coding, fault, _, _) in zip(clips, broken, strict=False):
        (tmp_path / f"{name}.wav").unlink()
        (tmp_path / f"{name}.{ending}").write_bytes(fault(encoded(container, coding)))
    found = evaluate(None, tmp_path, metrics=("level", "silence"), window_s=1.0, cache_dir=None)
    assert {(row.n_scored, row.n_failed) for row in found.results} == {(11, 9)}
    assert "9 of 20 clips failed (45%)" in " ".join(found.table().split())
