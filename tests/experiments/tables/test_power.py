"""The smallest visible effect against the definition of power."""

import math
from statistics import NormalDist

import pytest

from experiments.tables.intervals import detectable_effect, detectable_from_interval


def test_the_effect_is_found_in_four_of_five_studies():
    effect = detectable_effect(0.5)
    estimate = NormalDist(effect, 0.5)
    significant = 1 - estimate.cdf(1.959964 * 0.5) + estimate.cdf(-1.959964 * 0.5)
    assert significant == pytest.approx(0.8, abs=1e-4)


def test_an_interval_tells_its_standard_error():
    assert detectable_from_interval(-0.98, 0.98) == pytest.approx(detectable_effect(0.5), rel=1e-4)
    assert detectable_from_interval(4.02, 5.98) == pytest.approx(detectable_effect(0.5), rel=1e-4)
    assert math.isnan(detectable_from_interval(math.nan, math.nan))
