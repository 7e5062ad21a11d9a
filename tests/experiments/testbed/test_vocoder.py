"""The vocoder meets its mels, closer than Griffin-Lim; it is a component that AudioLDM2Pipeline's loading knows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.testbed.corpus.scenes import render_scene, sample_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import HOP
from experiments.testbed.models.vae import make_vae
from experiments.testbed.models.vocoder import (
    MelGriffinLim,
    _analysis,
    _synthesis,
    griffin_lim,
    load_vocoder,
    reconstruct,
)


def noise(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, frames * HOP, generator=torch.Generator().manual_seed(seed))


def tone(frequency_hz: float, frames: int = 62) -> torch.Tensor:
    t = torch.arange(frames * HOP) / 16000
    return 0.3 * torch.sin(2 * torch.pi * frequency_hz * t)[None] + 0.02 * noise(1, frames)


def scenes(count: int) -> torch.Tensor:
    drawn = [sample_scene(70_000_000 + i, split="heldout") for i in range(count)]
    return torch.stack([torch.from_numpy(render_scene(scene, 2.56)) for scene in drawn])


def mel_error(vocoded: torch.Tensor, mels: torch.Tensor) -> float:
    return (log_mel(vocoded) - mels).abs().mean().item()


def test_synthesis_inverts_analysis_away_from_the_edges() -> None:
    audio = noise(1, 40)
    torch.testing.assert_close(_synthesis(_analysis(audio))[:, 512:-512], audio[:, 512:-512], atol=1e-5, rtol=0)


def test_analysis_is_the_spectrum_behind_log_mel() -> None:
    audio = noise(2, 20)
    mels = (_analysis(audio).abs() @ MelGriffinLim().filters.T).clamp_min(1e-5).log()
    torch.testing.assert_close(mels, log_mel(audio), atol=1e-4, rtol=1e-4)


def test_a_mel_frame_becomes_hop_samples_and_the_pipeline_sees_the_rate() -> None:
    vocoder = MelGriffinLim()
    assert int(np.prod(vocoder.config.upsample_rates)) == HOP
    assert (vocoder.config.model_in_dim, vocoder.config.sampling_rate) == (64, 16000)
    assert vocoder(torch.zeros(2, 20, 64)).shape == (2, 20 * HOP)
    assert vocoder(torch.zeros(20, 64)).shape == (20 * HOP,)
    assert vocoder(torch.zeros(1, 20, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_it_meets_the_mels_of_real_scenes_two_and_a_half_times_closer_than_griffin_lim() -> None:
    audio = scenes(8)
    mels = log_mel(audio)
    plain = mel_error(griffin_lim(mels, torch.Generator().manual_seed(0)), mels)
    assert mel_error(MelGriffinLim()(mels), mels) < plain / 2.5
    # Without the fit of the magnitudes in every iteration nothing would be gained by more of them.
    few, many = (mel_error(MelGriffinLim(iterations=count)(mels), mels) for count in (8, 32))
    assert many < 0.8 * few


@pytest.mark.parametrize("vocode", [MelGriffinLim(), lambda mels: griffin_lim(mels, torch.Generator().manual_seed(0))])
def test_a_steady_tone_keeps_its_pitch(vocode) -> None:  # type: ignore[no-untyped-def]
    mels = log_mel(tone(700.0))
    audio = vocode(mels)
    assert audio.shape == (1, 62 * HOP)
    assert torch.equal(audio, vocode(mels))
    peak_hz = np.fft.rfft(audio[0].numpy()).__abs__().argmax() * 16000 / audio.shape[1]
    assert peak_hz == pytest.approx(700.0, abs=20.0)
    assert mel_error(audio, mels) < 0.4


def test_a_clip_sounds_the_same_in_any_batch_and_the_global_generator_is_left_alone() -> None:
    mels = log_mel(scenes(3))
    state = torch.get_rng_state()
    together = MelGriffinLim()(mels)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(MelGriffinLim()(mels[1:2]), together[1:2], atol=1e-5, rtol=0)


def test_silence_stays_silent_and_finite() -> None:
    audio = MelGriffinLim()(torch.full((1, 10, 64), float(np.log(1e-5))))
    assert torch.isfinite(audio).all()
    assert audio.abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(64,), (1, 20, 63), (1, 1, 64), (1, 1, 20, 64)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mels must be \(\[batch,\] frames >= 2, 64\), got"):
        MelGriffinLim()(torch.zeros(shape))


def test_it_is_saved_and_loaded_with_its_configuration(tmp_path: Path) -> None:
    MelGriffinLim(iterations=3, momentum=0.5).half().save_pretrained(tmp_path)
    loaded = load_vocoder(tmp_path)
    assert (loaded.config.iterations, loaded.config.momentum) == (3, 0.5)
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded.filters, MelGriffinLim().filters, atol=1e-3, rtol=1e-3)


def test_reconstruction_is_the_vaes_round_trip_at_its_mean() -> None:
    vae = make_vae((8, 16, 16)).eval()
    mels = torch.randn(2, 24, 64, generator=torch.Generator().manual_seed(0))
    once = reconstruct(vae, mels)
    assert once.shape == mels.shape
    assert torch.equal(once, reconstruct(vae, mels))
    assert not once.requires_grad
