"""Audio in and out: every format, every kind of damage, level and duration."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from evaluation.audio.io import (
    AudioError,
    EmptyAudioError,
    NonFiniteAudioError,
    SilentAudioError,
    TooLongAudioError,
    TooShortAudioError,
    TruncatedAudioError,
    UnreadableAudioError,
    check_audio,
    int16_round_trip,
    load_audio,
    mix_to_mono,
    set_level,
    trim_to_duration,
)

STEP = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-23, "FLOAT": 2**-23, "DOUBLE": 2**-23}


def tone(rate, seconds=0.5, channels=1, frequency=440.0):
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * frequency * time + c) for c in range(channels)])


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("subtype", STEP)
def test_every_depth_and_rate_comes_back_within_one_step(tmp_path, subtype, rate):
    path = tmp_path / "clip.wav"
    samples = tone(rate, channels=2)
    soundfile.write(path, samples.T, rate, subtype)
    audio = load_audio(path)
    assert audio.sample_rate == rate
    assert audio.samples.shape == (2, rate // 2)
    assert audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, samples, atol=STEP[subtype])


def write_and_cut(path, cut_bytes, subtype="PCM_16", **options):
    soundfile.write(path, tone(16000, 1.0)[0], 16000, subtype, **options)
    path.write_bytes(path.read_bytes()[:-cut_bytes])


@pytest.mark.parametrize("cut_bytes", [1, 2, 16000, 31000])
def test_a_cut_wav_is_refused_although_libsndfile_reads_it(tmp_path, cut_bytes):
    path = tmp_path / "cut.wav"
    write_and_cut(path, cut_bytes)
    assert len(soundfile.read(path)[0]) > 0  # a plain reader returns the shorter clip without a word
    with pytest.raises(TruncatedAudioError, match=r"cut\.wav: header declares 32000 bytes.*" + str(32000 - cut_bytes)):
        load_audio(path)


def test_a_cut_rf64_or_flac_is_refused(tmp_path):
    path = tmp_path / "cut.wav"
    write_and_cut(path, 1000, format="RF64")
    with pytest.raises(TruncatedAudioError, match="header declares 32000 bytes"):
        load_audio(path)
    write_and_cut(tmp_path / "cut.flac", 3000)
    with pytest.raises(AudioError, match=r"cut\.flac: "):
        load_audio(tmp_path / "cut.flac")


def test_a_cut_big_endian_wav_is_refused(tmp_path):
    path = tmp_path / "cut.wav"
    write_and_cut(path, 1000, endian="BIG")
    assert path.read_bytes()[:4] == b"RIFX"
    with pytest.raises(TruncatedAudioError, match="header declares 32000 bytes of samples, 31000 are there"):
        load_audio(path)


def test_a_short_read_is_refused_whatever_the_format(tmp_path, monkeypatch):
    path = tmp_path / "clip.flac"
    soundfile.write(path, tone(16000)[0], 16000)
    whole = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, **options: whole(self, **options)[:-10])
    with pytest.raises(TruncatedAudioError, match="declares 8000 samples, 7990 could be read"):
        load_audio(path)


def test_wavs_with_other_chunks_or_of_streamed_length_are_whole(tmp_path):
    path = tmp_path / "chunks.wav"
    soundfile.write(path, tone(16000)[0], 16000, "PCM_16")
    content = path.read_bytes()
    at = content.index(b"data")
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(content[:at] + odd + content[at:])
    assert load_audio(path).samples.shape == (1, 8000)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TruncatedAudioError, match="declares 16000 bytes of samples, 15900 are there"):
        load_audio(path)
    path.write_bytes(content[: at + 4] + b"\xff" * 4 + content[at + 8 :])  # what a pipe writes: length unknown
    assert load_audio(path).samples.shape == (1, 8000)


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.wav", b"not audio"), ("empty_file.wav", b""), ("header.wav", b"RIFF\x24\0\0\0WAVEfmt ")],
)
def test_what_is_not_audio_is_named_with_its_path(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableAudioError, match=f"{name}: cannot be read") as caught:
        load_audio(path)
    assert caught.value.path == path
    assert isinstance(caught.value, ValueError)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        load_audio(tmp_path / "gone.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    with pytest.raises(EmptyAudioError, match=r"none\.wav: holds no samples"):
        load_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_samples_are_located(tmp_path, bad):
    samples = tone(16000, channels=2)
    samples[1, 4000] = bad
    soundfile.write(tmp_path / "bad.wav", samples.T, 16000, "FLOAT")
    with pytest.raises(NonFiniteAudioError, match=r"bad\.wav: holds 1 nan or inf samples, the first at 0\.250 s"):
        load_audio(tmp_path / "bad.wav")


def test_short_and_silent_clips_are_results_unless_refused(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(16000, 0.3)[0], 16000)
    assert load_audio(tmp_path / "short.wav").samples.shape == (1, 4800)
    with pytest.raises(TooShortAudioError, match=r"lasts 0\.300 s; at least 0\.975 s"):
        load_audio(tmp_path / "short.wav", min_duration_s=0.975)
    soundfile.write(tmp_path / "silent.wav", np.zeros((1000, 2)), 16000)
    assert not load_audio(tmp_path / "silent.wav").samples.any()
    with pytest.raises(SilentAudioError, match=r"silent\.wav: is silent"):
        load_audio(tmp_path / "silent.wav", allow_silent=False)
    check_audio(np.full(10, 0.5, np.float32), 16000, allow_silent=False)  # a constant is not silence


def test_a_silent_left_channel_is_silent_only_for_who_takes_the_first():
    stereo = np.concatenate([np.zeros((1, 8000)), tone(16000)]).astype(np.float32)
    np.testing.assert_allclose(mix_to_mono(stereo), stereo[1] / 2, rtol=1e-6)
    assert not mix_to_mono(stereo, "first").any()
    assert mix_to_mono(stereo).dtype == np.float32
    with pytest.raises(ValueError, match="'mean' or 'first'"):
        mix_to_mono(stereo, "left")
    with pytest.raises(ValueError, match=r"expected \(C, T\)"):
        mix_to_mono(stereo[0])


def test_trimming_is_exact_and_never_pads():
    samples = tone(16000, 10.24)
    trimmed = trim_to_duration(samples, 16000, 10.0)
    assert trimmed.shape == (1, 160000)
    np.testing.assert_array_equal(trimmed, samples[:, :160000])
    with pytest.raises(TooShortAudioError, match=r"lasts 10\.240 s"):
        trim_to_duration(samples, 16000, 20.0)


def test_levels():
    samples = tone(16000).astype(np.float32)
    assert set_level(samples, "none") is samples
    peaked = set_level(samples, "peak")
    assert 20 * np.log10(np.abs(peaked).max()) == pytest.approx(-1, abs=1e-5)
    assert peaked.dtype == np.float32
    np.testing.assert_allclose(
        peaked / samples.max(), samples / samples.max() * peaked.max() / samples.max(), rtol=1e-5
    )
    silence = np.zeros((1, 100), np.float32)
    np.testing.assert_array_equal(set_level(silence, "peak"), silence)  # and not nan
    with pytest.raises(ValueError, match="'none' or 'peak'"):
        set_level(samples, "loud")


def test_int16_round_trip_is_off_by_less_than_a_step():
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 5000)).astype(np.float32)
    error = np.abs(int16_round_trip(samples) - np.clip(samples, -1, 1))
    assert 0.5 / 32767 < error.max() <= 1 / 32767
    np.testing.assert_array_equal(int16_round_trip(int16_round_trip(samples)), int16_round_trip(samples))
    assert int16_round_trip(np.array([1.0, -1.0, 0.0])).tolist() == [1, -1, 0]


def mp3_without_its_info_frame(samples, rate, prefix=b""):
    """What ffmpeg writes to a pipe: a variable rate, and no frame that tells how long the stream is."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="MP3")
    whole = buffer.getvalue()
    assert b"Xing" in whole[:200]
    second = next(i for i in range(1, len(whole)) if whole[i] == 0xFF and whole[i + 1] & 0xE0 == 0xE0)
    return prefix + whole[second:]


