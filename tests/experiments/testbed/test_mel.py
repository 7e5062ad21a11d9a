"""The mel front end against a slow, independent computation."""

import numpy as np
import pytest
import torch

from experiments.testbed.models.mel import MEL_BINS, log_mel, mel_filters
from experiments.testbed.models.rates import HOP


def test_frames_per_clip() -> None:
    assert log_mel(torch.zeros(2, 320 * HOP)).shape == (2, 320, MEL_BINS)


def test_silence_is_the_floor() -> None:
    torch.testing.assert_close(log_mel(torch.zeros(1, 4096)), torch.full((1, 16, 64), float(np.log(1e-5))))


def test_a_tone_lights_the_filter_around_it() -> None:
    t = torch.arange(16000) / 16000
    mel = log_mel(0.5 * torch.sin(2 * np.pi * 1000.0 * t)[None])[0, 20]
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), MEL_BINS + 2) / 2595) - 1)
    assert abs(edges[1:-1][int(mel.argmax())] - 1000.0) < 40.0
    # A Hann-windowed sine of amplitude a has a peak magnitude of a * n_fft / 4.
    assert float(mel.max().exp()) == pytest.approx(0.5 * 1024 / 4, rel=1.0)


def test_magnitudes_match_numpy() -> None:
    samples = np.random.default_rng(0).standard_normal(8192).astype(np.float32)
    padded = np.pad(samples, (384, 384), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frame = np.abs(np.fft.rfft(padded[5 * HOP : 5 * HOP + 1024] * window))
    expected = np.log(np.maximum(mel_filters().numpy() @ frame, 1e-5))
    np.testing.assert_allclose(log_mel(torch.from_numpy(samples)[None])[0, 5].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_filters_cover_every_bin_and_sum_to_one_inside() -> None:
    total = mel_filters().sum(0)[24:-24]
    np.testing.assert_allclose(total.numpy(), 1.0, atol=1e-5)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="1024"):
        log_mel(torch.zeros(100))


def test_filters_first_used_in_inference_mode_can_still_be_trained_through() -> None:
    mel_filters.cache_clear()
    audio = torch.linspace(-1.0, 1.0, 4096)[None]
    with torch.inference_mode():
        log_mel(audio)
    trained = (audio * 0.5).requires_grad_()
    log_mel(trained).sum().backward()
    assert trained.grad is not None
    assert torch.isfinite(trained.grad).all()
