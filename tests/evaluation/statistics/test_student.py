"""Student's t over clips against scipy's, and the influences of clips against bounds by hand."""

import numpy as np
import pytest
import scipy.stats

from evaluation.statistics.student import influence_bounds, student_bounds, student_interval


def test_student_interval_is_that_of_scipy_over_clips():
    values = np.random.default_rng(0).exponential(size=(9, 3))
    clips = np.repeat(np.arange(9), 3)
    found = student_interval(values.ravel(), clips=clips)
    expected = scipy.stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert (found.value, found.n) == (pytest.approx(values.mean()), 9)
    assert student_interval(values.ravel()).n == 27


def test_student_interval_weighs_clips_by_their_rows():
    # The ratio of sums 9 / 4; its linearisation leaves residuals of the clips' sums, 3 - 9/4 and 6 - 27/4, over 2 rows.
    found = student_interval([3.0, 1.0, 2.0, 3.0], clips=[0, 1, 1, 1])
    half = scipy.stats.t.ppf(0.975, 1) * np.std([0.75 / 2, -0.75 / 2], ddof=1) / np.sqrt(2)
    assert (found.value, found.high - found.value) == (2.25, pytest.approx(half))


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [0.1, 0.1 + 1e-17], [0.0, 0.0], [1.0, np.nan]])
def test_student_interval_is_undefined_where_nothing_says_how_much_others_differ(values):
    assert np.isnan(student_interval(values)[1:3]).all()


def test_influences_are_added_up_by_unit():
    influences = np.array([[1.0, 0.0], [3.0, 0.0], [-4.0, 0.0], [0.0, 0.0]])
    (low, high), flat = influence_bounds([10.0, 1.0], influences, ["a", "a", "b", "b"])
    half = scipy.stats.t.ppf(0.975, 1) * np.std([2.0, -2.0], ddof=1) / np.sqrt(2)
    assert (low, high) == pytest.approx((10 - half, 10 + half))
    assert np.isnan(flat).all()
    assert np.isnan(influence_bounds([1.0], influences[:, :1], ["a"] * 4)).all()


@pytest.mark.parametrize(("n", "changed", "widened"), [(64, 6, True), (64, 9, False), (31, 3, False), (32, 3, True)])
def test_bounds_are_widened_where_few_clips_make_up_the_variance(n, changed, widened):
    """As if two more clips were as far from the mean as the farthest: two squares more, neither n nor mean changed."""
    values = np.zeros(n)
    values[:changed] = 0.5
    squares = (values - values.mean()) ** 2
    total = squares.sum() + 2 * squares.max() * widened
    half = scipy.stats.t.ppf(0.975, n - 1) * np.sqrt(total / (n - 1) / n)
    found = student_interval(values)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_normal_values_are_counted_as_a_third_of_their_number():
    values = np.random.default_rng(0).standard_normal(600)
    squares = (values - values.mean()) ** 2
    assert squares.sum() ** 2 / (squares**2).sum() == pytest.approx(200, rel=0.15)
    plain = scipy.stats.ttest_1samp(values[:64], 0).confidence_interval(0.95)
    assert tuple(student_interval(values[:64])[1:3]) == pytest.approx(tuple(plain))


def test_a_rare_change_is_covered_from_the_first_number_of_clips_that_is_widened():
    """One prompt in ten changes, by a half or a whole, seldom the other way: Student's own interval holds 88% of 64."""
    rng = np.random.default_rng(0)
    drawn = rng.choice([0.0, 0.5, -0.5, 1.0], p=[0.9, 0.06, 0.02, 0.02], size=(2000, 64))
    each = drawn - drawn.mean(axis=1, keepdims=True)
    bounds = np.array([student_bounds(row.mean(), part) for row, part in zip(drawn, each, strict=True)])
    covered = ((bounds[:, 0] <= 0.04) & (bounds[:, 1] >= 0.04)).mean()
    half = scipy.stats.t.ppf(0.975, 63) * each.std(axis=1, ddof=1) / 8
    plain = (np.abs(drawn.mean(axis=1) - 0.04) <= half).mean()
    assert plain < 0.925 < 0.94 < covered
