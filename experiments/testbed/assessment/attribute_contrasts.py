"""Does a clip obey a level, rate or pitch word? Pairs of captions that differ in it, and what to measure in the signal.

Shapes: B clips, S samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from experiments.testbed.assessment.judges_quality import opposite_event, phrase
from experiments.testbed.corpus.scenes import Scene, sample_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.rates import FRAMES_PER_SECOND

FIRST_SEED = 40_000_000
MODULATION_HZ = (0.4, 12.0)
# Events of which `modulation_hz` orders under 75% of the real renders right (32 pairs each: 0%, 53%, 53%; the other
# 17 reach 84-100%): a fast rotor chops above MODULATION_HZ, and the centroid hardly follows the rate of the other two.
MISREAD_EVENTS = {"rate": ("helicopter", "telephone", "wind_chimes")}


def level_db(audio: Tensor) -> Tensor:
    """RMS level (B,) in dB."""
    return 10.0 * audio.square().mean(dim=1).clamp_min(1e-12).log10()


def modulation_hz(audio: Tensor) -> Tensor:
    """Centroid (B,) of the modulation spectrum of the loudness envelope: repeating faster moves it up."""
    envelope = log_mel(audio).exp().sum(dim=2).log()
    envelope = (envelope - envelope.mean(dim=1, keepdim=True)) * torch.hann_window(envelope.shape[1])
    power = torch.fft.rfft(envelope, dim=1).abs().square()
    hz = torch.fft.rfftfreq(envelope.shape[1], 1.0 / FRAMES_PER_SECOND)
    inside = (hz >= MODULATION_HZ[0]) & (hz <= MODULATION_HZ[1])
    return (power * hz)[:, inside].sum(dim=1) / power[:, inside].sum(dim=1)


def pitch_bins(audio: Tensor) -> Tensor:
    """Centroid (B,) of the power over mel bins."""
    power = (2.0 * log_mel(audio)).exp().sum(dim=1)
    return (power * torch.arange(power.shape[1])).sum(dim=1) / power.sum(dim=1)


@dataclass(frozen=True)
class Contrast:
    """Pairs of scenes that differ in one word of their captions; `measure` should be higher for `high`."""

    high: list[Scene]
    low: list[Scene]
    measure: Callable[[Tensor], Tensor]


def attribute_scenes(dimension: str, high_word: str, count: int) -> tuple[list[Scene], list[Scene]]:
    """Single events that name the attribute, once with `high_word` and once with its opposite; no MISREAD_EVENTS."""
    high: list[Scene] = []
    low: list[Scene] = []
    seed = FIRST_SEED
    while len(high) < count:
        scene = sample_scene(seed, split="heldout", relation="single")
        seed += 1
        word = dict(scene.events[0].attributes).get(dimension)
        if word is not None and scene.events[0].name not in MISREAD_EVENTS.get(dimension, ()):
            other = replace(scene, events=(opposite_event(scene.events[0], dimension),))
            first, second = (scene, other) if word == high_word else (other, scene)
            high.append(replace(first, caption=phrase(first)))
            low.append(replace(second, caption=phrase(second)))
    return high, low


def attribute_contrasts(count: int) -> dict[str, Contrast]:
    """Level, rate and pitch."""
    measures = {"level": ("loud", level_db), "rate": ("fast", modulation_hz), "pitch": ("high", pitch_bins)}
    return {name: Contrast(*attribute_scenes(name, word, count), measure) for name, (word, measure) in measures.items()}
