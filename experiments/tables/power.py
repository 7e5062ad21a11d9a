"""The smallest effect that a comparison could have seen: two-sided test at 5%, power 80%, normal approximation."""

from statistics import NormalDist

CONFIDENCE, POWER = 0.95, 0.80
_INTERVAL = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_QUANTILES = _INTERVAL + NormalDist().inv_cdf(POWER)


def detectable_effect(standard_error: float) -> float:
    """The true difference that a paired comparison with this standard error finds in 80% of studies: 2.80 s.e."""
    return _QUANTILES * standard_error


def detectable_from_interval(low: float, high: float) -> float:
    """The same from a 95% interval of the paired difference: 1.43 times its half width; nan for an undefined one."""
    return detectable_effect((high - low) / 2 / _INTERVAL)
