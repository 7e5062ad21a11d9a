"""Fréchet distance against closed forms, an independent square root, and its own invariances."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg

from evaluation.metrics.fad import (
    Moments,
    frechet_distance,
    frechet_distance_interval,
    frechet_influence,
    gaussian_moments,
)


def sqrtm_distance(reference, generated):
    """The textbook formula of the public tools: np.cov and scipy's matrix square root."""
    shift = reference.mean(0) - generated.mean(0)
    first, second = np.cov(reference, rowvar=False), np.cov(generated, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return shift @ shift + np.trace(first) + np.trace(second) - 2 * np.trace(root)


def correlated(generator, n, d, shift=0.0):
    return generator.standard_normal((n, d)) @ generator.standard_normal((d, d)) / np.sqrt(d) + shift


@pytest.mark.parametrize("d", [1, 2, 128, 512])
def test_exact_moments_meet_closed_forms(d):
    generator = np.random.default_rng(d)
    shift = generator.standard_normal(d)
    origin = Moments(np.zeros(d), np.eye(d), 1000)
    moved = Moments(shift, np.eye(d), 1000)
    assert frechet_distance(origin, moved) == pytest.approx(shift @ shift, rel=1e-10)
    p, q = generator.uniform(0.1, 5, (2, d))
    diagonal = frechet_distance(Moments(np.zeros(d), np.diag(p), 9), Moments(np.zeros(d), np.diag(q), 9))
    assert diagonal == pytest.approx(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2), rel=1e-10)


def test_non_commuting_pair_meets_the_two_by_two_formula():
    first, second = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    assert not np.allclose(first @ second, second @ first)
    product = first @ second
    trace = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(first) + np.trace(second) - 2 * trace
    got = frechet_distance(Moments(np.zeros(2), first, 9), Moments(np.zeros(2), second, 9))
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(2000, 128), (300, 512), (886, 2048), (129, 128), (128, 128)])
def test_a_set_has_no_distance_to_itself(n, d):
    rows = correlated(np.random.default_rng(0), n, d)
    assert abs(frechet_distance(rows, rows)) <= 1e-9 * np.trace(np.cov(rows, rowvar=False))


def test_dead_and_duplicated_features_cost_no_precision():
    # ReLU embeddings have columns that are always 0: a square root of a singular covariance loses 1e-8 on each.
    rows = np.maximum(correlated(np.random.default_rng(1), 900, 256), 0)
    rows[:, :64], rows[:, 64:128] = 0, rows[:, 128:192]
    shuffled = np.random.default_rng(2).permutation(rows)
    assert abs(frechet_distance(rows, shuffled)) <= 1e-12 * np.trace(np.cov(rows, rowvar=False))


def test_fewer_rows_than_dimensions_keep_variances_that_a_covariance_loses():
    # Standard deviations of 1e-10 square to 1e-20, below the precision of a covariance with entries near 1.
    generator = np.random.default_rng(12)
    scales = np.where(np.arange(64) < 16, 1.0, 1e-10)
    first, second = generator.standard_normal((20, 64)) * scales, generator.standard_normal((30, 64)) * scales[::-1]
    factors = [(rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (first, second)]
    overlap = np.linalg.norm(factors[0] @ factors[1].T, "nuc")
    assert overlap > 1e-9
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + sum(np.sum(f**2) for f in factors) - 2 * overlap
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-14)


def test_directions_without_variance_add_nothing():
    # Rotated zeros come out of an eigendecomposition as +-1e-17, whose square roots would add 1e-9 each.
    generator = np.random.default_rng(11)
    rotation, _ = np.linalg.qr(generator.standard_normal((256, 256)))
    p, q = generator.uniform(0.5, 2, (2, 256))
    q[:128] = 0
    first, second = (Moments(np.zeros(256), rotation * v @ rotation.T, 999) for v in (p, q))
    assert frechet_distance(first, second) == pytest.approx(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2), rel=1e-12)


