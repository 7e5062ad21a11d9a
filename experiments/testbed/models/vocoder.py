"""The vocoder: Griffin-Lim that meets the mels, in the form of a diffusers component; and plain Griffin-Lim.

Shapes: B clips, S samples, T mel frames, M mel bins, K = N_FFT // 2 + 1 bins of the spectrum; S = T * HOP.
Griffin-Lim: Griffin & Lim 1984, with the momentum of Perraudin et al. 2013 (section III). The multiplicative update of
the magnitudes is that of non-negative matrix factorisation (Lee & Seung 2001) with the logarithm of the ratio.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from experiments.testbed.corpus.scenes import SAMPLE_RATE
from experiments.testbed.models.mel import MEL_BINS, N_FFT, mel_filters
from experiments.testbed.models.rates import HOP

PAD = (N_FFT - HOP) // 2
OVERLAP = N_FFT // HOP
YARDSTICK_ITERATIONS = 32
YARDSTICK_MOMENTUM = 0.99
MAGNITUDE_FITS = 10
LARGEST_RATIO = 100.0
SILENCE = 1e-6


class MelGriffinLim(ModelMixin, ConfigMixin):
    """A vocoder without training: the waveform whose log-mels come closest to the given ones.

    Plain Griffin-Lim guesses magnitudes once from the mels and keeps them, although many magnitudes have the same
    mels and hardly any of them belong to a waveform. Here every iteration takes the magnitudes of the waveform that
    it has and multiplies them by the mels' remaining error, spread over the bins of each filter: the mels are met,
    and the spectrum below their resolution is free to become one that a waveform has.

    The interface is that of transformers' SpeechT5HifiGan, so AudioLDM2Pipeline takes it. `from_pretrained` of a
    pipeline finds the class if this module is imported (diffusers imports nothing that a model index names).

    Args:
        model_in_dim: mel bins; sampling_rate: Hz; upsample_rates: their product is the samples per frame.
        iterations: of phase and magnitude; momentum: 0 is plain alternation, below 1.
    """

    config_name = "config.json"
    reads_whole_clip = True  # the phases of all frames are found together, so it is never run in chunks

    @register_to_config
    def __init__(
        self,
        model_in_dim: int = MEL_BINS,
        sampling_rate: int = SAMPLE_RATE,
        upsample_rates: tuple[int, ...] = (HOP,),
        iterations: int = 16,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        # Its one tensor: without any, the pipeline could not tell its type and device.
        self.filters = torch.nn.Parameter(mel_filters().clone(), requires_grad=False)

    @torch.no_grad()
    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, T * HOP) of log-mels (B, T, M), or (T * HOP,) of (T, M); each clip alone, always the same.

        Raises:
            ValueError: another shape, or fewer than two frames.
        """
        if spectrogram.ndim not in (2, 3) or spectrogram.shape[-1] != MEL_BINS or spectrogram.shape[-2] < 2:
            raise ValueError(f"mels must be ([batch,] frames >= 2, {MEL_BINS}), got {tuple(spectrogram.shape)}")
        batched = spectrogram.ndim == 3
        audio = self._invert((spectrogram if batched else spectrogram[None]).float().exp())
        return (audio if batched else audio[0]).to(spectrogram.dtype)

    def _invert(self, mels: torch.Tensor) -> torch.Tensor:
        filters = self.filters.float()
        shares = filters / filters.sum(dim=0).clamp_min(1e-8)

        def fitted(magnitude: torch.Tensor) -> torch.Tensor:
            ratio = mels / (magnitude @ filters.T).clamp_min(SILENCE)
            return magnitude * (ratio.clamp(1 / LARGEST_RATIO, LARGEST_RATIO).log() @ shares).exp()

        magnitude = mels @ (shares / filters.sum(dim=1, keepdim=True))
        for _ in range(MAGNITUDE_FITS):
            magnitude = fitted(magnitude)
        # The same phases for every clip: what a clip sounds like depends on its mels alone, not on its batch.
        phases = torch.rand(magnitude.shape[1:], generator=torch.Generator().manual_seed(0)).to(mels.device)
        estimate = torch.polar(magnitude, (2 * torch.pi * phases).expand_as(magnitude).contiguous())
        previous = torch.zeros_like(estimate)
        for _ in range(self.config.iterations):
            consistent = _analysis(_synthesis(estimate))
            estimate = consistent + self.config.momentum * (consistent - previous)
            previous = consistent
            reached = estimate.abs().clamp_min(1e-9)
            estimate = estimate * (fitted(reached) / reached)
        return _synthesis(estimate)


