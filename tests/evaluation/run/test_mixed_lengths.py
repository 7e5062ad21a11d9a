"""Clips of several lengths in one folder: every metric over the windows that a clip has."""

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.metrics.clap_score import clap_per_clip
from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.kl import kl_divergence
from evaluation.metrics.longform import repetition

NAMES = tuple(f"p{i:02}" for i in range(12))
CAPTIONS = {name: f"caption {name}" for name in NAMES}
SECONDS = {name: 2 + i % 3 for i, name in enumerate(NAMES)}
METRICS = ("fad", "fad_pooled", "fd", "kad", "kl", "kl_bernoulli", "is", "clap", "clap_worst_window", "consistency",
           "repetition", "level", "silence")  # fmt: skip
CLIPS = {name: noise_clip(50 + i, SECONDS[name], colour=i / 13) for i, name in enumerate(NAMES)}
REFERENCES = {name: noise_clip(i, 1, colour=i / 13) for i, name in enumerate(NAMES)}


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "ref", REFERENCES)
    write_folder(tmp_path / "gen", CLIPS)
    return tmp_path


def run(root, generated="gen", **options):
    judges = dict.fromkeys(("frames", "classifier", "text"), BandEmbedder())
    options = {"preset": "testbed", "embedders": judges, "window_s": 1.0, "cache_dir": None, **options}
    return evaluate(root / "ref", root / generated, CAPTIONS, **{"metrics": METRICS, "floors": False, **options})


def windows(samples, output):
    return np.stack([row[output] for row in BandEmbedder().embed(samples.reshape(-1, 8000))])


def test_means_take_every_window_and_distances_those_that_all_clips_have(root):
    found = run(root)
    logits = {n: windows(CLIPS[n], "logits") for n in NAMES}
    references = {n: windows(REFERENCES[n], "logits") for n in NAMES}
    per_clip = [kl_divergence(np.repeat(references[n], len(logits[n]), 0), logits[n]) for n in NAMES]
    assert found.value("kl") == pytest.approx(np.mean(per_clip), rel=1e-5)
    text = BandEmbedder().embed_text(list(CAPTIONS.values()))
    cosines = [clap_per_clip(windows(CLIPS[n], "embedding"), np.repeat(t[None], SECONDS[n], 0))
               for n, t in zip(NAMES, text, strict=True)]  # fmt: skip
    assert found.value("clap") == pytest.approx(np.mean([c.mean() for c in cosines]), rel=1e-5)
    assert found.value("clap_worst_window") == pytest.approx(np.mean([c.min() for c in cosines]), rel=1e-5)
    similar = [repetition(windows(CLIPS[n], "embedding")[None]).mean[0] for n in NAMES]
    assert found.value("repetition") == pytest.approx(np.mean(similar), rel=1e-5)
    real = np.concatenate([windows(REFERENCES[n], "frames")[0] for n in NAMES])
    curve = [
        frechet_distance(real, np.concatenate([windows(CLIPS[n], "frames")[position] for n in NAMES]))
        for position in (0, 1)
    ]
    assert found.value("fad") == pytest.approx(np.mean(curve), rel=1e-5)
    assert {row.n_scored for row in found.results} == {12}
    assert found.provenance["windows"] == [2, 4]
    assert "clips have 2 to 4 windows: distances between sets take the first 2 of each" in found.table()
    shortest = root / "gen" / "p00.wav"
    assert found.not_computed == {
        "consistency": f"clips have 2 to 4 windows, {shortest} has 2; it needs as many of each"
    }


def test_one_odd_clip_does_not_stop_a_run_and_is_named_where_it_matters(root):
    same = {n: np.resize(samples, 16_000) for n, samples in CLIPS.items()}
    write_folder(root / "odd", {**same, "p07": noise_clip(3, 1)})
    write_folder(root / "even", same)
    found, even = run(root, "odd", baseline=root / "even"), run(root, "even")
    odd = root / "odd" / "p07.wav"
    assert found.not_computed["repetition"] == f"{odd} has one window"
    assert str(odd) in found.not_computed["consistency"]
    assert found.value("fad") > 0
    for metric in ("kl", "level"):
        row = next(r for r in found.differences if r.metric == metric)
        assert row.value == pytest.approx(found.value(metric) - even.value(metric), rel=1e-9)
        assert found.per_clip["p01"][metric] == pytest.approx(even.per_clip["p01"][metric], rel=1e-9)
    first = next(r for r in found.differences if r.metric == "fad")
    assert first.value == pytest.approx(found.value("fad") - even.value("fad", 0), rel=1e-9)


def test_a_common_duration_brings_the_curve_back(root):
    found = run(root, duration_s=2.0)
    assert found.provenance["windows"] == 2
    assert np.isfinite(found.value("kl_drift"))
    assert not any(row.metric == "kl_drift" for row in run(root).results)
