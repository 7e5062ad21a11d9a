"""CLAP score: cosines by hand, windows, and the check that captions are told apart."""

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.metrics.clap_score import (
    clap_per_clip,
    clap_score,
    clap_score_interval,
    text_collapse,
    window_clap_scores,
)


def test_cosines_by_hand_whatever_the_lengths():
    audio, text = [[1.0, 0.0], [3.0, 4.0], [0.0, -2.0]], [[5.0, 0.0], [4.0, 3.0], [0.0, 7.0]]
    np.testing.assert_allclose(clap_per_clip(audio, text), [1.0, 0.96, -1.0], atol=1e-15)
    assert clap_score(audio, text) == pytest.approx(0.32, abs=1e-15)  # negative cosines count: no clamp at 0


def test_pairing_is_by_row():
    audio = text = np.eye(4)
    assert clap_score(audio, text) == 1.0
    assert clap_score(audio, text[[1, 2, 3, 0]]) == 0.0


def test_interval_is_by_clip():
    generator = np.random.default_rng(0)
    audio, text = generator.standard_normal((2, 300, 16))
    interval = clap_score_interval(audio, text, seed=1)
    per_clip = clap_per_clip(audio, text)
    assert interval.value == pytest.approx(per_clip.mean(), rel=1e-12)
    assert (interval.n, interval.unit) == (300, "clip")
    width = 2 * 1.96 * per_clip.std(ddof=1) / np.sqrt(300)
    assert interval.high - interval.low == pytest.approx(width, rel=0.1)
    assert np.isnan(clap_score_interval(audio[:1], text[:1], seed=1)[1:3]).all()


def test_windows_by_hand():
    text = [[1.0, 0.0]]
    audio = [[[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]]  # cosines 1, 0, 0; unit vectors sum to (1, 2)
    scores = window_clap_scores(audio, text)
    assert scores.mean[0] == pytest.approx(1 / 3, rel=1e-12)
    assert scores.worst[0] == 0.0
    assert scores.sd[0] == pytest.approx(np.sqrt(1 / 3), rel=1e-12)
    assert scores.mean_embedding[0] == pytest.approx(1 / np.sqrt(5), rel=1e-12)


def test_equal_windows_score_as_one_clip():
    audio, text = np.random.default_rng(2).standard_normal((2, 5, 8))
    scores = window_clap_scores(np.repeat(audio[:, None], 8, axis=1), text)
    for value in (scores.mean, scores.worst, scores.mean_embedding):
        np.testing.assert_allclose(value, clap_per_clip(audio, text), rtol=1e-12)
    np.testing.assert_allclose(scores.sd, 0, atol=1e-12)
    single = window_clap_scores(audio[:, None], text)
    np.testing.assert_allclose(single.mean, clap_per_clip(audio, text), rtol=1e-12)
    assert np.isnan(single.sd).all()


def test_collapsed_text_is_told_from_working_text():
    generator = np.random.default_rng(3)
    captions = generator.standard_normal((20, 64))
    units = captions / np.linalg.norm(captions, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(20) for j in range(20) if i != j]
    working = text_collapse(captions)
    assert working.mean_cosine == pytest.approx(np.mean(pairs), abs=1e-12)
    assert (working.collapsed, working.n) == (False, 20)
    collapsed = text_collapse(1.0 + 0.02 * captions)
    assert collapsed.mean_cosine > 0.99
    assert collapsed.collapsed
    assert text_collapse(1.0 + 0.3 * captions, threshold=0.95).collapsed is False
    assert np.isnan(text_collapse(captions[:1]).mean_cosine)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clap_score(np.ones((3, 4)), np.ones((2, 4))), "pair one caption"),
        (lambda: clap_score(np.ones(4), np.ones(4)), r"expected \(n, d\)"),
        (lambda: clap_score(np.zeros((1, 4)), np.ones((1, 4))), "audio holds a zero"),
        (lambda: clap_score(np.ones((1, 4)), np.full((1, 4), np.nan)), "text holds a zero or non-finite"),
        (lambda: window_clap_scores(np.ones((2, 3, 4)), np.ones((3, 4))), r"expected \(n, W, d\) and \(n, d\)"),
        (lambda: window_clap_scores(np.ones((2, 4)), np.ones((2, 4))), r"expected \(n, W, d\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Mute:
    """No captions: an embedder of audio alone."""

    name = "mute"
    sample_rate, outputs, min_samples, max_samples, identity = 8000, ("embedding",), 1, None, "mute"

    def embed(self, waveforms):
        return [{"embedding": np.ones(3, np.float32)} for _ in waveforms]


class OtherWords(BandEmbedder):
    """The same ears, another answer to captions."""

    def embed_text(self, captions):
        return np.roll(super().embed_text(captions), 1, axis=1)


def test_clap_on_another_network_takes_that_networks_captions(tmp_path):
    captions = {f"c{i}": text for i, text in enumerate(("rain", "wind", "a dog", "a bell"))}
    for number, side in enumerate(("ref", "gen")):
        write_folder(tmp_path / side, {name: noise_clip(10 * number + i, 2) for i, name in enumerate(captions)})
    networks = {"text": BandEmbedder(), "same": BandEmbedder("2"), "other": OtherWords("3")}
    asked = {"window_s": 1.0, "cache_dir": None}
    names = ("clap", "clap_on_same", "clap_on_other")
    folders = tmp_path / "ref", tmp_path / "gen", captions
    found = evaluate(*folders, metrics=names, embedders=networks, **asked)
    alone = evaluate(*folders, metrics=("clap",), embedders={"text": OtherWords("3")}, **asked)
    assert found.value("clap_on_same") == found.value("clap")
    assert found.value("clap_on_other") == alone.value("clap") != found.value("clap")
    assert found.value("text_collapse_on_other") == alone.value("text_collapse")
    floors = {row.metric: row.value for row in found.floors}
    for row in alone.floors:
        assert floors[row.metric.replace("clap", "clap_on_other")] == row.value
    assert found.per_clip["c0"]["clap_on_other"] == alone.per_clip["c0"]["clap"]
    with pytest.raises(TypeError, match="mute has no embed_text"):
        evaluate(*folders, metrics=("clap_on_mute",), embedders={"mute": Mute()}, **asked)
