"""CLAP score: cosine between the embedding of a clip and that of its caption, mean over clips.

Shapes: n clips, W windows per clip, d embedding size. No factor 100 and no clamp at 0, as in the public tools'
definition (LAION CLAP, laion_clap API); values of different checkpoints do not compare.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array, Interval, Seed, bootstrap_interval

COLLAPSE_THRESHOLD = 0.9
SeveralCaptions = Literal["max", "mean", "first"]
SEVERAL_CAPTIONS: tuple[SeveralCaptions, ...] = ("max", "mean", "first")


class WindowClapScores(NamedTuple):
    """CLAP of clips scored in windows, each (n,)."""

    mean: Array
    """Mean over windows of the cosine: the primary number."""
    worst: Array
    """Cosine of the clip's worst window."""
    sd: Array
    """Standard deviation over windows (W - 1 in the denominator); nan for one window."""
    mean_embedding: Array
    """Cosine of the renormalised mean of the unit window embeddings."""


class TextCollapse(NamedTuple):
    """Whether a text encoder tells captions apart."""

    mean_cosine: float
    """Mean cosine over pairs of different captions; nan for one caption."""
    collapsed: bool
    """True at 0.9 or more: then a CLAP score says nothing about the prompt."""
    n: int
    """Number of different captions."""


def clap_score(audio: ArrayLike, text: ArrayLike) -> float:
    """Mean over clips of :func:`clap_per_clip`."""
    return float(np.mean(clap_per_clip(audio, text)))


def clap_score_interval(audio: ArrayLike, text: ArrayLike, *, seed: Seed, confidence: float = 0.95) -> Interval:
    """:func:`clap_score` with a bootstrap interval over clips."""
    return bootstrap_interval(np.mean, clap_per_clip(audio, text), seed=seed, confidence=confidence)


def clap_per_clip(audio: ArrayLike, text: ArrayLike) -> Array:
    """Cosine in [-1, 1] of each row pair: (n, d) audio and (n, d) text embeddings to (n,).

    Rows need not be of unit length.

    Raises:
        ValueError: shapes differ, or an embedding is zero or not finite.
    """
    sounds, captions = _unit(audio, "audio", 2), _unit(text, "text", 2)
    if sounds.shape != captions.shape:
        raise ValueError(f"audio {sounds.shape} and text {captions.shape} differ; pair one caption with each clip")
    return np.einsum("nd,nd->n", sounds, captions)


def window_clap_scores(audio: ArrayLike, text: ArrayLike) -> WindowClapScores:
    """CLAP of (n, W, d) window embeddings against (n, d) captions.

    Raises:
        ValueError: as in :func:`clap_per_clip`.
    """
    windows, captions = _unit(audio, "audio", 3), _unit(text, "text", 2)
    n, count, d = windows.shape
    if captions.shape != (n, d):
        raise ValueError(f"audio {windows.shape} and text {captions.shape}; expected (n, W, d) and (n, d)")
    cosines = np.einsum("nwd,nd->nw", windows, captions)
    spread = cosines.std(axis=1, ddof=1) if count > 1 else np.full(n, np.nan)
    mean_embedding = clap_per_clip(windows.mean(axis=1), captions)
    return WindowClapScores(cosines.mean(axis=1), cosines.min(axis=1), spread, mean_embedding)


def over_captions(values: ArrayLike, how: SeveralCaptions) -> Array:
    """(n, K, W) scores of clips with up to K captions, nan where a clip has fewer, to one score (n, W) per window.

    "mean" of the captions, the "first", or "max": the caption with the highest mean over windows, in all of them.
    """
    scores = real_array(values, "values", np.float64)
    if how == "first":
        return scores[:, 0]
    if how == "mean":
        return np.asarray(np.nanmean(scores, axis=1))
    best = np.nanargmax(scores.mean(axis=2), axis=1)
    return scores[np.arange(len(scores)), best]


def text_collapse(text: ArrayLike, *, threshold: float = COLLAPSE_THRESHOLD) -> TextCollapse:
    """Mean pairwise cosine of (n, d) embeddings of *different* captions, to be looked at beside every CLAP score.

    Some published checkpoints give nearly the same vector to every caption after a conversion between libraries
    (0.9993 was measured), and a CLAP score then still looks plausible.
    """
    units = _unit(text, "text", 2)
    n = len(units)
    if n < 2:
        return TextCollapse(np.nan, False, n)
    # Sum over i != j of u_i . u_j, from the length of the summed vector.
    mean_cosine = float((np.sum(units.sum(axis=0) ** 2) - n) / (n * (n - 1)))
    return TextCollapse(mean_cosine, mean_cosine >= threshold, n)


def _unit(embeddings: ArrayLike, name: str, ndim: int) -> Array:
    rows = real_array(embeddings, name, np.float64)
    if rows.ndim != ndim or rows.size == 0:
        raise ValueError(f"{name} has shape {rows.shape}; expected {'(n, d)' if ndim == 2 else '(n, W, d)'}")
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise ValueError(f"{name} holds a zero or non-finite embedding; its cosine is undefined")
    return rows / length
