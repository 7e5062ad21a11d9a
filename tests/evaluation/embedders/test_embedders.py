"""What all embedders share: identity, batches, half precision, checks, levels."""

import numpy as np
import pytest
import torch
from networks import BandEmbedder, TinyEmbedder, save_tiny

from evaluation.embedders.levels import LevelEmbedder
from evaluation.embedders.network import hash_weights
from evaluation.embedders.protocol import (
    Embedder,
    TextEmbedder,
    check_waveforms,
    identity_of,
    same_length_batches,
)
from evaluation.embedders.weights import WeightsError


def test_identity_follows_the_weights_and_not_the_path(tmp_path):
    first = TinyEmbedder(save_tiny(tmp_path / "a.pth"))
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    other = TinyEmbedder(save_tiny(tmp_path / "c.pth", seed=1))
    assert first.identity == TinyEmbedder(tmp_path / "b.pth").identity
    assert first.identity != other.identity
    assert len(first.identity) == 16


def test_identity_needs_no_network(tmp_path):
    embedder = TinyEmbedder(save_tiny(tmp_path / "a.pth"))
    assert embedder.identity
    assert "network" not in embedder.__dict__


def test_a_folder_is_hashed_by_names_and_contents(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.json").write_text("1")
    before = hash_weights(tmp_path / "model")
    (tmp_path / "model" / "a.json").rename(tmp_path / "model" / "b.json")
    renamed = hash_weights(tmp_path / "model")
    (tmp_path / "model" / "b.json").write_text("2")
    assert len({before, renamed, hash_weights(tmp_path / "model")}) == 3


def test_what_is_not_there_has_no_hash(tmp_path):
    with pytest.raises(WeightsError, match="nowhere does not exist; give the path"):
        hash_weights(tmp_path / "nowhere")


def test_parts_of_an_identity_do_not_run_into_each_other():
    assert identity_of("ab", "c") != identity_of("a", "bc")


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_half_precision_is_for_cuda_only(tmp_path):
    with pytest.raises(ValueError, match="half=True on device 'cpu'"):
        TinyEmbedder(tmp_path / "a.pth", half=True)
    half = TinyEmbedder(save_tiny(tmp_path / "a.pth"), device="cuda", half=True)
    assert half.identity != TinyEmbedder(tmp_path / "a.pth", device="cuda").identity
    assert isinstance(half._precision(), torch.autocast)


def test_embedding_is_that_of_the_network_for_every_clip_of_any_length(tmp_path):
    embedder = TinyEmbedder(save_tiny(tmp_path / "a.pth"), batch_size=2)
    rows = [np.random.default_rng(i).standard_normal(10 + i % 3).astype(np.float32) for i in range(7)]
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    for row, features in zip(rows, embedder.embed(rows), strict=True):
        expected = state["weight"].numpy() @ row[:10] + state["bias"].numpy()
        np.testing.assert_allclose(features["embedding"], expected, rtol=1e-5)
        assert features["embedding"].dtype == np.float32
    assert embedder.max_samples is None


def test_batch_size_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="batch_size=0"):
        TinyEmbedder(tmp_path / "a.pth", batch_size=0)


def test_batches_hold_equal_lengths_only():
    rows = [np.zeros(n) for n in (5, 7, 5, 5, 7)]
    assert same_length_batches(rows, 2) == [[0, 2], [3], [1, 4]]


def test_waveforms_are_mono_of_the_right_length():
    embedder = BandEmbedder()
    with pytest.raises(ValueError, match=r"waveform 1 has shape \(2, 900\); bands takes mono"):
        check_waveforms([np.zeros(900), np.zeros((2, 900))], embedder)
    embedder.max_samples = 1000
    with pytest.raises(ValueError, match="1001 samples; bands takes at least 800 and at most 1000 at 8000 Hz"):
        check_waveforms([np.zeros(1001)], embedder)


def test_protocols_are_recognised():
    assert isinstance(BandEmbedder(), TextEmbedder)
    assert isinstance(LevelEmbedder(), Embedder)
    assert not isinstance(LevelEmbedder(), TextEmbedder)


def test_levels_of_a_known_signal():
    tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    tone[16_000:] = 0
    level, silence = LevelEmbedder().embed([tone])[0]["embedding"]
    assert level == pytest.approx(10 * np.log10(0.25), abs=1e-3)
    assert silence == 0.5
