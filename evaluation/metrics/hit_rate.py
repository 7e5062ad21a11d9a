"""Whether a multi-label classifier hears in each clip what was asked for: recall of its classes, and exact sets.

Shapes: n clips, W windows per clip, C classes.

A class is heard in a window where its posterior, the sigmoid of its logit, exceeds the threshold. Hit rate is recall:
what is heard beyond the asked classes costs nothing there, and does cost the exact set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import Array


@dataclass(frozen=True)
class ClipLabels:
    """What should be heard in a clip.

    Attributes:
        classes: indices of the classifier's classes; at least one, none twice.
        in_every_window: whether each window should hold all of them; otherwise each is due somewhere in the clip, as
            where one sound follows another.
    """

    classes: tuple[int, ...]
    in_every_window: bool = True


LabelSource = Callable[[str], ClipLabels | None]
"""Prompt id to its labels; None for a prompt that has none."""


def hit_rate_per_window(logits: ArrayLike, labels: Sequence[ClipLabels], *, threshold: float = 0.5) -> Array:
    """Share in [0, 1] of a clip's classes that are heard, (n, W, C) logits to (n, W).

    A clip whose classes are due somewhere (``in_every_window=False``) gets the share that any of its windows holds,
    the same value at each of its windows.

    Raises:
        ValueError: not finite (n, W, C) logits with one labelled clip per row, a class that is not there or given
            twice, no class, or a threshold outside (0, 1).
    """
    heard, due = _heard_and_due(logits, labels, threshold)
    return (heard & due[:, None]).sum(axis=2) / due.sum(axis=1)[:, None]


def exact_set_per_window(logits: ArrayLike, labels: Sequence[ClipLabels], *, threshold: float = 0.5) -> Array:
    """1.0 where exactly a clip's classes are heard and no other, else 0.0: (n, W, C) logits to (n, W).

    Arguments, clips whose classes are due somewhere, and errors: as in :func:`hit_rate_per_window`.
    """
    heard, due = _heard_and_due(logits, labels, threshold)
    return (heard == due[:, None]).all(axis=2).astype(np.float64)


def _heard_and_due(logits: ArrayLike, labels: Sequence[ClipLabels], threshold: float) -> tuple[Array, Array]:
    """(n, W, C) whether a class counts as heard at a window, and (n, C) whether it is due."""
    heard, due = heard_windows(logits, labels, threshold)
    every = np.array([clip.in_every_window for clip in labels])[:, None, None]
    return np.where(every, heard, heard.any(axis=1, keepdims=True)), due


def heard_windows(logits: ArrayLike, labels: Sequence[ClipLabels], threshold: float) -> tuple[Array, Array]:
    """(n, W, C) whether each class is heard in each window, and (n, C) whether it is due.

    Raises:
        ValueError: as :func:`hit_rate_per_window`.
    """
    rows = real_array(logits, "logits", np.float64)
    if rows.ndim != 3 or len(rows) != len(labels) or rows.size == 0 or not np.isfinite(rows).all():
        raise ValueError(f"logits {rows.shape} for {len(labels)} labelled clips; expected finite (n, W, C)")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold}; give a posterior between 0 and 1")
    due = np.zeros((len(rows), rows.shape[2]), dtype=bool)
    for row, clip in zip(due, labels, strict=True):
        if not clip.classes or sorted(set(clip.classes) & set(range(len(row)))) != sorted(clip.classes):
            raise ValueError(f"labels {clip.classes}; give different classes out of 0 to {len(row) - 1}, at least one")
        row[list(clip.classes)] = True
    return rows > logit(threshold), due
