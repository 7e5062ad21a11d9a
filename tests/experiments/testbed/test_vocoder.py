"""The vocoder's geometry, losses and yardstick, and that a killed training ends bit-equal."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.testbed.models.judges_data import render_clips
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import HOP
from experiments.testbed.models.vae import make_vae
from experiments.testbed.models.vocoder import (
    _analysis,
    _synthesis,
    build_vocoder,
    griffin_lim,
    load_vocoder,
    reconstruct,
    set_normalisation,
    stft_loss,
    vocoder_losses,
)
from experiments.testbed.training import loop
from experiments.testbed.training.train_vocoder import VocoderSettings, draw_excerpts, train_vocoder


def noise(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, frames * HOP, generator=torch.Generator().manual_seed(seed))


def test_a_mel_frame_becomes_hop_samples_and_the_pipeline_sees_the_rate() -> None:
    vocoder = build_vocoder(32)
    assert int(np.prod(vocoder.config.upsample_rates)) == HOP
    assert (vocoder.config.model_in_dim, vocoder.config.sampling_rate) == (64, 16000)
    assert vocoder(torch.zeros(2, 20, 64)).shape == (2, 20 * HOP)


def test_normalisation_is_per_mel_bin() -> None:
    vocoder = build_vocoder(32)
    mels = torch.randn(4, 50, 64) * torch.linspace(0.5, 2.0, 64) + torch.linspace(-3.0, 3.0, 64)
    set_normalisation(vocoder, mels)
    torch.testing.assert_close((mels - vocoder.mean).mean(dim=(0, 1)), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(((mels - vocoder.mean) / vocoder.scale).std(dim=(0, 1)), torch.ones(64))


def test_losses_vanish_at_equality_and_the_mel_loss_of_a_gain_is_its_logarithm() -> None:
    audio = noise(2, 40)
    assert vocoder_losses(audio, audio)["total"] == 0.0
    louder = vocoder_losses(audio, 2.0 * audio)
    torch.testing.assert_close(louder["mel"], torch.tensor(2.0).log(), atol=1e-4, rtol=0)
    # Twice the magnitudes: spectral convergence 1, log difference log 2 (less a little for the offset).
    assert stft_loss(audio, 2.0 * audio).item() == pytest.approx(1.0 + np.log(2.0), abs=0.02)


def test_synthesis_inverts_analysis_away_from_the_edges() -> None:
    audio = noise(1, 40)
    torch.testing.assert_close(_synthesis(_analysis(audio))[:, 512:-512], audio[:, 512:-512], atol=1e-5, rtol=0)


def test_griffin_lim_comes_close_in_mel_and_is_seeded() -> None:
    t = torch.arange(62 * HOP) / 16000
    tone = 0.3 * torch.sin(2 * torch.pi * 700.0 * t)[None] + 0.02 * noise(1, 62)
    mels = log_mel(tone)
    audio = griffin_lim(mels, torch.Generator().manual_seed(0))
    assert audio.shape == tone.shape
    assert torch.equal(audio, griffin_lim(mels, torch.Generator().manual_seed(0)))
    peak_hz = np.fft.rfft(audio[0].numpy()).__abs__().argmax() * 16000 / audio.shape[1]
    assert peak_hz == pytest.approx(700.0, abs=20.0)
    assert (log_mel(audio) - mels).abs().mean() < 0.4


def test_excerpts_are_aligned_with_their_mels(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "train", 4, 0, duration_s=2.048)
    mels, audio = draw_excerpts(clips, 3, 40, torch.Generator().manual_seed(1))
    assert mels.shape == (3, 40, 64)
    assert audio.shape == (3, 40 * HOP)
    torch.testing.assert_close(log_mel(audio)[:, 3:-3], mels[:, 3:-3], atol=1e-4, rtol=0)


def test_a_killed_training_ends_bit_equal_and_its_weights_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"cache": str(tmp_path / "clips"), "clips": 4, "channels": 32, "steps": 3, "batch_size": 2}
    settings |= {"frames": 20, "checkpoint_every": 1}
    whole = train_vocoder(VocoderSettings(run=str(tmp_path / "a"), **settings))
    optimise, calls = loop._optimise, []

    def killed(*args):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return optimise(*args)

    monkeypatch.setattr(loop, "_optimise", killed)
    with pytest.raises(KeyboardInterrupt):
        train_vocoder(VocoderSettings(run=str(tmp_path / "b"), **settings))
    monkeypatch.undo()
    resumed = train_vocoder(VocoderSettings(run=str(tmp_path / "b"), **settings))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    loaded = load_vocoder(tmp_path / "b" / "vocoder")
    assert loaded.conv_pre.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.conv_pre.weight, whole.conv_pre.weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(loaded.scale, whole.scale, atol=2e-3, rtol=1e-3)


def test_a_second_run_starts_from_the_first_ones_weights_and_reads_the_vaes_mels(tmp_path: Path) -> None:
    make_vae((8, 16, 16)).save_pretrained(tmp_path / "vae")
    build_vocoder(32).save_pretrained(tmp_path / "first")
    settings = {"cache": str(tmp_path / "clips"), "clips": 4, "steps": 1, "batch_size": 2, "frames": 20}
    start = {"start": str(tmp_path / "first"), "learning_rate": 1e-9}
    plain = train_vocoder(VocoderSettings(run=str(tmp_path / "a"), **start, **settings))
    torch.testing.assert_close(plain.conv_pre.weight, load_vocoder(tmp_path / "first").conv_pre.weight)
    train_vocoder(VocoderSettings(run=str(tmp_path / "b"), vae=str(tmp_path / "vae"), **start, **settings))
    records = [(tmp_path / run / "record.jsonl").read_text().splitlines() for run in "ab"]
    first, second = (json.loads(lines[0])["settings"] for lines in records)
    assert first["start"] == second["start"]
    assert "vae" not in first
    assert len(second["vae"]) == 12
    assert json.loads(records[0][1])["loss"] != json.loads(records[1][1])["loss"]


def test_reconstruction_is_the_vaes_round_trip_at_its_mean() -> None:
    vae = make_vae((8, 16, 16)).eval()
    mels = torch.randn(2, 24, 64, generator=torch.Generator().manual_seed(0))
    once = reconstruct(vae, mels)
    assert once.shape == mels.shape
    assert torch.equal(once, reconstruct(vae, mels))
    assert not once.requires_grad
