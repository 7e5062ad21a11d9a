"""Do sounds that should follow one another do so? From a multi-label classifier's windows.

For captions like "a dog barks, then a car passes" (as AudioTime's STEAM and T2A-EpicBench ask): each sound's first and
last window in which it is heard, the posterior above the threshold, and every two neighbours in the caption's order.

Shapes: n clips, W windows per clip, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from evaluation.metrics.hit_rate import ClipLabels, heard_windows
from evaluation.statistics.bootstrap import Array


def has_order(labels: ClipLabels) -> bool:
    """Whether the classes of a clip are due one after the other: at least two, and not in every window."""
    return not labels.in_every_window and len(labels.classes) > 1


def order_per_clip(logits: ArrayLike, labels: Sequence[ClipLabels], *, threshold: float = 0.5) -> Array:
    """Share in [0, 1] of neighbouring sounds in the right order, (n, W, C) logits to (n,); nan for a clip without.

    A pair counts 1 where the first is first heard earlier, or as early and last heard earlier; 0.5 where neither
    shows, as in windows that hold both; 0 in the other order, or where one of them is not heard at all. The order
    is that of ``ClipLabels.classes``.

    Raises:
        ValueError: as :func:`evaluation.metrics.hit_rate.hit_rate_per_window`.
    """
    heard, _ = heard_windows(logits, labels, threshold)
    return np.array([
        _share_in_order(windows[:, list(own.classes)]) if has_order(own) else np.nan
        for windows, own in zip(heard, labels, strict=True)
    ])  # fmt: skip


def _share_in_order(heard: Array) -> float:
    """Of (W, K) booleans: whether each of K sounds is heard in each window."""
    present = np.any(heard, axis=0).tolist()
    first = np.argmax(heard, axis=0).tolist()
    last = (-np.argmax(heard[::-1], axis=0)).tolist()
    scores = []
    for one, two in zip(range(heard.shape[1]), range(1, heard.shape[1]), strict=False):
        before, after = (first[one], last[one]), (first[two], last[two])
        right = 1.0 if before < after else 0.5 if before == after else 0.0
        scores.append(right if present[one] and present[two] else 0.0)
    return float(np.mean(scores))
