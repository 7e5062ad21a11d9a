"""Hit rate and exact sets on posteriors whose answers can be read off, per window and over the clip."""

import numpy as np
import pytest

from evaluation.metrics.hit_rate import ClipLabels, exact_set_per_window, hit_rate_per_window

# Logits of 3 classes in 2 windows; a class is heard above 0.
CLIP = [[4.0, -4.0, -4.0], [4.0, 4.0, -4.0]]


@pytest.mark.parametrize(
    ("labels", "hits", "exact"),
    [
        (ClipLabels((0,)), [1, 1], [1, 0]),  # what is heard beyond the label costs the exact set only
        (ClipLabels((0, 1)), [0.5, 1], [0, 1]),
        (ClipLabels((1, 0), in_every_window=False), [1, 1], [1, 1]),  # each somewhere in the clip
        (ClipLabels((0,), in_every_window=False), [1, 1], [0, 0]),
        (ClipLabels((1, 2), in_every_window=False), [0.5, 0.5], [0, 0]),
        (ClipLabels((2,)), [0, 0], [0, 0]),
    ],
)
def test_values_read_off_the_posteriors(labels, hits, exact):
    np.testing.assert_array_equal(hit_rate_per_window([CLIP], [labels]), [hits])
    np.testing.assert_array_equal(exact_set_per_window([CLIP], [labels]), [exact])


def test_each_clip_is_held_against_its_own_labels():
    labels = [ClipLabels((0,)), ClipLabels((2,)), ClipLabels((1,), in_every_window=False)]
    np.testing.assert_array_equal(hit_rate_per_window([CLIP] * 3, labels), [[1, 1], [0, 0], [1, 1]])


def test_the_threshold_is_a_posterior_and_must_be_exceeded():
    at = np.log([[[0.5 / 0.5, 0.8 / 0.2, 0.3 / 0.7]]])
    labels = [ClipLabels((0, 1, 2))]
    assert hit_rate_per_window(at, labels)[0, 0] == pytest.approx(1 / 3)
    assert hit_rate_per_window(at, labels, threshold=0.29)[0, 0] == 1
    assert hit_rate_per_window(at, labels, threshold=0.81)[0, 0] == 0


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        ([CLIP], [ClipLabels(())], {}, r"labels \(\); give different classes out of 0 to 2"),
        ([CLIP], [ClipLabels((0, 0))], {}, r"labels \(0, 0\)"),
        ([CLIP], [ClipLabels((3,))], {}, r"labels \(3,\)"),
        ([CLIP], [ClipLabels((-1,))], {}, r"labels \(-1,\)"),
        ([CLIP], [], {}, r"logits \(1, 2, 3\) for 0 labelled clips"),
        (CLIP, [ClipLabels((0,))] * 2, {}, r"expected finite \(n, W, C\)"),
        ([[[np.nan]]], [ClipLabels((0,))], {}, "finite"),
        ([CLIP], [ClipLabels((0,))], {"threshold": 1.0}, "threshold=1.0; give a posterior between 0 and 1"),
    ],
)
def test_bad_input_is_named(logits, labels, options, message):
    with pytest.raises(ValueError, match=message):
        hit_rate_per_window(logits, labels, **options)
