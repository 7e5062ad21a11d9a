"""Real audio as a pipeline's latents: what the probes feed to a UNet.

Shapes: B clips, S samples, T mel frames, M mel bins, C latent channels, t latent frames, F latent bins.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from evaluation.audio.io import load_audio, mix_to_mono
from evaluation.audio.resample import resample
from experiments.pipelines.pipeline import Pipeline
from experiments.system.progress import progress

LogMel = Callable[[Tensor], Tensor]
SAMPLE_RATE, HOP, N_FFT, MEL_BINS, MAX_HZ, LOG_FLOOR = 16000, 160, 1024, 64, 8000.0, 1e-5


def audioldm_log_mel(audio: Tensor) -> Tensor:
    """The front end of AudioLDM and AudioLDM 2: (B, S) at 16 kHz -> (B, S // 160, 64), natural logarithm.

    Magnitudes of a Hann STFT over 1024 samples, reflect-padded by (1024 - 160) / 2 on both sides, Slaney mel filters
    of unit area up to 8 kHz, floored at 1e-5 (`audioldm_train/utilities/data/dataset.py`, `mel_spectrogram_train`).
    """
    filters = mel_filter_bank(N_FFT // 2 + 1, MEL_BINS, 0.0, MAX_HZ, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    pad = (N_FFT - HOP) // 2
    padded = torch.nn.functional.pad(audio[:, None], (pad, pad), mode="reflect")[:, 0]
    window = torch.hann_window(N_FFT, device=audio.device)
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True).abs()
    mel = torch.from_numpy(filters.T).to(spectrum) @ spectrum
    return mel.clamp_min(LOG_FLOOR).log().transpose(1, 2)


def encode_files(pipeline: Pipeline, log_mel: LogMel, files: Sequence[Path], duration_s: float) -> Tensor:
    """Latents (B, C, t, F) of the first `duration_s` of each file, posterior means, scaled as the UNet expects them.

    Raises:
        ValueError: a file that is shorter, or a front end whose frames are not this pipeline's.
        evaluation.audio.io.AudioError, FileNotFoundError: a file that cannot be read.
    """
    latents = []
    with progress(len(files), f"latents, {duration_s:g} s", "clip") as bar:
        for path in files:
            latents.append(_encode(pipeline, log_mel(_read(path, pipeline.sample_rate, duration_s)[None]), duration_s))
            bar.update()
    return torch.cat(latents)


def _read(path: Path, sample_rate: int, duration_s: float) -> Tensor:
    audio = load_audio(path)
    samples = resample(mix_to_mono(audio.samples), audio.sample_rate, sample_rate).reshape(-1)
    wanted = round(duration_s * sample_rate)
    if len(samples) < wanted:
        raise ValueError(
            f"{path}: {len(samples) / sample_rate:.2f} s of audio, the probe asks for {duration_s:g} s; "
            "set shorter durations or give longer references"
        )
    return torch.from_numpy(np.ascontiguousarray(samples[:wanted], dtype=np.float32))


@torch.no_grad()
def _encode(pipeline: Pipeline, mel: Tensor, duration_s: float) -> Tensor:
    vae = pipeline.pipe.vae
    scale = int(pipeline.pipe.vae_scale_factor)
    expected = pipeline.latent_grid(duration_s)
    frames = mel.shape[1] // scale * scale
    grid = (frames // scale, mel.shape[2] // scale)
    if grid[1] != expected[1] or abs(grid[0] - expected[0]) > 1:
        raise ValueError(
            f"the front end gives latents of {grid} frames and bins for {duration_s:g} s, {pipeline.name} makes "
            f"{expected}; set front_end._target_ to this pipeline's log-mel"
        )
    encoded = vae.encode(mel[:, None, :frames].to(pipeline.device, pipeline.dtype)).latent_dist.mean
    return encoded * vae.config.scaling_factor
