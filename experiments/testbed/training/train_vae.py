"""Trains the mel VAE: `python -m experiments.testbed.training.train_vae run=DIR steps=1200`. Resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from experiments.system.files import whole_file
from experiments.system.settings import pick_device, program
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, render_scene, sample_scene
from experiments.testbed.models.judges_data import corpus_version
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vae import LATENT_CHANNELS, encode_mel, make_vae, standardise_latents, vae_loss
from experiments.testbed.training.loop import TrainingSettings, check_resumable, train


@dataclass(frozen=True)
class VaeSettings(TrainingSettings):
    """`clips` of the corpus from `first_clip_seed` on are kept in `run`; crops are `frames` mel frames long."""

    run: str = "runs/testbed/vae"
    steps: int = 1200
    batch_size: int = 12
    learning_rate: float = 1.5e-3
    clips: int = 2000
    frames: int = 96
    first_clip_seed: int = 100_000
    device: str = "auto"


def mel_cache(folder: Path, first_seed: int, clips: int, duration_s: float, split: str = "train") -> np.ndarray:
    """Log-mels (clips, T, 64) float16 of corpus scenes, rendered once into a memory-mapped file of `folder`."""
    path = folder / f"mels_{corpus_version()}-{split}-{first_seed}-{clips}-{duration_s:g}s.npy"
    if not path.exists():
        mels = []
        for seed in tqdm(range(first_seed, first_seed + clips), desc="render mels"):
            audio = render_scene(sample_scene(seed, split=split), duration_s)
            mels.append(log_mel(torch.from_numpy(audio)[None])[0].numpy().astype(np.float16))
        with whole_file(path) as file:
            np.save(file, np.stack(mels))
    return np.load(path, mmap_mode="r")


def train_vae(settings: VaeSettings) -> AutoencoderKL:
    """Trains (or resumes) the VAE; writes `vae/` (diffusers layout) into the run folder. Raises as `loop.train`."""
    run = Path(settings.run)
    schedule = settings.schedule(decay="linear", weight_decay=1e-4, gradient_norm=1.0, record_every=50)
    data = {"corpus": corpus_version(), "clip_s": TRAIN_DURATION_S, "first_clip_seed": settings.first_clip_seed}
    data |= {"clips": settings.clips, "batch_size": settings.batch_size, "frames": settings.frames}
    check_resumable(run, schedule, data)
    mels = mel_cache(run, settings.first_clip_seed, settings.clips, TRAIN_DURATION_S)
    vae = make_vae(seed=settings.seed).to(pick_device(settings.device))

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        clips = torch.randint(len(mels), (settings.batch_size,), generator=generator)
        starts = torch.randint(mels.shape[1] - settings.frames + 1, (settings.batch_size,), generator=generator)
        crops = [mels[c, s : s + settings.frames] for c, s in zip(clips.tolist(), starts.tolist(), strict=True)]
        batch = torch.from_numpy(np.stack(crops).astype(np.float32))
        shape = (settings.batch_size, LATENT_CHANNELS, settings.frames // 4, batch.shape[2] // 4)
        noise = torch.randn(shape, generator=generator)
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=vae.device.type == "cuda"):
            total, l1 = vae_loss(vae, batch.to(vae.device), noise.to(vae.device))
        return {"total": total, "l1": l1}

    train(vae, losses, schedule, run, data)
    _finish(vae, mels, run)
    return vae


def _finish(vae: AutoencoderKL, mels: np.ndarray, run: Path) -> None:
    vae.cpu().eval()
    sample = torch.from_numpy(mels[:200:2].astype(np.float32))
    latents = torch.cat([encode_mel(vae, sample[i : i + 10]) for i in range(0, len(sample), 10)])
    standardise_latents(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    vae.save_pretrained(run / "vae")


if __name__ == "__main__":
    program(VaeSettings, train_vae, __doc__)
