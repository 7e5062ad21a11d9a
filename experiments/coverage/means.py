"""Intervals of a mean over prompts, for many samples at once.

Shapes: R samples, n prompts of each, B bootstrap samples.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from evaluation.statistics.student import student_half_widths

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]
LEVELS = np.array([0.025, 0.975])
RESAMPLES = 999


def resampling_weights(n: int, rng: np.random.Generator) -> Array:
    """(n, B) how often each of n prompts is drawn in each bootstrap sample."""
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).T.astype(np.float64)


def _at(ordered: Array, share: Array) -> Array:
    """The values of (R, B) sorted rows below which a share (R,) of each lies, interpolated as `numpy.quantile` does."""
    place = share * (ordered.shape[1] - 1)
    low = np.clip(np.floor(place).astype(int), 0, ordered.shape[1] - 2)
    rows = np.arange(len(ordered))
    return ordered[rows, low] + (place - low) * (ordered[rows, low + 1] - ordered[rows, low])


def student(x: Array, weights: Array) -> Bounds:
    """Student's t with n - 1 degrees of freedom, no resampling."""
    n = x.shape[1]
    half = stdtrit(n - 1, LEVELS[1]) * x.std(axis=1, ddof=1) / np.sqrt(n)
    return x.mean(axis=1) - half, x.mean(axis=1) + half


def percentile(x: Array, weights: Array) -> Bounds:
    """Quantiles of the bootstrap means."""
    low, high = np.quantile(x @ weights / x.shape[1], LEVELS, axis=1)
    return low, high


def bca(x: Array, weights: Array) -> Bounds:
    """Bias-corrected and accelerated bootstrap (Efron, JASA 82, 1987)."""
    mean = x.mean(axis=1)
    ordered = np.sort(x @ weights / x.shape[1], axis=1)
    # A tie counts half, as a share of 0 or 1 has no quantile.
    below = ((ordered < mean[:, None]).mean(axis=1) + (ordered <= mean[:, None]).mean(axis=1)) / 2
    bias = ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    centred = x - mean[:, None]
    spread = (centred**2).sum(axis=1) ** 1.5
    acceleration = np.divide((centred**3).sum(axis=1), 6 * spread, out=np.zeros(len(x)), where=spread > 0)
    moved = [bias + ndtri(level) for level in LEVELS]
    low, high = (_at(ordered, ndtr(bias + z / (1 - acceleration * z))) for z in moved)
    return low, high


def studentised(x: Array, weights: Array) -> Bounds:
    """Bootstrap of the t statistic; a bootstrap sample whose prompts are all equal has none and is left out."""
    n, mean = x.shape[1], x.mean(axis=1, keepdims=True)
    centred = x - mean
    shift = centred @ weights / n
    error = np.sqrt(np.maximum((centred**2) @ weights / n - shift**2, 0) / (n - 1))
    enough = error > 1e-9 * np.abs(x).max(axis=1, keepdims=True)
    t = np.divide(shift, error, out=np.full_like(shift, np.nan), where=enough)
    own = x.std(axis=1, ddof=1) / np.sqrt(n)
    with np.errstate(invalid="ignore"):
        upper, lower = np.nanquantile(np.where(np.isnan(t).all(axis=1, keepdims=True), 0.0, t), LEVELS, axis=1)
    return mean[:, 0] - lower * own, mean[:, 0] - upper * own


def printed(x: Array, weights: Array) -> Bounds:
    """What tables print: Student's t, widened where few prompts make up the variance."""
    mean, half = x.mean(axis=1), student_half_widths(x)
    return mean - half, mean + half


METHODS: Mapping[str, Callable[[Array, Array], Bounds]] = {
    "printed": printed,
    "student t": student,
    "percentile": percentile,
    "BCa": bca,
    "studentised": studentised,
}


def with_spread(samples: Array) -> Array:
    """Those of (R, n) samples whose values are not all equal: the others have no interval."""
    return samples[np.ptp(samples, axis=1) > 1e-12 * np.abs(samples).max(axis=1)]


def coverage(samples: Array, truth: float, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Method -> how often the interval of an (R, n) sample holds the truth, and the share that has an interval.

    A sample of equal values has none: nothing in it says how much another would differ.
    """
    x = with_spread(samples)
    weights = resampling_weights(samples.shape[1], rng)
    found = {}
    for name, interval in METHODS.items():
        low, high = interval(x, weights)
        found[name] = float(((low <= truth) & (truth <= high)).mean()), len(x) / len(samples)
    return found
