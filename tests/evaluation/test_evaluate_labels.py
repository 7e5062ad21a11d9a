"""Metrics of a multi-label classifier from folders to numbers: values read off its logits, floors, what is missing."""

import numpy as np
import pytest
import soundfile
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.metrics.hit_rate import ClipLabels, exact_set_per_window, hit_rate_per_window
from evaluation.metrics.kl import bernoulli_kl_per_clip

NAMES = ("a", "b", "c", "d", "e", "f")
METRICS = ("kl_bernoulli", "hit_rate", "exact_set_rate")
LABELS = {name: ClipLabels((i % 3,), in_every_window=name != "f") for i, name in enumerate(NAMES)}


class SignBands(BandEmbedder):
    """Three bands as logits around their mean: about half of the classes are heard, others in other windows."""

    name = "signs"

    def _features(self, row):
        features = super()._features(row)
        bands = features["embedding"][:3]
        return {**features, "logits": 20 * (bands - bands.mean())}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")

    def folder(name, seed, seconds):
        return write_folder(root / name, {n: noise_clip(seed + i, seconds) for i, n in enumerate(NAMES)})

    return {"ref": folder("ref", 0, 1), "gen": folder("gen", 7, 2), "other": folder("other", 22, 2)}


def run(folders, generated="gen", **options):
    embedder = SignBands()
    options = {
        "preset": "testbed", "metrics": METRICS, "labels": LABELS.get, "window_s": 1.0, "cache_dir": None,
        "floors": False, "embedders": {"frames": embedder, "classifier": embedder, "text": embedder}, **options,
    }  # fmt: skip
    return evaluate(folders["ref"], folders[generated], None, **options)


def logits(folder, windows):
    rows = [soundfile.read(folder / f"{name}.wav", dtype="float32")[0].reshape(windows, 8000) for name in NAMES]
    return np.stack([[f["logits"] for f in SignBands().embed(list(row))] for row in rows])


def headline(results, metric):
    return next(result for result in results if result.metric == metric and result.window == -1)


def test_values_are_those_of_the_logits_and_hits_are_better_high(folders):
    found = run(folders)
    own, labels = logits(folders["gen"], 2), [LABELS[name] for name in NAMES]
    expected = {
        "hit_rate": hit_rate_per_window(own, labels),
        "exact_set_rate": exact_set_per_window(own, labels),
        "kl_bernoulli": bernoulli_kl_per_clip(np.repeat(logits(folders["ref"], 1), 2, axis=1), own),
    }
    assert 0 < expected["exact_set_rate"].mean() < expected["hit_rate"].mean() < 1
    for metric, values in expected.items():
        assert found.value(metric) == pytest.approx(values.mean(), rel=1e-5), metric
        for window in range(2):
            assert found.value(metric, window) == pytest.approx(values[:, window].mean(), rel=1e-5)
        row = headline(found.results, metric)
        assert row.higher_is_better == (metric != "kl_bernoulli")
        assert row.low < row.value < row.high
        assert (row.unit, row.n_scored) == ("clip", 6)


def test_differences_are_paired_by_clip(folders):
    found = run(folders, baseline=folders["other"])
    labels = [LABELS[name] for name in NAMES]
    change = hit_rate_per_window(logits(folders["gen"], 2), labels) - hit_rate_per_window(
        logits(folders["other"], 2), labels
    )
    row = headline(found.differences, "hit_rate")
    assert row.value == pytest.approx(change.mean(), abs=1e-12)
    assert row.low <= row.value <= row.high
    assert 0 < row.details["p_value"] <= 1


def test_floors_say_what_the_classifier_hears_in_references(folders):
    floors = {row.metric: row.value for row in run(folders, floors=True).floors}
    real, labels = logits(folders["ref"], 1), [LABELS[name] for name in NAMES]
    assert floors["floor_hit_rate_reference"] == pytest.approx(hit_rate_per_window(real, labels).mean())
    assert floors["floor_exact_set_rate_reference"] == pytest.approx(exact_set_per_window(real, labels).mean())
    others = [bernoulli_kl_per_clip(real[:, 0], np.roll(real[:, 0], k, axis=0)) for k in range(1, len(real))]
    assert floors["floor_kl_bernoulli_shuffled_references"] == pytest.approx(np.mean(others), rel=1e-5)


def test_without_labels_the_metric_is_left_out_with_its_reason_or_refused(folders):
    found = run(folders, labels=None, metrics=None)
    assert found.not_computed["hit_rate"] == found.not_computed["exact_set_rate"] == "no labels given"
    some = {name: labels for name, labels in LABELS.items() if name not in "cd"}
    found = run(folders, labels=some.get, metrics=None)
    assert found.not_computed["hit_rate"] == "no labels for 2 of 6 clips, first c"
    assert found.value("kl_bernoulli") > 0
    with pytest.raises(ValueError, match=r"hit_rate: no labels given.*give what is missing"):
        run(folders, labels=None)
