"""Order of sounds: by hand on logits, and on folders whose clips are turned round."""

import numpy as np
import pytest
from networks import BandEmbedder, write_folder

from evaluation.evaluate import evaluate
from evaluation.metrics.event_order import order_per_clip
from evaluation.metrics.hit_rate import ClipLabels

LOUD, QUIET = 3.0, -3.0


def logits(*windows):
    """(1, W, 4) out of the classes that are heard in each window."""
    return np.array([[[LOUD if c in heard else QUIET for c in range(4)] for heard in windows]])


@pytest.mark.parametrize(
    ("windows", "classes", "expected"),
    [
        (({0}, {1}), (0, 1), 1.0),
        (({1}, {0}), (0, 1), 0.0),
        (({0, 1}, {0, 1}), (0, 1), 0.5),
        (({0, 1}, {1}), (0, 1), 1.0),
        (({0, 1}, {0}), (0, 1), 0.0),
        (({0}, {0}), (0, 1), 0.0),
        ((set(), set()), (0, 1), 0.0),
        (({2}, {0}, {1}), (2, 0, 1), 1.0),
        (({2}, {1}, {0}), (2, 0, 1), 0.5),
    ],
)
def test_order_by_hand(windows, classes, expected):
    assert order_per_clip(logits(*windows), [ClipLabels(classes, False)]).tolist() == [expected]


def test_clips_without_an_order_have_no_number():
    rows = np.concatenate([logits({0}, {1})] * 3)
    found = order_per_clip(rows, [ClipLabels((0, 1), False), ClipLabels((0, 1)), ClipLabels((0,), False)])
    assert found[0] == 1
    assert np.isnan(found[1:]).all()
    with pytest.raises(ValueError, match="class"):
        order_per_clip(rows[:1], [ClipLabels((0, 9), False)])


class ToneClassifier(BandEmbedder):
    """Hears class k where the k-th of eight bands holds most of the energy."""

    def _features(self, row):
        found = super()._features(row)
        bands = found["frames"].mean(axis=0)
        return {**found, "logits": np.where(bands > bands.max() - 0.5, LOUD, QUIET).astype(np.float32)}


def tone(band):
    return 0.3 * np.sin(2 * np.pi * (500 * band + 250) * np.arange(8000) / 8000)


def test_a_clip_turned_round_loses_its_order(tmp_path):
    forward = {f"c{i}": np.concatenate([tone(i), tone(i + 1)]) for i in range(6)}
    write_folder(tmp_path / "right", forward)
    write_folder(tmp_path / "wrong", {name: samples[::-1] for name, samples in forward.items()})
    write_folder(tmp_path / "half", {n: s[:: -1 if n > "c2" else 1] for n, s in forward.items()})
    labels = {f"c{i}": ClipLabels((i, i + 1), False) for i in range(6)}
    options = {"preset": "testbed", "metrics": ("event_order",), "embedders": {"classifier": ToneClassifier()}}
    options |= {"window_s": 1.0, "cache_dir": None}
    values = {
        folder: evaluate(None, tmp_path / folder, labels=labels.get, **options).value("event_order")
        for folder in ("right", "wrong", "half")
    }
    assert values == {"right": 1.0, "wrong": 0.0, "half": 0.5}
    with pytest.raises(ValueError, match="no clip whose labels follow one another"):
        evaluate(None, tmp_path / "right", labels=lambda _: ClipLabels((0, 1)), **options)
