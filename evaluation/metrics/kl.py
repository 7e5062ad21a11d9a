"""KL divergence between the class posteriors of paired clips, mean over clips.

Shapes: n clips, W windows per clip, C classes.

The field prints one name for two opposite quantities: ``reference_to_generated`` is sum p_ref log(p_ref / p_gen)
(audioldm_eval, audiocraft, av-benchmark), ``generated_to_reference`` swaps the roles (stable-audio-metrics). They
are not comparable, neither are posteriors of different classifiers.

A classifier of one class per clip has one categorical posterior, the softmax of its logits (:func:`kl_per_clip`). One
whose classes are independent of each other has C Bernoulli posteriors, the sigmoids (:func:`bernoulli_kl_per_clip`).
The per-class sigmoid form found in audioldm_eval keeps the class's half of each Bernoulli divergence and drops the
other, which leaves no divergence (no lower bound); it is not offered.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, expit, log_expit, log_softmax, rel_entr, softmax

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array, Interval, Seed, bootstrap_interval

Direction = Literal["reference_to_generated", "generated_to_reference"]
Inputs = Literal["logits", "probabilities"]
Pooling = Literal["mean_of_windows", "mean_logits"]


def kl_divergence(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    direction: Direction = "reference_to_generated",
    inputs: Inputs = "logits",
    eps: float | None = None,
) -> float:
    """Mean over clips of :func:`kl_per_clip`."""
    return float(np.mean(kl_per_clip(reference, generated, direction=direction, inputs=inputs, eps=eps)))


def kl_divergence_interval(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    seed: Seed,
    direction: Direction = "reference_to_generated",
    inputs: Inputs = "logits",
    eps: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """:func:`kl_divergence` with a bootstrap interval over clips."""
    per_clip = kl_per_clip(reference, generated, direction=direction, inputs=inputs, eps=eps)
    return bootstrap_interval(np.mean, per_clip, seed=seed, confidence=confidence)


def kl_per_clip(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    direction: Direction = "reference_to_generated",
    inputs: Inputs = "logits",
    eps: float | None = None,
) -> Array:
    """KL divergence in nats of each pair of rows, (..., C) and (..., C) to (...).

    Args:
        reference: logits or probabilities of the reference clips; row i is paired with row i of ``generated``.
        generated: the same for the generated clips.
        direction: which distribution weighs the sum, see the module's docstring.
        inputs: "logits" are turned into posteriors by a softmax (in the log domain, exactly); "probabilities" must
            sum to 1.
        eps: None is exact. A number reproduces peers (1e-6): it is added to the second distribution's probability
            only, so that the result is bounded by -log eps and KL(p, p) is about -C eps instead of 0.

    Returns:
        Values >= 0 (exact mode); inf where the second distribution gives 0 to a class that the first does not.

    Raises:
        ValueError: shapes differ, values are not finite, rows are not distributions, or an option is unknown.
    """
    first, second = _directed(reference, generated, direction)
    if inputs == "logits":
        if eps is None:
            log_p, log_q = log_softmax(first, axis=-1), log_softmax(second, axis=-1)
            return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)
        first, second = softmax(first, axis=-1), softmax(second, axis=-1)
    elif inputs == "probabilities":
        _check_distributions(first, second)
    else:
        raise ValueError(f"inputs={inputs!r}; give 'logits' or 'probabilities'")
    if eps is None:
        return np.sum(rel_entr(first, second), axis=-1)
    if not eps > 0:
        raise ValueError(f"eps={eps}; give a positive number, or None for the exact divergence")
    return -np.sum(entr(first) + first * np.log(second + eps), axis=-1)


def bernoulli_kl_per_clip(
    reference: ArrayLike, generated: ArrayLike, *, direction: Direction = "reference_to_generated"
) -> Array:
    """Summed KL divergence in nats of C independent yes/no posteriors, (..., C) and (..., C) logits to (...).

    sum over classes of p log(p / q) + (1 - p) log((1 - p) / (1 - q)) with p and q the sigmoids of the logits: the
    divergence between the two joint distributions of C independent classes. Exact, from the logits.

    Args:
        reference: logits of the reference clips; row i is paired with row i of ``generated``.
        generated: the same for the generated clips.
        direction: p is the first of the two that it names, q the second.

    Returns:
        Values >= 0, finite for finite logits.

    Raises:
        ValueError: shapes differ, values are not finite, or the direction is unknown.
    """
    first, second = _directed(reference, generated, direction)
    present = expit(first) * (log_expit(first) - log_expit(second))
    absent = expit(-first) * (log_expit(-first) - log_expit(-second))
    return np.sum(present + absent, axis=-1)


def windowed_kl_per_clip(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    pooling: Pooling = "mean_of_windows",
    direction: Direction = "reference_to_generated",
    inputs: Inputs = "logits",
    eps: float | None = None,
) -> Array:
    """KL of clips scored in windows: (n, C) reference and (n, W, C) generated rows to (n,).

    Args:
        reference: one row per clip (its reference is one window long).
        generated: the W windows of each clip.
        pooling: "mean_of_windows" averages the W divergences; "mean_logits" takes the divergence of the softmax of
            the mean logits (as stable-audio-metrics does), which forgives windows that err in opposite ways.
        direction, inputs, eps: as in :func:`kl_per_clip`.

    Raises:
        ValueError: as in :func:`kl_per_clip`, or mean logits asked of probabilities.
    """
    first, windows = real_array(reference, "reference", np.float64), real_array(generated, "generated", np.float64)
    if first.ndim != 2 or windows.ndim != 3 or first.shape != (windows.shape[0], windows.shape[2]):
        raise ValueError(f"reference {first.shape} and generated {windows.shape}; expected (n, C) and (n, W, C)")
    if pooling == "mean_of_windows":
        spread = np.broadcast_to(first[:, None], windows.shape)
        return kl_per_clip(spread, windows, direction=direction, inputs=inputs, eps=eps).mean(axis=1)
    if pooling != "mean_logits":
        raise ValueError(f"pooling={pooling!r}; give 'mean_of_windows' or 'mean_logits'")
    if inputs != "logits":
        raise ValueError("pooling='mean_logits' averages logits; it cannot be had from probabilities")
    return kl_per_clip(first, windows.mean(axis=1), direction=direction, eps=eps)


def _directed(reference: ArrayLike, generated: ArrayLike, direction: Direction) -> tuple[Array, Array]:
    """The distribution that weighs the sum, then the other."""
    first, second = _paired(reference, generated)
    if direction not in ("reference_to_generated", "generated_to_reference"):
        raise ValueError(f"direction={direction!r}; give 'reference_to_generated' or 'generated_to_reference'")
    return (first, second) if direction == "reference_to_generated" else (second, first)


def _paired(reference: ArrayLike, generated: ArrayLike) -> tuple[Array, Array]:
    first, second = real_array(reference, "reference", np.float64), real_array(generated, "generated", np.float64)
    if first.shape != second.shape or first.ndim < 2 or first.size == 0:
        raise ValueError(f"reference {first.shape} and generated {second.shape}; expected equal shapes (n, C)")
    for name, rows in (("reference", first), ("generated", second)):
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} holds nan or inf; find the clip that produced it")
    return first, second


def _check_distributions(*distributions: Array) -> None:
    for rows in distributions:
        off = float(np.abs(rows.sum(axis=-1) - 1).max())
        if rows.min() < 0 or off > 1e-4:
            raise ValueError(f"rows are not probabilities (sum off by {off:.2g}, minimum {rows.min():.2g})")