@pytest.mark.parametrize("prefix", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_an_mp3_that_does_not_tell_its_length_is_read_to_its_end(tmp_path, prefix):
    rate, path = 16000, tmp_path / "a.mp3"
    # Loud after a nearly silent second: its first frames are small, so a length guessed from them is far off.
    loudness = np.repeat([0.001, 0.3, 0.3, 0.3, 0.3], rate)
    samples = (np.random.default_rng(0).normal(size=len(loudness)) * loudness).astype(np.float32)
    path.write_bytes(mp3_without_its_info_frame(samples, rate, prefix))
    guessed = soundfile.SoundFile(path).frames
    read = load_audio(path).samples[0]
    # The encoder pads by up to three frames of 576 samples, which the info frame would have taken off.
    assert len(samples) <= len(read) <= len(samples) + 3 * 576
    assert abs(guessed - len(samples)) > rate / 2
    last = read[-rate // 2 :]
    assert np.sqrt(np.mean(last**2)) == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("rate", [1, 999, 768_001])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.ones(4, np.float32) / 2, rate)
    with pytest.raises(UnreadableAudioError, match=rf"declares {rate} Hz; accepted are 1000 to 768000 Hz"):
        load_audio(tmp_path / "a.wav")


def test_a_flac_that_was_written_to_a_pipe_is_whole(tmp_path):
    path = tmp_path / "a.flac"
    samples = tone(16000, 2.5)[0].astype(np.float32)
    soundfile.write(path, samples, 16000, "PCM_24")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # The number of samples, 36 bits in STREAMINFO: 0 says that it is not known.
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert soundfile.info(path).frames > 1 << 60
    assert load_audio(path).samples == pytest.approx(samples[None], abs=2**-22)


def test_gigabytes_that_are_no_clip_cost_an_error_and_no_memory(tmp_path):
    path, size = tmp_path / "sparse.wav", 1_900_000_000
    header = (
        b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)
    tracemalloc.start()
    with pytest.raises(TooLongAudioError, match=r"sparse.wav: lasts 59375 s or more in 1 channels; at most 3600 s"):
        load_audio(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_length_that_no_header_tells_is_bounded_while_reading(tmp_path, monkeypatch):
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_without_its_info_frame(tone(16000, 3)[0].astype(np.float32), 16000))
    assert load_audio(path).samples.shape[1] >= 48_000
    monkeypatch.setattr("evaluation.audio.io._MAX_DURATION_S", 2)
    with pytest.raises(TooLongAudioError, match="at most 2 s are read"):
        load_audio(path)
