"""The smallest visible effect against the definition of power."""

import math
from statistics import NormalDist

import pytest

from experiments.tables.intervals import detectable_effect


def test_the_effect_is_found_in_four_of_five_studies():
    half_width = 1.959964 * 0.5  # of an estimate with a standard error of 0.5
    effect = detectable_effect(-half_width, half_width)
    assert effect == 1.4  # two digits of 1.4009
    estimate = NormalDist(effect, 0.5)
    significant = 1 - estimate.cdf(half_width) + estimate.cdf(-half_width)
    assert significant == pytest.approx(0.8, abs=1e-3)


def test_the_width_alone_counts_and_an_undefined_interval_has_none():
    assert detectable_effect(4.02, 5.98) == detectable_effect(-0.98, 0.98)
    assert detectable_effect(math.nan, math.nan) is None