def test_constant_sets_differ_by_their_means():
    first, second = np.full((50, 3), 2.0), np.full((40, 3), 4.0)
    assert frechet_distance(first, second) == pytest.approx(12.0, abs=1e-12)
    assert frechet_distance(first, first) == 0.0


@pytest.mark.parametrize(("n", "m", "d"), [(500, 700, 32), (40, 60, 96), (40, 700, 96)])
def test_symmetry_rotation_translation_scale_and_order(n, m, d):
    generator = np.random.default_rng(3)
    first, second = correlated(generator, n, d), correlated(generator, m, d, shift=0.3)
    value = frechet_distance(first, second)
    assert value > 1
    assert frechet_distance(second, first) == pytest.approx(value, rel=1e-9)
    rotation, _ = np.linalg.qr(generator.standard_normal((d, d)))
    moved = generator.standard_normal(d)
    assert frechet_distance(first @ rotation + moved, second @ rotation + moved) == pytest.approx(value, rel=1e-8)
    assert frechet_distance(3 * first, 3 * second) == pytest.approx(9 * value, rel=1e-10)
    assert frechet_distance(first[::-1], generator.permutation(second)) == pytest.approx(value, rel=1e-12)


def test_matches_the_square_root_of_the_public_tools():
    generator = np.random.default_rng(4)
    first, second = correlated(generator, 1000, 128), correlated(generator, 800, 128, shift=0.1)
    assert frechet_distance(first, second) == pytest.approx(sqrtm_distance(first, second), rel=1e-6)
    few, others = correlated(generator, 60, 96), correlated(generator, 70, 96)
    assert frechet_distance(few, others) == pytest.approx(sqrtm_distance(few, others), rel=1e-5)


def test_blocks_give_the_covariance_of_numpy():
    generator = np.random.default_rng(5)
    rows = correlated(generator, 5000, 24) + 1e3
    moments = gaussian_moments(rows)
    assert moments.n == 5000
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows, rowvar=False), rtol=1e-12, atol=1e-12)
    assert frechet_distance(moments, rows[:2500]) == pytest.approx(frechet_distance(rows, rows[:2500]), rel=1e-9)


def test_half_precision_embeddings_are_summed_in_double():
    rows = (1 + np.random.default_rng(6).random((3000, 4))).astype(np.float16)
    np.testing.assert_allclose(gaussian_moments(rows).mean, rows.astype(np.float64).mean(0), rtol=1e-12)


def test_bias_of_equal_gaussians_is_the_predicted_one():
    # s^2 [d + (d^2 + d) / 4] (1/n + 1/m), the first order in 1/n
    generator = np.random.default_rng(7)
    values = [frechet_distance(*generator.standard_normal((2, 2000, 32))) for _ in range(20)]
    assert np.mean(values) == pytest.approx(0.296, rel=0.05)
    assert frechet_distance(*generator.standard_normal((2, 8860, 128))) == pytest.approx(0.96, rel=0.03)


def test_interval_covers_the_spread_between_samples():
    generator = np.random.default_rng(8)
    draws = generator.standard_normal((40, 300, 4)) + 0.3
    exact = Moments(np.zeros(4), np.eye(4), 10**9)
    intervals = [frechet_distance_interval(exact, rows, seed=0) for rows in draws]
    spread = np.std([i.value for i in intervals], ddof=1)
    half_width = np.mean([(i.high - i.low) / 2 for i in intervals])
    assert intervals[0].value == frechet_distance(exact, draws[0])
    assert (intervals[0].n, intervals[0].unit) == (300, "clip")
    assert half_width / 2.093 == pytest.approx(spread, rel=0.25)  # Student's t with 19 degrees of freedom


