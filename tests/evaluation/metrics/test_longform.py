"""Long-form measures on clips whose faults are known."""

import numpy as np
import pytest

from evaluation.audio.io import TooShortAudioError
from evaluation.metrics.longform import (
    consistency,
    level_dbfs,
    repetition,
    silence_ratio,
)
from evaluation.statistics.bootstrap import jackknife_interval


def windows(seed, n=200, count=8, within=0.5, between=1.0, d=16):
    generator = np.random.default_rng(seed)
    return between * generator.standard_normal((n, 1, d)) + within * generator.standard_normal((n, count, d))


@pytest.mark.parametrize("count", [2, 8, 32])
def test_consistency_is_the_ratio_of_variances_whatever_the_number_of_windows(count):
    values = [consistency(windows(seed, count=count)) for seed in range(10)]
    assert np.mean(values) == pytest.approx(0.25, rel=0.05)


def test_consistency_by_hand_and_at_its_ends():
    rows = np.array([[[0.0], [2.0]], [[10.0], [12.0]]])  # within 2; clip means 1 and 11: 50 - 2 / 2
    assert consistency(rows) == pytest.approx(2 / 49, rel=1e-12)
    assert consistency(np.repeat(rows[:, :1], 5, axis=1)) == 0
    assert consistency(np.array([[[0.0], [2.0]], [[2.0], [0.0]]])) == np.inf  # clips are not told apart
    assert np.isnan(consistency(rows[:1]))
    assert np.isnan(consistency(rows[:, :1]))


def test_consistency_does_not_depend_on_origin_rotation_or_unit():
    rows = windows(0)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))
    assert consistency(3 * rows @ rotation + 7) == pytest.approx(consistency(rows), rel=1e-9)


def test_consistency_interval_is_by_clip():
    intervals = [jackknife_interval(consistency, windows(seed, n=60), seed=0) for seed in range(60)]
    assert intervals[0].value == consistency(windows(0, n=60))
    assert (intervals[0].n, intervals[0].unit) == (60, "clip")
    assert np.mean([i.low <= 0.25 <= i.high for i in intervals]) >= 0.88
    spread = np.std([i.value for i in intervals], ddof=1)
    assert np.mean([i.high - i.low for i in intervals]) / (2 * 2.093) == pytest.approx(spread, rel=0.25)


def test_repetition_tells_loops_from_drift_and_from_novelty():
    generator = np.random.default_rng(2)
    looped = np.tile(generator.standard_normal((4, 2, 64)), (1, 4, 1))  # A B A B A B A B
    loop = repetition(looped)
    np.testing.assert_allclose(loop.by_lag[:, 1::2], 1, atol=1e-12)
    assert np.abs(loop.by_lag[:, ::2]).max() < 0.5
    wandering = np.cumsum(generator.standard_normal((50, 8, 64)), axis=1)
    drift = repetition(wandering).by_lag.mean(axis=0)
    assert (np.diff(drift) < 0).all()
    novel = repetition(generator.standard_normal((50, 8, 64)))
    np.testing.assert_allclose(novel.by_lag.mean(axis=0), 0, atol=0.06)
    frozen = repetition(np.repeat(generator.standard_normal((3, 1, 64)), 8, axis=1))
    np.testing.assert_allclose(frozen.mean, 1, atol=1e-12)


def test_repetition_by_hand():
    result = repetition([[[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]])
    np.testing.assert_allclose(result.by_lag, [[(0.6 + 0.8) / 2, 0.0]], atol=1e-15)
    np.testing.assert_allclose(result.mean, [1.4 / 3], atol=1e-15)


def test_levels_in_db():
    assert level_dbfs(np.ones((1, 100))) == 0
    assert level_dbfs(0.1 * np.ones(100)) == pytest.approx(-20, abs=1e-9)
    sine = np.sin(2 * np.pi * np.arange(1000) / 100)
    assert level_dbfs(sine) == pytest.approx(-3.0103, abs=1e-4)
    assert level_dbfs(np.zeros(10)) == -120


def test_silence_ratio_counts_quiet_frames():
    samples = np.ones((1, 10_000))
    samples[:, 2500:6000] = 10 ** (-70 / 20)
    assert silence_ratio(samples, 1000) == pytest.approx(0.35, abs=1e-12)
    assert silence_ratio(samples, 1000, threshold_dbfs=-80) == 0
    assert silence_ratio(np.zeros((2, 1000)), 1000) == 1
    one_sided = np.stack([np.zeros(1000), np.ones(1000)])
    assert silence_ratio(one_sided, 1000) == 0  # sound in one channel is sound
    with pytest.raises(TooShortAudioError):
        silence_ratio(np.zeros((1, 99)), 1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: consistency(np.zeros((3, 4))), r"expected finite \(n, W, d\)"),
        (lambda: consistency(np.full((2, 2, 2), np.nan)), "nan or inf"),
        (lambda: repetition(np.ones((2, 1, 3))), "needs W >= 2"),
        (lambda: repetition(np.zeros((2, 2, 3))), "no zero embedding"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
