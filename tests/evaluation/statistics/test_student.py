"""Student's t over clips against scipy's, and the influences of clips against bounds by hand."""

import numpy as np
import pytest
import scipy.stats

from evaluation.statistics.student import influence_bounds, student_interval


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