def test_interval_counts_clips_and_not_frames():
    generator = np.random.default_rng(9)
    clip_means = generator.standard_normal((60, 1, 4))
    frames = (clip_means + 0.05 * generator.standard_normal((60, 10, 4))).reshape(600, 4)
    clips = np.repeat(np.arange(60), 10)
    reference = generator.standard_normal((600, 4))
    by_clip = frechet_distance_interval(
        reference, frames, seed=0, reference_clips=np.arange(600), generated_clips=clips
    )
    by_frame = frechet_distance_interval(reference, frames, seed=0)
    assert by_clip.n == 60
    assert by_clip.high - by_clip.low > 2 * (by_frame.high - by_frame.low)


def test_two_rows_have_one():
    """Means 1 and 2, variances 2 and 8: one, and the square of the difference of their roots."""
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]])) == pytest.approx(1 + 2, rel=1e-12)


def test_one_row_has_no_distance():
    rows = np.random.default_rng(10).standard_normal((20, 3))
    for reference in (rows, gaussian_moments(rows)):
        assert np.isnan(frechet_distance(reference, rows[:1]))
        assert np.isnan(frechet_distance(rows[:1], reference))
    assert np.isnan(frechet_distance(rows, gaussian_moments(rows[:1])))
    interval = frechet_distance_interval(rows, rows[:1], seed=0)
    assert np.isnan(interval[:3]).all()
    assert interval.n == 1


@pytest.mark.parametrize(
    ("reference", "generated", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 dimensions, generated 4"),
        (np.zeros(5), np.zeros((5, 4)), r"reference has shape \(5,\)"),
        (np.zeros((0, 4)), np.zeros((5, 4)), r"shape \(0, 4\)"),
        (np.zeros((5, 4)), np.array([[0.0, 0, 0, 0], [0, np.nan, 0, 0]]), "first in row 1"),
        (Moments(np.zeros(2), np.eye(3), 5), np.zeros((5, 2)), r"expected \(d,\) and \(d, d\)"),
        (Moments(np.zeros(2), np.array([[1, 2.0], [0, 1]]), 5), np.zeros((5, 2)), "not symmetric"),
        (Moments(np.zeros(2), np.full((2, 2), np.nan), 5), np.zeros((5, 2)), "nan or inf"),
    ],
)
def test_bad_input_is_named(reference, generated, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(reference, generated)


@pytest.mark.slow
def test_ten_thousand_by_2048_stays_under_two_gigabytes():
    program = (
        "import re, numpy as np; from evaluation.metrics.fad import frechet_distance\n"
        "g = np.random.default_rng(0)\n"
        "x, y = (g.standard_normal((10000, 2048), dtype=np.float32) for _ in range(2))\n"
        # Not getrusage: its peak begins with that of the process that started this one.
        "value, status = frechet_distance(x, y), open('/proc/self/status').read()\n"
        "print(value, re.search(r'VmHWM:\\s+(\\d+)', status)[1])"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    value, peak_kib = map(float, printed.split())
    assert value == pytest.approx((2048 + (2048**2 + 2048) / 4) * 2 / 10000, rel=0.05)
    assert peak_kib * 1024 < 2e9


@pytest.mark.parametrize("n", [12, 60])
def test_influence_is_the_derivative_in_the_direction_of_a_row(n):
    rng = np.random.default_rng(0)
    reference, rows = rng.standard_normal((50, 8)), rng.standard_normal((n, 8)) * 1.5 + 0.3
    moments = gaussian_moments(rows)
    step, found = 1e-5, frechet_influence(reference, rows)
    for row in (0, 5):
        apart = rows[row] - moments.mean
        # Of (1 - step) times the set and step times the row; n - 1 in the covariance cancels to first order in 1 / n.
        covariance = (1 - step) * moments.covariance + step * (1 - step) * np.outer(apart, apart)
        moved = Moments(moments.mean + step * apart, covariance, n)
        slope = (frechet_distance(reference, moved) - frechet_distance(reference, moments)) / step
        all_rows = np.mean([(r - moments.mean) @ (r - moments.mean) for r in rows])
        assert found[row] == pytest.approx(slope, abs=0.05 * all_rows)
    assert found.mean() == pytest.approx(0, abs=1e-9)
