"""Cnn14: checkpoint keys, front end against a direct DFT, network against hand-built layers, refusals."""

import numpy as np
import pytest
import torch
from networks import save_cnn14, stft_kernels
from torch.nn import functional

from evaluation.embedders.networks.panns import FRONT_ENDS, Cnn14Embedder
from evaluation.embedders.spectrogram import log_mel_db, slaney_filters
from evaluation.embedders.weights import WeightsError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_cnn14(tmp_path_factory.mktemp("weights") / "cnn14.pth")


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Cnn14Embedder(checkpoint)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_slaney_filters_have_unit_area_and_the_published_edges():
    filters = slaney_filters(16_000, 512, 64, 50.0, 8000.0).double().numpy()
    hz = np.arange(257) * 16_000 / 512
    assert filters.shape == (257, 64)
    assert np.flatnonzero(filters.sum(axis=1))[[0, -1]].tolist() == [2, 255]
    # Each triangle integrates to 1 over frequency; wide ones are sampled finely enough to show it.
    np.testing.assert_allclose(filters[:, 50:].sum(axis=0) * hz[1], 1.0, atol=0.02)


def test_log_mel_is_the_power_spectrum_of_reflected_frames():
    waveform, filters = noise(4000), slaney_filters(16_000, 512, 64, 50.0, 8000.0)
    log_mel = log_mel_db(torch.from_numpy(waveform)[None], 512, 160, filters)[0].numpy()
    padded = np.pad(waveform.astype(np.float64), 256, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = np.array([padded[160 * i : 160 * i + 512] * window for i in range(1 + 4000 // 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    np.testing.assert_allclose(log_mel, 10 * np.log10(np.maximum(power @ filters.double().numpy(), 1e-10)), atol=1e-3)


def test_silence_reads_as_the_floor_of_minus_a_hundred_decibels():
    filters = slaney_filters(16_000, 512, 64, 50.0, 8000.0)
    assert (log_mel_db(torch.zeros(1, 4000), 512, 160, filters) == -100).all()


def test_network_computes_the_published_layers(embedder, checkpoint):
    state = torch.load(checkpoint, weights_only=True)["model"]
    waveform = torch.from_numpy(noise(16_000))[None]
    maps = log_mel_db(waveform, 512, 160, state["logmel_extractor.melW"])[:, None]

    def normalised(rows, name, axis):
        shape = [1, -1, 1, 1] if axis == 1 else [1, 1, 1, -1]
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (rows - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
        return scaled * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    maps = normalised(maps, "bn0", 3)
    for block in range(1, 7):
        for half in (1, 2):
            weight = state[f"conv_block{block}.conv{half}.weight"]
            maps = functional.conv2d(maps, weight, padding=1)
            maps = functional.relu(normalised(maps, f"conv_block{block}.bn{half}", 1))
        maps = functional.avg_pool2d(maps, 2) if block < 6 else maps
    over_time = maps.mean(dim=3)
    pooled = over_time.max(dim=2).values + over_time.mean(dim=2)
    embedding = functional.relu(functional.linear(pooled, state["fc1.weight"], state["fc1.bias"]))
    logits = functional.linear(embedding, state["fc_audioset.weight"], state["fc_audioset.bias"])
    found = embedder.embed([waveform[0].numpy()])[0]
    np.testing.assert_allclose(found["embedding"], embedding[0].numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found["logits"], logits[0].numpy(), rtol=1e-3, atol=1e-3)
    assert found["embedding"].shape == (2048,)
    assert found["logits"].shape == (527,)


def test_stored_mel_filters_are_the_ones_used(checkpoint, tmp_path, embedder):
    stored = torch.load(checkpoint, weights_only=True)
    stored["model"]["logmel_extractor.melW"] *= 10
    torch.save(stored, tmp_path / "louder.pth")
    louder = Cnn14Embedder(tmp_path / "louder.pth")
    assert np.abs(louder.embed([noise(8000)])[0]["logits"] - embedder.embed([noise(8000)])[0]["logits"]).max() > 0.01
    assert louder.identity != embedder.identity


def test_shortest_clip_is_the_one_that_leaves_a_frame_after_five_poolings(embedder):
    assert np.isfinite(embedder.embed([noise(4960)])[0]["logits"]).all()
    with pytest.raises(ValueError, match="cnn14-16k takes at least 4960"):
        embedder.embed([noise(4959)])


def small_checkpoint(path, n_fft, gain=1.0):
    """The stored STFT alone: it is looked at before anything else."""
    real, imaginary = stft_kernels(n_fft)
    names = ("spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight")
    torch.save({"model": dict(zip(names, (gain * real, imaginary), strict=True))}, path)
    return path


def test_each_rate_takes_its_own_checkpoint(tmp_path):
    narrow, wide = small_checkpoint(tmp_path / "16k.pth", 512), small_checkpoint(tmp_path / "32k.pth", 1024)
    with pytest.raises(WeightsError, match=r"\(257, 1, 512\), this front end has \(513, 1, 1024\)"):
        Cnn14Embedder(narrow, sample_rate=32_000).embed([noise(32_000)])
    # A 32 kHz front end passes; what is missing then is the network.
    with pytest.raises(WeightsError, match=r"32k.pth is not a Cnn14 checkpoint: .*bn0.weight"):
        Cnn14Embedder(wide, sample_rate=32_000).embed([noise(32_000)])
    embedder = Cnn14Embedder(wide, sample_rate=32_000)
    assert (embedder.name, embedder.sample_rate, embedder.min_samples) == ("cnn14-32k", 32_000, 9920)
    assert FRONT_ENDS[32_000].high_hz == 14_000
    with pytest.raises(ValueError, match="sample_rate=44100"):
        Cnn14Embedder(wide, sample_rate=44_100)


def test_a_checkpoint_with_another_window_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="not a Hann-windowed DFT"):
        Cnn14Embedder(small_checkpoint(tmp_path / "window.pth", 512, gain=0.5)).embed([noise(8000)])
    torch.save({"model": {"bn0.weight": torch.ones(64)}}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="has shape None"):
        Cnn14Embedder(tmp_path / "none.pth").embed([noise(8000)])
