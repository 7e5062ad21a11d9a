"""The mel VAE: its shapes, its folded normalisation, and that training survives a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.testbed.training.train_vae as train_vae_module
from experiments.testbed.models.mel import MEL_MEAN, MEL_STD
from experiments.testbed.models.vae import encode_mel, make_vae, standardise_latents, vae_loss
from experiments.testbed.training.train_vae import VaeSettings, mel_cache, train_vae


def mels(batch: int = 2, frames: int = 32) -> torch.Tensor:
    return MEL_MEAN + MEL_STD * torch.randn(batch, frames, 64, generator=torch.Generator().manual_seed(0))


def test_four_times_smaller_in_time_and_frequency() -> None:
    vae = make_vae().eval()
    assert encode_mel(vae, mels(frames=35)).shape == (2, 8, 8, 16)
    with torch.no_grad():
        assert vae.decode(torch.zeros(1, 8, 10, 16)).sample.shape == (1, 1, 40, 64)


def test_normalisation_sits_inside_the_model() -> None:
    """conv_in of the raw log-mel is what the unfolded conv_in gives for the normalised one, away from the edges."""
    vae, raw = make_vae().eval(), mels()[:, None]
    conv = vae.encoder.conv_in
    plain = torch.nn.functional.conv2d((raw - MEL_MEAN) / MEL_STD, conv.weight * MEL_STD, padding=1)
    bias = conv.bias + (conv.weight.sum((1, 2, 3)) * MEL_MEAN)
    expected = plain + bias[:, None, None]
    torch.testing.assert_close(conv(raw)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


def test_standardised_latents_decode_to_the_same_mel() -> None:
    vae, real = make_vae().eval(), mels(8)
    before = encode_mel(vae, real)
    with torch.no_grad():
        decoded = vae.decode(before).sample
        std_before = vae.encode(real[:, None]).latent_dist.std
        mean, std = before.mean((0, 2, 3)), before.std((0, 2, 3))
        standardise_latents(vae, mean, std)
        after = encode_mel(vae, real)
        torch.testing.assert_close(vae.decode(after).sample, decoded, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(after.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
        torch.testing.assert_close(after.std((0, 2, 3)), torch.ones(8), atol=1e-4, rtol=0)
        expected = std_before / std[:, None, None]
        torch.testing.assert_close(vae.encode(real[:, None]).latent_dist.std, expected, rtol=1e-3, atol=1e-5)


def test_loss_of_a_standard_normal_posterior_has_no_kl() -> None:
    vae = make_vae().eval()
    with torch.no_grad():
        vae.quant_conv.weight.zero_()
        vae.quant_conv.bias.zero_()
        noise = torch.zeros(2, 8, 8, 16)
        loss, l1 = vae_loss(vae, mels(), noise, kl_weight=1e6)
        error = (vae.decode(noise).sample[:, 0] - mels()) / MEL_STD
    assert float(l1) == pytest.approx(float(error.abs().mean()), rel=1e-4)
    assert float(loss) == pytest.approx(float(l1 + 0.3 * (error**2).mean()), rel=1e-3)


def test_a_checkpoint_of_other_settings_is_refused_and_more_steps_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_vae_module, "TRAIN_DURATION_S", 0.512)
    settings = VaeSettings(run=str(tmp_path), clips=3, steps=1, batch_size=2, frames=16)
    train_vae(settings)
    with pytest.raises(ValueError, match="other settings; delete it"):
        train_vae(replace(settings, first_clip_seed=7))
    train_vae(replace(settings, steps=2))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_mels_are_named_after_their_clips(tmp_path: Path) -> None:
    shapes = [mel_cache(tmp_path, seed, 2, duration_s).shape for seed in (0, 5) for duration_s in (0.512, 1.024)]
    assert shapes == [(2, 32, 64), (2, 64, 64)] * 2
    assert not np.array_equal(mel_cache(tmp_path, 0, 2, 0.512), mel_cache(tmp_path, 5, 2, 0.512))


def test_killed_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"clips": 3, "steps": 4, "batch_size": 2, "frames": 16, "checkpoint_every": 2}
    monkeypatch.setattr(train_vae_module, "TRAIN_DURATION_S", 0.512)
    whole = train_vae(VaeSettings(run=str(tmp_path / "whole"), **small))
    original = train_vae_module.vae_loss

    def dying_loss(*arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        if len(calls) == 4:  # in step 3 (0-based), after the checkpoint of step 2
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    calls: list[int] = []
    killed = VaeSettings(run=str(tmp_path / "killed"), **small)
    with monkeypatch.context() as patch:
        patch.setattr(train_vae_module, "vae_loss", dying_loss)
        with pytest.raises(KeyboardInterrupt):
            train_vae(killed)
    resumed = train_vae(killed)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
