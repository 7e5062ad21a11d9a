"""The pinned resampler: tones survive, what is above the band does not fold into it."""

import numpy as np
import pytest

from evaluation.audio.resample import RESAMPLER, resample


def tone(rate, frequency, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def decibels(samples):
    return 10 * np.log10(np.mean(samples**2))


@pytest.mark.parametrize(
    ("from_rate", "to_rate"),
    [(32000, 16000), (44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000), (16000, 48000), (16000, 32000)],
)
def test_a_tone_comes_through_with_less_than_minus_80_db_of_error(from_rate, to_rate):
    converted = resample(tone(from_rate, 1000.0), from_rate, to_rate)
    expected = tone(to_rate, 1000.0)
    assert converted.shape == expected.shape
    edge = to_rate // 10  # the filter reaches beyond the ends of the file
    assert decibels((converted - expected)[edge:-edge]) - decibels(expected) < -80


def alias_at_4_khz_db(samples):
    """Power at 4 kHz, where 12 kHz lands if every second sample of 32 kHz is kept, relative to the tone."""
    inner = samples[1600:-1600]
    probe = np.exp(-2j * np.pi * 4000 * np.arange(len(inner)) / 16000)
    return 20 * np.log10(2 * np.abs(np.mean(inner * probe)) + 1e-12)


def test_what_the_new_rate_cannot_hold_is_removed_and_not_folded():
    source = tone(32000, 12000.0)
    converted = resample(source, 32000, 16000)
    assert alias_at_4_khz_db(converted) < -60
    assert decibels(converted[1600:-1600]) - decibels(source) < -60
    assert alias_at_4_khz_db(source[::2]) > -1  # the check sees naive decimation, which keeps all of it


def test_channels_dtype_and_equal_rates():
    stereo = np.stack([tone(32000, 500.0), tone(32000, 700.0)]).astype(np.float32)
    converted = resample(stereo, 32000, 16000)
    assert converted.shape == (2, 16000)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted[1], resample(stereo[1], 32000, 16000))
    assert resample(stereo, 16000, 16000) is stereo
    assert RESAMPLER.startswith("soxr-")
    assert RESAMPLER.endswith("-VHQ")


@pytest.mark.parametrize(
    ("samples", "rates", "message"),
    [
        (np.zeros(4), (0, 16000), "sample rate 0"),
        (np.zeros(4), (16000, -1), "sample rate -1"),
        (np.zeros(4), (16000, 22050.5), r"sample rate 22050\.5"),
        (np.zeros(4, np.int16), (16000, 8000), "samples are int16"),
    ],
)
def test_bad_input_is_named(samples, rates, message):
    with pytest.raises(ValueError, match=message):
        resample(samples, *rates)
