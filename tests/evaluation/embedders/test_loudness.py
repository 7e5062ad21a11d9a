"""Loudness of BS.1770-4 by its definition and test signals, and clipping."""

import numpy as np
import pytest
from networks import write_folder

from evaluation.embedders.loudness import LoudnessEmbedder, clipped_share, integrated_loudness
from evaluation.evaluate import evaluate

RATE = 48_000


def sine(level_dbfs, seconds, frequency=997.0):
    return 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency * np.arange(round(RATE * seconds)) / RATE)


def test_the_calibration_of_the_recommendation():
    """BS.1770-4: a 0 dBFS sine of 997 Hz in one channel reads -3.01 LUFS."""
    assert integrated_loudness(sine(0, 5)) == pytest.approx(-3.01, abs=0.01)
    assert integrated_loudness(sine(-23, 5)) == pytest.approx(-26.01, abs=0.01)


def test_the_gates_of_ebu_tech_3341():
    """Cases 3 and 4 of EBU Tech 3341, in one channel (-3.01): -36, -23, -36 dBFS; then with -72 at both ends."""
    third = np.concatenate([sine(-36, 10), sine(-23, 60), sine(-36, 10)])
    assert integrated_loudness(third) == pytest.approx(-26.01, abs=0.1)
    fourth = np.concatenate([sine(-72, 10), third, sine(-72, 10)])
    assert integrated_loudness(fourth) == pytest.approx(-26.01, abs=0.1)


def test_low_tones_weigh_less_and_high_ones_more():
    """The K curve: about -14 dB at 20 Hz against 997 Hz, +3.3 dB at 10 kHz."""
    middle = integrated_loudness(sine(-20, 5))
    assert integrated_loudness(sine(-20, 5, 20.0)) - middle == pytest.approx(-14.3, abs=0.5)
    assert integrated_loudness(sine(-20, 5, 10_000.0)) - middle == pytest.approx(3.3, abs=0.1)


def test_numbers_of_the_package_pyloudnorm():
    """pyloudnorm 0.2.0, Meter(48000, filter_class="DeMan"), the recommendation's own coefficients, on faded noise."""
    samples = np.random.default_rng(0).normal(0, 0.05, 480_000) * np.linspace(0, 1, 480_000)
    assert integrated_loudness(samples) == pytest.approx(-26.902139861316652, abs=1e-9)


def test_silence_has_the_value_of_the_gate_and_less_than_a_block_none():
    assert integrated_loudness(np.zeros(RATE)) == -70.0
    with pytest.raises(ValueError, match="19199 samples; a loudness takes 19200"):
        integrated_loudness(np.zeros(19_199))


def test_clipping_counts_frames_that_reach_full_scale():
    samples = sine(-6, 1.0)
    assert clipped_share(samples) == 0
    samples[5000] = -1.0
    samples[5001] = 1.0
    samples[40_000] = 0.9995
    assert clipped_share(samples) == pytest.approx(0.2)
    assert clipped_share(np.clip(4 * sine(-6, 1.0), -1, 1)) == 1


def test_both_are_metrics_of_a_folder(tmp_path):
    clips = {f"c{i}": sine(-20 - i, 2) for i in range(6)}
    clips["c5"] = np.clip(4 * sine(0, 2), -1, 1)
    write_folder(tmp_path, clips, rate=RATE)
    found = evaluate(None, tmp_path, metrics=("loudness", "clipping"), window_s=1.0, cache_dir=None)
    expected = [integrated_loudness(samples[:RATE].astype(np.float32)) for samples in clips.values()]
    assert found.value("loudness", 0) == pytest.approx(np.mean(expected), abs=1e-4)
    assert found.value("clipping") == pytest.approx(1 / 6)
    assert found.per_clip["c0"]["loudness"] == pytest.approx(-23.01, abs=0.05)
    assert LoudnessEmbedder().embed([clips["c5"].astype(np.float32)])[0]["embedding"][1] == 1
