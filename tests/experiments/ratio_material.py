"""What tables print of ratios of times, by an independent library."""

import numpy as np
import pytest
from scipy.stats import gmean, ttest_1samp


def times_faster(*ratios):
    """(geometric mean, low, high) of ratios, 95%."""
    interval = ttest_1samp(np.log(ratios), 0).confidence_interval()
    return pytest.approx((gmean(ratios), np.exp(interval.low), np.exp(interval.high)))
