"""Trains the HiFi-GAN vocoder: `python -m experiments.testbed.training.train_vocoder steps=4500`. Resumes when killed.

A second run may start from the first one's weights and read what the VAE makes of half of the excerpts, as the
pipeline will: `... run=DIR start=runs/testbed/vocoder/vocoder vae=runs/testbed/vae/vae stft_weight=0.25`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import SpeechT5HifiGan

from experiments.system.files import sha256_file
from experiments.system.settings import program
from experiments.testbed.models.judges_data import TRAIN_FIRST_SEED, ClipSet, corpus_version, render_clips
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import HOP
from experiments.testbed.models.vocoder import (
    build_vocoder,
    load_vae,
    load_vocoder,
    reconstruct,
    set_normalisation,
    vocoder_losses,
)
from experiments.testbed.training.loop import TrainingSettings, seeded, train
from experiments.testbed.training.train_state import save_half

EDGE_FRAMES = 4
NORMALISATION_CLIPS = 512


@dataclass(frozen=True)
class VocoderSettings(TrainingSettings):
    """`cache` receives the renders; excerpts are `frames` mel frames long.

    `start` is a vocoder to start from (empty: random weights); `vae` reconstructs every other excerpt's mels.
    """

    run: str = "runs/testbed/vocoder"
    steps: int = 4500
    batch_size: int = 4
    learning_rate: float = 2e-3
    cache: str = "runs/testbed/clips"
    clips: int = 2048
    channels: int = 256
    frames: int = 40
    start: str = ""
    vae: str = ""
    stft_weight: float = 1.0


def draw_excerpts(
    clips: ClipSet, batch_size: int, frames: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random excerpts: log-mels (B, frames, M) cut from the whole clips' mels, and their waveforms (B, frames * HOP).

    The mels of an excerpt therefore see the audio around it, as they do in a whole clip.
    """
    indices = torch.randint(len(clips), (batch_size,), generator=generator).tolist()
    audio = clips.audio(indices)
    # Context on both sides so that no frame of the excerpt touches log_mel's reflected edges.
    last = audio.shape[1] // HOP - frames - 2 * EDGE_FRAMES
    starts = torch.randint(last + 1, (batch_size,), generator=generator).tolist()
    length = (frames + 2 * EDGE_FRAMES) * HOP
    cuts = torch.stack([row[s * HOP : s * HOP + length] for row, s in zip(audio, starts, strict=True)])
    mels = log_mel(cuts)[:, EDGE_FRAMES:-EDGE_FRAMES]
    return mels, cuts[:, EDGE_FRAMES * HOP : -EDGE_FRAMES * HOP]


def train_vocoder(settings: VocoderSettings) -> SpeechT5HifiGan:
    """Train (or resume) the vocoder; writes `vocoder/` (transformers layout, half precision) into the run folder."""
    clips = render_clips(Path(settings.cache), "train", settings.clips, TRAIN_FIRST_SEED)
    model = initial_vocoder(settings, clips)
    vae = load_vae(settings.vae) if settings.vae else None

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        mels, audio = draw_excerpts(clips, settings.batch_size, settings.frames, generator)
        if vae is not None:
            mels[::2] = reconstruct(vae, mels[::2])
        # The outermost frames lack context here, which they have in a whole clip.
        inner = slice(EDGE_FRAMES * HOP, -EDGE_FRAMES * HOP)
        return vocoder_losses(audio[:, inner], model(mels)[:, inner], settings.stft_weight)

    schedule = settings.schedule(weight_decay=0.0, record_every=settings.checkpoint_every)
    data = {"corpus": corpus_version(), "clips": settings.clips, "batch_size": settings.batch_size}
    data |= {"frames": settings.frames, "channels": settings.channels, "stft_weight": settings.stft_weight}
    data |= {name: _digest(folder) for name, folder in (("start", settings.start), ("vae", settings.vae)) if folder}
    train(model, losses, schedule, Path(settings.run), data)
    folder = Path(settings.run) / "vocoder"
    save_half(model, folder / "model.safetensors")
    model.config.save_pretrained(folder)
    return model


def initial_vocoder(settings: VocoderSettings, clips: ClipSet) -> SpeechT5HifiGan:
    """The weights that training begins with: those of `start`, or seeded ones normalised by the first clips."""
    if settings.start:
        return load_vocoder(Path(settings.start))
    model = seeded(lambda: build_vocoder(settings.channels), settings.seed)
    set_normalisation(model, log_mel(clips.audio(range(min(NORMALISATION_CLIPS, len(clips))))))
    return model


def _digest(folder: str) -> str:
    (weights,) = Path(folder).glob("*.safetensors")
    return sha256_file(weights)[:12]


if __name__ == "__main__":
    program(VocoderSettings, train_vocoder, __doc__)