def load_vocoder(folder: Path) -> MelGriffinLim:
    """The vocoder saved in `folder` (config.json and its filters), in single precision."""
    vocoder = MelGriffinLim.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    return vocoder.eval()


def load_vae(folder: str | Path) -> AutoencoderKL:
    """The mel VAE saved in `folder`, in single precision, for evaluation."""
    vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return vae.eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, mels: torch.Tensor) -> torch.Tensor:
    """Log-mels (B, T, M) after the VAE's round trip at its posterior mean; T must be a multiple of 4."""
    return vae.decode(vae.encode(mels[:, None]).latent_dist.mean).sample[:, 0]


@cache
@torch.inference_mode(False)
def _mel_inverse() -> torch.Tensor:
    return torch.from_numpy(np.linalg.pinv(mel_filters().double().numpy())).float()


def griffin_lim(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Waveforms (B, T * HOP) of log-mel spectrograms (B, T, M): the yardstick that the vocoder has to beat.

    Least-squares mel inverse, 32 iterations, momentum 0.99; initial phases are drawn from `generator`.
    """
    magnitude = (mels.exp() @ _mel_inverse().T).clamp_min(0.0)
    angle = torch.rand(magnitude.shape, generator=generator) * 2.0 * torch.pi
    estimate = torch.polar(magnitude, angle)
    previous = torch.zeros_like(estimate)
    for _ in range(YARDSTICK_ITERATIONS):
        consistent = _analysis(_synthesis(estimate))
        accelerated = consistent + YARDSTICK_MOMENTUM * (consistent - previous)
        previous = consistent
        estimate = magnitude * accelerated / accelerated.abs().clamp_min(1e-9)
    return _synthesis(estimate)


def _analysis(audio: torch.Tensor) -> torch.Tensor:
    """Spectra (B, T, K) of waveforms (B, S) at log_mel's framing."""
    padded = torch.nn.functional.pad(audio[:, None], (PAD, PAD), mode="reflect")[:, 0]
    return torch.fft.rfft(padded.unfold(1, N_FFT, HOP) * torch.hann_window(N_FFT, device=audio.device))


def _synthesis(spectrum: torch.Tensor) -> torch.Tensor:
    """Weighted overlap-add of spectra (B, T, K): (B, S). torch.istft cannot invert frames that are not centred."""
    window = torch.hann_window(N_FFT, device=spectrum.device)
    frames = (torch.fft.irfft(spectrum, n=N_FFT) * window).unflatten(2, (OVERLAP, HOP))
    weights = (window**2).view(1, 1, OVERLAP, HOP).expand(1, spectrum.shape[1], OVERLAP, HOP)
    return (_overlap_add(frames) / _overlap_add(weights).clamp_min(1e-8))[:, PAD:-PAD]


def _overlap_add(parts: torch.Tensor) -> torch.Tensor:
    """Frames in hops (B, T, OVERLAP, HOP), each one hop later than the one before: their sum, flat."""
    frames = parts.shape[1]
    summed = parts.new_zeros(parts.shape[0], frames + OVERLAP - 1, HOP)
    for hop in range(OVERLAP):
        summed[:, hop : hop + frames] += parts[:, :, hop]
    return summed.flatten(1)
