"""Trains the UNet: `python -m experiments.testbed.training.train_unet run=DIR steps=3000`. Resumes where it was killed.

Needs the VAE and the text side (train_vae, train_text). Several processes may share it (`processes.py`).
Shapes: B clips, T = 80 latent frames of a crop, latents (B, 8, T, 16), GPT-2 tokens (B, 8, 64), T5 tokens (B, L, 64).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AudioLDM2UNet2DConditionModel, AutoencoderKL, DDIMScheduler
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from experiments.system.files import write_whole
from experiments.system.settings import pick_device, program
from experiments.testbed.corpus.scenes import sample_scene
from experiments.testbed.models.judges_data import corpus_version
from experiments.testbed.models.text import MAX_TOKENS, TEXT_PARTS, TextParts, encode_captions
from experiments.testbed.models.unet import TRAIN_FRAMES, TimeTaps, export_unet, load_stock_weights, make_unet
from experiments.testbed.models.vae import encode_mel
from experiments.testbed.models.vocoder import load_vae
from experiments.testbed.training.loop import CHECKPOINT, TrainingSettings, check_resumable, train
from experiments.testbed.training.processes import first_before_the_others, is_first, own_rows, several_processes
from experiments.testbed.training.train_state import content_digest, load_checkpoint
from experiments.testbed.training.train_text import load_text_parts
from experiments.testbed.training.train_vae import mel_cache


@dataclass(frozen=True)
class UnetSettings(TrainingSettings):
    """`vae`, `text` and `cache` are folders; clips of `clip_s` seconds are cropped to `frames` latents.

    `width` is that of the 16-bin level, half of the others'; `device` "auto" takes a GPU where there is one.
    `time_taps`: resnets whose kernels reach over time, "none", those of the "coarsest" level or "all".
    `middle_share` of the noise levels lie in 400-850, where distant context helps most (alpha_bar x T near 1).
    `pair_share` of the clips are drawn from the scenes of two events, the others from all scenes.
    `start` is a folder with a UNet of this form to start from (empty: random weights).
    `compile` has torch compile the UNet first, which a long training earns back.
    """

    run: str = "runs/testbed/unet"
    steps: int = 3000
    batch_size: int = 8
    learning_rate: float = 1.2e-3
    vae: str = "runs/testbed/vae/vae"
    text: str = "runs/testbed/text"
    cache: str = "runs/testbed/cache"
    start: str = ""
    tied: bool = True
    width: int = 32
    time_taps: TimeTaps = "none"
    device: str = "auto"
    clips: int = 6000
    clip_s: float = 7.68
    frames: int = TRAIN_FRAMES
    caption_dropout: float = 0.1
    middle_share: float = 0.7
    pair_share: float = 0.0
    ema_decay: float = 0.998
    compile: bool = False


# What the weights depend on besides the schedule and the data.
WORK = (
    "start",
    "tied",
    "width",
    "time_taps",
    "clips",
    "frames",
    "batch_size",
    "caption_dropout",
    "middle_share",
    "pair_share",
    "ema_decay",
)


class TrainingData(NamedTuple):
    """What the UNet sees, precomputed: index 0 of the text arrays is the empty caption, clip c is index c + 1."""

    latents: Tensor
    generated: Tensor
    t5: Tensor
    t5_mask: Tensor


def make_scheduler() -> DDIMScheduler:
    """AudioLDM2's noise schedule with zero terminal SNR, v-prediction and trailing steps."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.0015,
        beta_end=0.0195,
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


@torch.no_grad()
def encode_text(parts: TextParts, captions: list[str], batch: int = 200) -> dict[str, Tensor]:
    """GPT-2 tokens, T5 tokens padded to 48 and their mask, of every caption; float16 (mask uint8)."""
    columns: dict[str, list[Tensor]] = {"generated": [], "t5": [], "t5_mask": []}
    for first in tqdm(range(0, len(captions), batch), desc="encode captions"):
        generated, t5, mask, _ = encode_captions(parts, captions[first : first + batch])
        missing = MAX_TOKENS - t5.shape[1]
        columns["generated"].append(generated.half())
        columns["t5"].append(torch.nn.functional.pad(t5, (0, 0, 0, missing)).half())
        columns["t5_mask"].append(torch.nn.functional.pad(mask, (0, missing)).byte())
    return {name: torch.cat(chunks) for name, chunks in columns.items()}


