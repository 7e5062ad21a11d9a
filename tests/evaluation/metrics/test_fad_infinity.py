"""FAD-infinity: unbiased where plain FAD is not, by clip, with an honest interval."""

import numpy as np
import pytest

from evaluation.metrics.fad import Moments, frechet_distance
from evaluation.metrics.fad_infinity import fad_infinity, fad_infinity_interval

D, N, TRUTH = 32, 2000, 0.32  # N(0.1, I) against N(0, I): 32 * 0.1^2
EXACT = Moments(np.zeros(D), np.eye(D), 10**9)


def generated(seed, n=N):
    return np.random.default_rng(seed).standard_normal((n, D)) + 0.1


def test_extrapolation_is_unbiased_where_plain_fad_is_not():
    samples = [generated(seed) for seed in range(15)]
    values = [fad_infinity(EXACT, rows, seed=seed, joint=False) for seed, rows in enumerate(samples)]
    standard_error = np.std(values, ddof=1) / np.sqrt(15)
    assert standard_error < 0.02
    assert abs(np.mean(values) - TRUTH) < 2 * standard_error
    assert np.mean([frechet_distance(EXACT, rows) for rows in samples]) == pytest.approx(0.467, abs=0.02)


def test_joint_variant_removes_the_bias_of_the_reference_too():
    pairs = [(np.random.default_rng(1000 + s).standard_normal((1000, D)), generated(s, 1000)) for s in range(12)]
    joint = [fad_infinity(*pair, seed=0) for pair in pairs]
    alone = [fad_infinity(*pair, seed=0, joint=False) for pair in pairs]
    standard_error = np.std(joint, ddof=1) / np.sqrt(12)
    assert abs(np.mean(joint) - TRUTH) < 2.5 * standard_error
    assert np.mean(alone) - np.mean(joint) == pytest.approx((D + (D * D + D) / 4) / 1000, rel=0.2)


def test_fit_reports_slope_sizes_and_how_straight_the_line_is():
    result = fad_infinity_interval(EXACT, generated(3), seed=0, joint=False, groups=5)
    assert result.slope == pytest.approx(D + (D * D + D) / 4, rel=0.15)
    assert result.r_squared > 0.95
    assert (len(result.sizes), result.sizes[0], result.sizes[-1]) == (15, 500, N)
    np.testing.assert_allclose(np.diff(1 / np.array(result.sizes)), -1 / 500 * 0.75 / 14, rtol=0.05)
    assert result.distances[-1] == pytest.approx(frechet_distance(EXACT, generated(3)), rel=1e-12)
    assert result.variant == "generated-only"
    intercept = np.polyfit(1 / np.array(result.sizes), result.distances, 1)[1]
    assert result.interval.value == pytest.approx(intercept, rel=1e-12)
    assert result.interval.value == fad_infinity(EXACT, generated(3), seed=0, joint=False)


def test_interval_has_the_width_of_the_spread_between_samples():
    d = 4
    exact = Moments(np.zeros(d), np.eye(d), 10**9)
    samples = np.random.default_rng(5).standard_normal((40, 300, d)) + 0.3
    options = {"seed": 0, "joint": False, "repeats": 1}
    intervals = [fad_infinity_interval(exact, rows, **options).interval for rows in samples]
    spread = np.std([i.value for i in intervals], ddof=1)
    half_width = np.mean([(i.high - i.low) / 2 for i in intervals])
    assert half_width / 2.093 == pytest.approx(spread, rel=0.25)
    assert (intervals[0].n, intervals[0].unit) == (300, "clip")


def test_clips_are_drawn_whole():
    # Frames of a clip are equal: drawing frames would see ten times the information that is there.
    clip_values = np.random.default_rng(6).standard_normal((400, 8)) + 0.2
    frames, clips = np.repeat(clip_values, 10, axis=0), np.repeat(np.arange(400), 10)
    exact = Moments(np.zeros(8), np.eye(8), 10**9)
    by_clip = fad_infinity(exact, frames, seed=0, joint=False, generated_clips=clips)
    assert by_clip == pytest.approx(fad_infinity(exact, clip_values, seed=0, joint=False), abs=0.01)
    assert by_clip < frechet_distance(exact, frames) - 0.03
    shuffled = np.random.default_rng(7).permutation(4000)
    again = fad_infinity(exact, frames[shuffled], seed=0, joint=False, generated_clips=clips[shuffled])
    assert again == pytest.approx(by_clip, rel=1e-9)


def test_same_seed_same_value_and_another_seed_another():
    rows, reference = generated(8, 700), np.random.default_rng(9).standard_normal((700, D))
    assert fad_infinity(reference, rows, seed=1) == fad_infinity(reference, rows, seed=1)
    assert fad_infinity(reference, rows, seed=1) != fad_infinity(reference, rows, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fad_infinity(EXACT, generated(0), seed=0), "pass joint=False"),
        (lambda: fad_infinity(EXACT, generated(0, 636), seed=0, joint=False), r"may hold 159 frames.*at least 160"),
        (lambda: fad_infinity(generated(1, 636), generated(0), seed=0), r"may hold 159 frames"),
        (lambda: fad_infinity(np.eye(30)[:, :1], np.eye(30)[:, :1], seed=0), "30 clips do not give 15 different sizes"),
        (lambda: fad_infinity(EXACT, generated(0), seed=0, joint=False, points=2), "at least 3 points"),
        (lambda: fad_infinity(EXACT, generated(0), seed=0, joint=False, repeats=0), "1 repeat"),
    ],
)
def test_refuses_what_it_cannot_extrapolate(call, message):
    with pytest.raises(ValueError, match=message):
        call()
