"""The log-mel front end that VAE, vocoder and judges share.

Shapes: B clips, S samples, T frames, M mel bins. T = S / HOP when S is a multiple of HOP.
AudioLDM2Pipeline derives the latent length from the vocoder: prod(upsample_rates) / sampling_rate = HOP / 16000.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from experiments.testbed.corpus.events_dsp import SAMPLE_RATE, hz_to_mel, mel_to_hz
from experiments.testbed.models.rates import HOP

N_FFT = 1024
MEL_BINS = 64
MEL_RANGE_HZ = (0.0, 8000.0)
LOG_FLOOR = 1e-5
MEL_MEAN = -0.26  # of 300 training clips, as is the standard deviation
MEL_STD = 1.73


# A tensor made in inference mode could never be trained through, and this one is kept for the whole process.
@cache
@torch.inference_mode(False)
def mel_filters() -> torch.Tensor:
    """Triangular filters (M, N_FFT // 2 + 1) of unit peak, equally spaced on the HTK mel scale."""
    bins_hz = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = hz_to_mel(np.array(MEL_RANGE_HZ))
    points = mel_to_hz(np.linspace(edges[0], edges[1], MEL_BINS + 2))
    rising = (bins_hz[None] - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    falling = (points[2:, None] - bins_hz[None]) / (points[2:] - points[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0.0, None).astype(np.float32))


def log_mel(audio: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram of 16 kHz audio in [-1, 1]: (B, S) -> (B, S // HOP, M), natural logarithm.

    Magnitudes of a Hann STFT over N_FFT samples, reflect-padded by (N_FFT - HOP) / 2 on both sides (HiFi-GAN's
    framing, so that T * HOP samples give T frames), mapped to mel, floored at 1e-5.

    Raises:
        ValueError: not (B, S), or S < N_FFT.
    """
    if audio.ndim != 2 or audio.shape[1] < N_FFT:
        raise ValueError(f"audio must be (batch, samples >= {N_FFT}), got {tuple(audio.shape)}")
    pad = (N_FFT - HOP) // 2
    padded = torch.nn.functional.pad(audio[:, None], (pad, pad), mode="reflect")[:, 0]
    window = torch.hann_window(N_FFT, device=audio.device)
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True).abs()
    mel = mel_filters().to(audio.device) @ spectrum
    return mel.clamp_min(LOG_FLOOR).log().transpose(1, 2)
