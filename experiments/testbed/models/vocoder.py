"""The vocoder: transformers' SpeechT5HifiGan (the class AudioLDM2Pipeline uses), its losses, and Griffin-Lim.

Shapes: B clips, S samples, T mel frames, M mel bins; S = T * HOP.
HiFi-GAN: Kong, Kim & Bae 2020. Griffin-Lim: Griffin & Lim 1984, with the momentum of Perraudin et al. 2013.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from experiments.testbed.corpus.scenes import SAMPLE_RATE
from experiments.testbed.models.mel import MEL_BINS, N_FFT, log_mel, mel_filters
from experiments.testbed.models.rates import HOP

STFT_SIZES = (2048, 512, 128)
LOG_OFFSET = 1e-3
GRIFFIN_LIM_ITERATIONS = 32
GRIFFIN_LIM_MOMENTUM = 0.99


def vocoder_config(initial_channels: int = 256) -> SpeechT5HifiGanConfig:
    """A small HiFi-GAN for this front end: 16 kHz, M = 64, upsampling by 4 x 4 x 4 x 4 = HOP."""
    return SpeechT5HifiGanConfig(
        model_in_dim=MEL_BINS,
        sampling_rate=SAMPLE_RATE,
        upsample_initial_channel=initial_channels,
        upsample_rates=(4, 4, 4, 4),
        upsample_kernel_sizes=(8, 8, 8, 8),
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 3, 9),),
        normalize_before=True,
    )


def build_vocoder(initial_channels: int = 256) -> SpeechT5HifiGan:
    """An untrained vocoder whose convolutions start at PyTorch's fan-in scale (draws from the global generator).

    The class's own N(0, 0.01) is meant for weight normalisation; without it the narrow layers start silent.
    """
    vocoder = SpeechT5HifiGan(vocoder_config(initial_channels))
    for module in vocoder.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            module.reset_parameters()
    return vocoder


def load_vocoder(folder: Path) -> SpeechT5HifiGan:
    """The vocoder saved in `folder` (config.json, model.safetensors), in single precision, for evaluation."""
    vocoder = SpeechT5HifiGan.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return vocoder.eval()


def load_vae(folder: str | Path) -> AutoencoderKL:
    """The mel VAE saved in `folder`, in single precision, for evaluation."""
    vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return vae.eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, mels: torch.Tensor) -> torch.Tensor:
    """Log-mels (B, T, M) after the VAE's round trip at its posterior mean; T must be a multiple of 4."""
    return vae.decode(vae.encode(mels[:, None]).latent_dist.mean).sample[:, 0]


def set_normalisation(vocoder: SpeechT5HifiGan, mels: torch.Tensor) -> None:
    """Store the mean and deviation of every mel bin of `mels` (B, T, M) in the vocoder's own buffers."""
    vocoder.mean.copy_(mels.mean(dim=(0, 1)))
    vocoder.scale.copy_(mels.std(dim=(0, 1)))


@cache
@torch.inference_mode(False)
def _window(size: int) -> torch.Tensor:
    return torch.hann_window(size)


def _magnitudes(audio: torch.Tensor, size: int) -> torch.Tensor:
    window = _window(size).to(audio.device)
    return torch.stft(audio, size, size // 4, window=window, return_complex=True).abs()


def stft_loss(reference: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """Multi-scale STFT loss of waveforms (B, S): spectral convergence plus log-magnitude L1, mean over scales."""
    terms = []
    for size in STFT_SIZES:
        wanted, got = _magnitudes(reference, size), _magnitudes(generated, size)
        convergence = (wanted - got).norm(dim=(1, 2)) / wanted.norm(dim=(1, 2))
        log_difference = (wanted + LOG_OFFSET).log() - (got + LOG_OFFSET).log()
        terms.append(convergence.mean() + log_difference.abs().mean())
    return torch.stack(terms).mean()


def vocoder_losses(
    reference: torch.Tensor, generated: torch.Tensor, stft_weight: float = 1.0
) -> dict[str, torch.Tensor]:
    """Losses of waveforms (B, S): "mel" is the mean absolute log-mel difference in nat, "total" is minimised.

    Mel frames do not tell where in its band a tone lies. The STFT term then favours too weak a tone, so it is
    given less weight once the network has its bearings.
    """
    mel = (log_mel(reference) - log_mel(generated)).abs().mean()
    stft = stft_loss(reference, generated)
    return {"total": 4.0 * mel + stft_weight * stft, "mel": mel, "stft": stft}


@cache
@torch.inference_mode(False)
def _mel_inverse() -> torch.Tensor:
    return torch.from_numpy(np.linalg.pinv(mel_filters().double().numpy())).float()


def griffin_lim(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Waveforms (B, T * HOP) of log-mel spectrograms (B, T, M): the yardstick that the vocoder has to beat.

    Least-squares mel inverse, 32 iterations, momentum 0.99; initial phases are drawn from `generator`.
    """
    magnitude = (_mel_inverse() @ mels.exp().transpose(1, 2)).clamp_min(0.0)
    angle = torch.rand(magnitude.shape, generator=generator) * 2.0 * torch.pi
    estimate = torch.polar(magnitude, angle)
    previous = torch.zeros_like(estimate)
    for _ in range(GRIFFIN_LIM_ITERATIONS):
        consistent = _analysis(_synthesis(estimate))
        accelerated = consistent + GRIFFIN_LIM_MOMENTUM * (consistent - previous)
        previous = consistent
        estimate = magnitude * accelerated / accelerated.abs().clamp_min(1e-9)
    return _synthesis(estimate)


def _analysis(audio: torch.Tensor) -> torch.Tensor:
    pad = (N_FFT - HOP) // 2
    padded = torch.nn.functional.pad(audio[:, None], (pad, pad), mode="reflect")[:, 0]
    return torch.stft(padded, N_FFT, HOP, window=_window(N_FFT), center=False, return_complex=True)


def _synthesis(spectrum: torch.Tensor) -> torch.Tensor:
    """Weighted overlap-add at log_mel's framing; torch.istft cannot invert frames that are not centred."""
    frames = torch.fft.irfft(spectrum, n=N_FFT, dim=1) * _window(N_FFT)[None, :, None]
    length = (spectrum.shape[2] - 1) * HOP + N_FFT
    weights = (_window(N_FFT) ** 2)[None, :, None].expand(1, N_FFT, spectrum.shape[2])
    summed, weight = (
        torch.nn.functional.fold(x, (1, length), (1, N_FFT), stride=(1, HOP))[:, 0, 0] for x in (frames, weights)
    )
    pad = (N_FFT - HOP) // 2
    return (summed / weight.clamp_min(1e-8))[:, pad:-pad]
