"""The far-same-bin share of variance on latents whose answer is known."""

import numpy as np
import pytest

from experiments.testbed.assessment.corpus_structure import far_same_bin_r2


def share(residual: np.ndarray, **options: bool) -> float:
    explained, total = far_same_bin_r2(residual, 10, **options)
    return explained / total


def test_constant_rows_are_explained_by_their_own_bin_only() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20, 4, 1, 16)) * np.ones((1, 1, 40, 1))
    assert share(rows) == pytest.approx(1.0)
    assert share(rows, over_bins=True) < 0.15


def test_white_noise_is_not_explained() -> None:
    assert share(np.random.default_rng(1).standard_normal((20, 4, 40, 16))) < 0.01


def test_half_of_the_variance() -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((200, 1, 1, 16)) * np.ones((1, 1, 40, 1))
    assert share(rows + rng.standard_normal(rows.shape)) == pytest.approx(0.5, abs=0.05)


def test_near_frames_do_not_count() -> None:
    # Noise with a memory of 5 frames: a neighbour tells much, frames at least 10 away tell nothing.
    noise = np.random.default_rng(3).standard_normal((50, 1, 44, 16))
    smooth = sum(noise[:, :, k : k + 40] for k in range(5))
    assert share(smooth) < 0.01
    near, total = far_same_bin_r2(smooth, 1)
    assert near / total > 0.04
