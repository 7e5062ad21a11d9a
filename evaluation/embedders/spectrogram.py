"""Log-mel front ends of the published networks.

Shapes: B batch, S samples, T frames, K FFT bins, M mel bands, E examples.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from evaluation.embedders.weights import WeightsError

VGGISH_RATE = 16_000
VGGISH_EXAMPLE_FRAMES = 96
_VGGISH_WINDOW, _VGGISH_HOP, _VGGISH_FFT = 400, 160, 512
_VGGISH_BANDS, _VGGISH_LOW_HZ, _VGGISH_HIGH_HZ = 64, 125.0, 7500.0
_VGGISH_LOG_OFFSET = 0.01
_KERNEL_TOLERANCE = 1e-4


def vggish_examples(waveforms: torch.Tensor, hop_frames: int = VGGISH_EXAMPLE_FRAMES) -> torch.Tensor:
    """Log-mel examples of VGGish: (B, S) at 16 kHz to (B, E, 96, 64), in float64.

    25 ms periodic Hann windows every 10 ms, magnitude spectrum, 64 HTK mel bands from 125 to 7500 Hz,
    log(mel + 0.01), cut into examples of 96 frames (0.96 s); what does not fill an example is dropped
    (mel_features.py of the AudioSet release and of torchvggish).

    Args:
        waveforms: samples in [-1, 1], at least 15,600 of them (96 frames).
        hop_frames: frames from one example to the next; 96 does not overlap, 50 is google-research's 0.5 s.
    """
    frames = waveforms.double().unfold(1, _VGGISH_WINDOW, _VGGISH_HOP)
    window = torch.hann_window(_VGGISH_WINDOW, periodic=True, dtype=torch.float64, device=waveforms.device)
    magnitudes = torch.fft.rfft(frames * window, _VGGISH_FFT).abs()
    mel = magnitudes @ torch.from_numpy(_vggish_filters()).to(waveforms.device)
    log_mel = torch.log(mel + _VGGISH_LOG_OFFSET)
    return log_mel.unfold(1, VGGISH_EXAMPLE_FRAMES, hop_frames).transpose(2, 3)


def log_mel_db(waveforms: torch.Tensor, n_fft: int, hop: int, filters: torch.Tensor) -> torch.Tensor:
    """torchlibrosa's log-mel, the front end of PANNs and of LAION's CLAP: (B, S) to (B, T, M) in dB.

    Centred frames with reflection at the ends, periodic Hann window of ``n_fft`` samples, power spectrum,
    10 log10(max(mel, 1e-10)). T = 1 + S // hop.

    Args:
        waveforms: samples; S must exceed n_fft // 2.
        n_fft: window and transform length.
        hop: samples between frames.
        filters: (K, M) mel filters, K = n_fft // 2 + 1.
    """
    window = torch.hann_window(n_fft, periodic=True, dtype=waveforms.dtype, device=waveforms.device)
    spectrum = torch.stft(waveforms, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    with torch.autocast(waveforms.device.type, enabled=False):  # Powers overflow float16.
        mel = power.transpose(1, 2) @ filters
    return 10 * torch.log10(torch.clamp(mel, min=1e-10))


def take_stored_stft(state: dict[str, torch.Tensor], prefix: str, n_fft: int, path: Path) -> None:
    """Remove from a checkpoint the STFT kernels that torchlibrosa stores, once they are known to be what we compute.

    Args:
        state: changed in place.
        prefix: of the names in the checkpoint ("" or "audio_branch.").
        n_fft: the front end's window and transform length.
        path: for errors.

    Raises:
        WeightsError: kernels are missing, of another length, or not a Hann-windowed DFT.
    """
    angles = 2 * torch.pi * torch.outer(torch.arange(n_fft // 2 + 1.0), torch.arange(float(n_fft))).double() / n_fft
    window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
    for part, kernel in (("real", torch.cos(angles) * window), ("imag", -torch.sin(angles) * window)):
        key = f"{prefix}spectrogram_extractor.stft.conv_{part}.weight"
        stored = state.pop(key, None)
        if stored is None or stored.shape != (len(kernel), 1, n_fft):
            shape = None if stored is None else tuple(stored.shape)
            raise WeightsError(
                f"{path}: {key} has shape {shape}, this front end has {(len(kernel), 1, n_fft)};"
                " choose the checkpoint of this sample rate"
            )
        if (stored[:, 0].double() - kernel).abs().max() > _KERNEL_TOLERANCE:
            raise WeightsError(f"{path}: {key} is not a Hann-windowed DFT; this checkpoint has another front end")


@lru_cache
def slaney_filters(sample_rate: int, n_fft: int, bands: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """(K, M) mel filters with Slaney's scale and area normalisation (librosa's default), float32."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=bands,
        min_frequency=low_hz,
        max_frequency=high_hz,
        sampling_rate=sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float()


@lru_cache
def _vggish_filters() -> np.ndarray:
    """(K, M) triangles that are linear in HTK mel, not in Hz; the DC bin is left out."""
    edges = np.linspace(_hz_to_mel(_VGGISH_LOW_HZ), _hz_to_mel(_VGGISH_HIGH_HZ), _VGGISH_BANDS + 2)
    bins = _hz_to_mel(np.linspace(0.0, VGGISH_RATE / 2, _VGGISH_FFT // 2 + 1))[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[0] = 0.0
    return filters


def _hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0))
