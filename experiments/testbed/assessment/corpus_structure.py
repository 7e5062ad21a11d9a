"""The training-free check of the corpus: how much of a latent does distant context of its own bin explain?

`python -m experiments.testbed.assessment.corpus_structure clips_per_event=8`

It prints the share of the variance of single-event latents (around their event's mean) that the mean of the same bin
at least 1.3 s away explains, and, as a control, what the mean over all bins explains. A corpus that is to teach
long-range, same-frequency attention needs 0.3.

Shapes: K clips, C channels, T latent frames, F bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from experiments.system.settings import program
from experiments.testbed.corpus.events import BY_NAME
from experiments.testbed.corpus.scenes import EVENT_NAMES, TRAIN_DURATION_S, EventSpec, Scene, render_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import COMPRESSION, FRAMES_PER_SECOND
from experiments.testbed.models.vae import encode_mel
from experiments.testbed.training.train_state import append_record

LAG_S = 1.3


@dataclass(frozen=True)
class StructureSettings:
    """`vae` is a folder in diffusers layout; the record is one JSON line."""

    vae: str = "runs/testbed/vae/vae"
    clips_per_event: int = 8
    record: str = "results/testbed/corpus_structure.jsonl"


def far_same_bin_r2(residual: np.ndarray, lag_frames: int, *, over_bins: bool = False) -> tuple[float, float]:
    """(explained, total) sum of squares of residuals (K, C, T, F).

    Each value is predicted by the mean of its own channel and bin (or, with `over_bins`, of its channel over all
    bins) over the frames at least lag_frames away, times the least-squares coefficient.
    """
    frames = residual.shape[2]
    distance = np.abs(np.arange(frames)[:, None] - np.arange(frames))
    weights = (distance >= lag_frames).astype(float)
    weights /= weights.sum(1, keepdims=True)
    predictor = np.einsum("ts,kcsf->kctf", weights, residual)
    if over_bins:
        predictor = np.broadcast_to(predictor.mean(3, keepdims=True), residual.shape)
    cross, power = float((predictor * residual).sum()), float((predictor**2).sum())
    return cross**2 / power, float((residual**2).sum())


def event_residuals(vae: AutoencoderKL, name: str, clips: int) -> np.ndarray:
    """Latents (clips, C, T, F) of one event alone, minus their mean per channel and bin."""
    latents = []
    for seed in range(clips):
        audio = render_scene(Scene(seed, (EventSpec(name),), "single", ""), TRAIN_DURATION_S)
        latents.append(encode_mel(vae, log_mel(torch.from_numpy(audio)[None]))[0].numpy())
    stacked = np.stack(latents).astype(float)
    return stacked - stacked.mean((0, 2), keepdims=True)


def corpus_structure(settings: StructureSettings) -> dict[str, float]:
    """Shares of variance: all events, those with persistent partials, the others, and the all-bin control."""
    vae = AutoencoderKL.from_pretrained(settings.vae, local_files_only=True).eval()
    lag = round(LAG_S * FRAMES_PER_SECOND / COMPRESSION)
    same, control = {}, {}
    for name in tqdm(EVENT_NAMES, desc="events"):
        residual = event_residuals(vae, name, settings.clips_per_event)
        same[name] = far_same_bin_r2(residual, lag)
        control[name] = far_same_bin_r2(residual, lag, over_bins=True)

    def share(sums: dict[str, tuple[float, float]], partials: bool | None) -> float:
        chosen = [sums[name] for name in EVENT_NAMES if partials is None or BY_NAME[name].partials == partials]
        explained, total = np.sum(chosen, axis=0)
        return float(explained / total)

    shares = {
        "same_bin": share(same, None),
        "same_bin_partials": share(same, True),
        "same_bin_others": share(same, False),
        "all_bins": share(control, None),
    }
    append_record(Path(settings.record), {"clips_per_event": settings.clips_per_event, "lag_s": LAG_S} | shares)
    return shares


if __name__ == "__main__":
    program(StructureSettings, corpus_structure, __doc__)
