"""The order that floors draw from: by value, whatever the rows are called."""

import numpy as np
import pytest

from evaluation.scoring.floors import lexicographic


@pytest.mark.parametrize("values", [2, 3, 10_000])
@pytest.mark.parametrize("columns", [1, 4, 5, 40, 300])
def test_rows_are_sorted_by_all_of_their_columns_with_ties_and_nan(values, columns):
    generator = np.random.default_rng(columns)
    rows = generator.integers(values, size=(200, columns)).astype(float)
    rows[:, :4] = np.minimum(rows[:, :4], 1)
    rows[generator.random(rows.shape) < 0.1] = np.nan
    rows[100:110] = rows[:10]
    np.testing.assert_array_equal(lexicographic(rows), np.lexsort(rows.T[::-1]))


def test_columns_of_nan_do_not_tell_rows_apart():
    rows = np.random.default_rng(0).standard_normal((50, 40))
    rows[:, :4] = np.nan
    np.testing.assert_array_equal(lexicographic(rows), np.argsort(rows[:, 4]))
