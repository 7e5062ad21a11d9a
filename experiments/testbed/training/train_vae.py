"""Trains the mel VAE: `python -m experiments.testbed.training.train_vae run=DIR steps=1200`. Resumes."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from experiments.system.files import whole_file
from experiments.system.settings import parse_settings, pick_device
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, render_scene, sample_scene
from experiments.testbed.models.judges_data import corpus_version
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vae import LATENT_CHANNELS, encode_mel, make_vae, standardise_latents, vae_loss
from experiments.testbed.training.train_state import (
    append_record,
    check_fingerprint,
    fingerprint_of,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
    step_generator,
)


@dataclass(frozen=True)
class VaeSettings:
    """`run` is the folder of checkpoints and caches; crops are `frames` mel frames long."""

    run: str = "runs/testbed/vae"
    seed: int = 0
    clips: int = 2000
    steps: int = 1200
    batch: int = 12
    frames: int = 96
    peak_rate: float = 1.5e-3
    checkpoint_steps: int = 100
    first_clip_seed: int = 100_000
    device: str = "auto"


NOT_WORK = ("run", "device", "steps", "checkpoint_steps")


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
    """Trains (or resumes) the VAE; writes `vae/` (diffusers layout) and `record.jsonl` in the run folder.

    Raises:
        ValueError: the checkpoint belongs to other settings; only `steps` and `checkpoint_steps` may change.
    """
    run = Path(settings.run)
    work = {name: value for name, value in asdict(settings).items() if name not in NOT_WORK}
    fingerprint = fingerprint_of(work | {"corpus": corpus_version(), "clip_s": TRAIN_DURATION_S})
    checkpoint = load_checkpoint(run / "checkpoint.pt")
    if checkpoint is not None:
        check_fingerprint(run / "checkpoint.pt", checkpoint, fingerprint)
    mels = mel_cache(run, settings.first_clip_seed, settings.clips, TRAIN_DURATION_S)
    vae = make_vae(seed=settings.seed).to(pick_device(settings.device))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=settings.peak_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    first = 0
    if checkpoint is not None:
        vae.load_state_dict(checkpoint["vae"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first = checkpoint["step"]
    bar = tqdm(range(first, settings.steps), initial=first, total=settings.steps, desc="vae", mininterval=10)
    for step in bar:
        started = time.perf_counter()
        loss, l1 = _step(vae, optimizer, mels, step, settings)
        if (step + 1) % 50 == 0:
            bar.set_postfix(loss=f"{loss:.4f}", l1=f"{l1:.4f}")
            seconds = time.perf_counter() - started
            append_record(run / "record.jsonl", {"step": step + 1, "loss": loss, "l1": l1, "step_s": seconds})
        if (step + 1) % settings.checkpoint_steps == 0 or step + 1 == settings.steps:
            state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(run / "checkpoint.pt", state | {"fingerprint": fingerprint})
    _finish(vae, mels, run)
    return vae


def _step(
    vae: AutoencoderKL, optimizer: torch.optim.Optimizer, mels: np.ndarray, step: int, settings: VaeSettings
) -> tuple[float, float]:
    generator = step_generator(settings.seed, step)
    clips = torch.randint(len(mels), (settings.batch,), generator=generator)
    starts = torch.randint(mels.shape[1] - settings.frames + 1, (settings.batch,), generator=generator)
    crops = [mels[c, s : s + settings.frames] for c, s in zip(clips.tolist(), starts.tolist(), strict=True)]
    batch = torch.from_numpy(np.stack(crops).astype(np.float32))
    noise = torch.randn(settings.batch, LATENT_CHANNELS, settings.frames // 4, batch.shape[2] // 4, generator=generator)
    batch, noise = batch.to(vae.device), noise.to(vae.device)
    set_learning_rate(optimizer, learning_rate(step, settings.steps, settings.peak_rate))
    with torch.autocast(vae.device.type, torch.bfloat16, enabled=vae.device.type == "cuda"):
        loss, l1 = vae_loss(vae, batch, noise)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    return loss.item(), l1.item()


def _finish(vae: AutoencoderKL, mels: np.ndarray, run: Path) -> None:
    vae.cpu().eval()
    sample = torch.from_numpy(mels[:200:2].astype(np.float32))
    latents = torch.cat([encode_mel(vae, sample[i : i + 10]) for i in range(0, len(sample), 10)])
    standardise_latents(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    vae.save_pretrained(run / "vae")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_vae(parse_settings(VaeSettings, sys.argv[1:]))