@torch.no_grad()
def encode_latents(vae: AutoencoderKL, mels: np.ndarray, batch: int = 8) -> Tensor:
    """Latents (clips, 8, T, 16) float16 of log-mels (clips, frames, 64)."""
    latents = []
    for first in tqdm(range(0, len(mels), batch), desc="encode latents"):
        chunk = torch.from_numpy(np.asarray(mels[first : first + batch], dtype=np.float32))
        latents.append(encode_mel(vae, chunk).half())
    return torch.cat(latents)


def prepare_data(settings: UnetSettings) -> TrainingData:
    """Renders, encodes and caches the training set under `cache` (safetensors); later calls only load it."""
    path = Path(settings.cache) / f"latents_{settings.clips}_{data_digest(settings)}.safetensors"
    if not path.exists():
        mels = mel_cache(Path(settings.cache), 0, settings.clips, settings.clip_s)
        captions = [""] + [sample_scene(seed, split="train").caption for seed in range(settings.clips)]
        tensors = encode_text(load_text_parts(Path(settings.text)), captions)
        tensors["latents"] = encode_latents(load_vae(settings.vae), mels)
        write_whole(path, save(tensors))
    return TrainingData(**load_file(path))


def data_digest(settings: UnetSettings) -> str:
    """Changes with what the training data are made by: corpus, clip length, VAE and text side."""
    text = (Path(settings.text) / name for name in TEXT_PARTS)
    return content_digest(corpus_version(), settings.clip_s, Path(settings.vae), *text)


def noise_levels(settings: UnetSettings, generator: torch.Generator) -> Tensor:
    """Stratified timesteps (B,): `middle_share` of them in 400-850, the rest anywhere."""
    share = settings.middle_share
    u = (torch.arange(settings.batch_size) + torch.rand(settings.batch_size, generator=generator)) / settings.batch_size
    return torch.where(u < share, 400 + 450 * u / share, 1000 * (u - share) / max(1 - share, 1e-6)).long().clamp(0, 999)


@functools.cache
def two_event_clips(clips: int) -> Tensor:
    """Which of the first `clips` training scenes have two events: indices, ascending."""
    return torch.tensor([seed for seed in range(clips) if len(sample_scene(seed, split="train").events) == 2])


def draw_clips(count: int, settings: UnetSettings, generator: torch.Generator) -> Tensor:
    """The clips of a batch (B,), of the first `count`: `pair_share` of them have two events for certain."""
    clips = torch.randint(count, (settings.batch_size,), generator=generator)
    if settings.pair_share == 0:
        return clips
    pairs = two_event_clips(count)
    chosen = pairs[torch.randint(len(pairs), (settings.batch_size,), generator=generator)]
    return torch.where(torch.rand(settings.batch_size, generator=generator) < settings.pair_share, chosen, clips)


def unet_loss(
    unet: AudioLDM2UNet2DConditionModel, data: TrainingData, settings: UnetSettings, generator: torch.Generator
) -> Tensor:
    """v-prediction MSE of this process's rows of one batch; everything random comes from the generator."""
    device = unet.device
    clips = draw_clips(len(data.latents), settings, generator)
    spare = data.latents.shape[2] - settings.frames
    starts = torch.randint(spare + 1, (settings.batch_size,), generator=generator)
    pairs = zip(clips.tolist(), starts.tolist(), strict=True)
    clean = torch.stack([data.latents[clip, :, start : start + settings.frames] for clip, start in pairs]).float()
    noise = torch.randn(clean.shape, generator=generator)
    t = noise_levels(settings, generator)
    dropped = torch.rand(settings.batch_size, generator=generator) < settings.caption_dropout
    text = torch.where(dropped, 0, clips + 1)
    scheduler = make_scheduler()
    noisy, target = scheduler.add_noise(clean, noise, t), scheduler.get_velocity(clean, noise, t)
    rows = own_rows(settings.batch_size)
    noisy, target, t, text = noisy[rows], target[rows], t[rows], text[rows]
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        predicted = unet(
            noisy.to(device),
            t.to(device),
            encoder_hidden_states=data.generated[text].float().to(device),
            encoder_hidden_states_1=data.t5[text].float().to(device),
            encoder_attention_mask_1=data.t5_mask[text].long().to(device),
        ).sample
    return torch.nn.functional.mse_loss(predicted.float(), target.to(device))


def train_unet(settings: UnetSettings, data: TrainingData | None = None) -> AudioLDM2UNet2DConditionModel:
    """Trains (or resumes) the UNet; writes `unet/` (stock form, averaged weights) and returns it in training form.

    With `steps` at or below those done it only writes the average of the newest checkpoint; more `steps` go on.

    Raises:
        ValueError: the checkpoint belongs to other settings.
    """
    run = Path(settings.run)
    work = {name: getattr(settings, name) for name in WORK} | {"data": "given" if data else data_digest(settings)}
    if settings.start:
        work["start"] = content_digest(Path(settings.start))
    schedule = settings.schedule(decay="linear", weight_decay=1e-4, gradient_norm=1.0, record_every=20)
    check_resumable(run, schedule, work)
    own_rows(settings.batch_size)  # a batch that cannot be shared is refused before any data are made
    with first_before_the_others():
        seen = data or prepare_data(settings)
    unet = initial_unet(settings).to(pick_device(settings.device))
    if settings.compile:
        unet.compile()
    train(unet, lambda g: {"total": unet_loss(unet, seen, settings, g)}, schedule, run, work, settings.ema_decay)
    if is_first():
        export_unet(unet).cpu().save_pretrained(run / "unet")
    return unet


def initial_unet(settings: UnetSettings) -> AudioLDM2UNet2DConditionModel:
    """The UNet that training begins with, in its training form: random weights, or those of `start`.

    Raises:
        ValueError: the UNet in `start` has another width, or time taps that `time_taps` leaves no room for.
    """
    widths = (settings.width, 2 * settings.width, 2 * settings.width)
    unet = make_unet(widths, time_taps=settings.time_taps, tied=settings.tied, seed=settings.seed)
    if settings.start:
        stock = AudioLDM2UNet2DConditionModel.from_pretrained(
            settings.start, dtype=torch.float32, local_files_only=True
        )
        if tuple(stock.config.block_out_channels) != widths:
            raise ValueError(f"{settings.start} has widths {stock.config.block_out_channels}, asked are {widths}")
        load_stock_weights(unet, stock)
    return unet


def averaged_unet(run: Path) -> tuple[AudioLDM2UNet2DConditionModel, int]:
    """The stock UNet with the averaged weights of a run's newest checkpoint, and its step.

    Raises:
        FileNotFoundError: no checkpoint in the folder.
    """
    checkpoint = load_checkpoint(run / CHECKPOINT)
    if checkpoint is None:
        raise FileNotFoundError(f"{run / CHECKPOINT} is missing: run experiments.testbed.training.train_unet first")
    width = len(checkpoint["model"]["conv_in.bias"])
    unet = make_unet((width, 2 * width, 2 * width), time_taps="all")
    with torch.no_grad():
        for parameter, average in zip(unet.parameters(), checkpoint["ema"], strict=True):
            narrow = parameter.shape != average.shape
            (parameter.zero_()[:, :, 1:2] if narrow else parameter).copy_(average)
    return unet.eval(), checkpoint["step"]


if __name__ == "__main__":
    with several_processes():
        program(UnetSettings, train_unet, __doc__)
