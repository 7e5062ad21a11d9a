"""Measures judges and vocoder on held-out scenes, with 95% intervals resampled by clip.

    python -m experiments.testbed.assessment.judges_quality classifier=FILE clap=DIR vocoder=DIR vae=DIR out=FILE

Held-out scenes have seeds and phrasings that no training here uses. Exact sets: every event of the scene has a
posterior above 0.5 and no other has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import ClapModel, RobertaTokenizer

from evaluation import bootstrap_interval
from experiments.system.files import write_whole
from experiments.system.settings import program
from experiments.testbed.corpus.captions import event_caption, scene_caption
from experiments.testbed.corpus.scenes import ATTRIBUTE_WORDS, EventSpec, Scene
from experiments.testbed.models.clap import embed_audio, embed_text, scene_key
from experiments.testbed.models.classifier import EventClassifier, exact_sets
from experiments.testbed.models.judges_data import HELDOUT_FIRST_SEED, ClipSet, corpus_version, render_clips
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vocoder import griffin_lim, load_vae, load_vocoder, reconstruct
from experiments.testbed.plugin.load import judge_hashes, load_clap, load_classifier

BATCH = 16
GALLERY = 100
Convert = Callable[[torch.Tensor], torch.Tensor]
Summary = dict[str, float | int | None]


@dataclass(frozen=True)
class QualitySettings:
    """What to measure (empty: left out) and on how many clips; Griffin-Lim, the slowest, gets its own number."""

    classifier: str = ""
    clap: str = ""
    vocoder: str = ""
    vae: str = ""
    cache: str = "runs/testbed/clips"
    clips: int = 1024
    vocoded_clips: int = 256
    griffin_lim_clips: int = 128
    out: str = "runs/testbed/quality.json"


def summarise(values: np.ndarray) -> Summary:
    """Mean over clips with its 95% interval: {"value", "low", "high", "n"}; bounds are None for a single clip."""
    interval = bootstrap_interval(np.mean, values, seed=0)
    low, high = (None if np.isnan(bound) else round(bound, 4) for bound in (interval.low, interval.high))
    return {"value": round(interval.value, 4), "low": low, "high": high, "n": interval.n}


def converters(settings: QualitySettings) -> dict[str, tuple[Convert, int]]:
    """Ways from log-mels (B, T, M) back to audio, and on how many clips each is measured."""
    ways: dict[str, tuple[Convert, int]] = {}
    lim: Convert = lambda mels: griffin_lim(mels, torch.Generator().manual_seed(0))  # noqa: E731
    if settings.vocoder:
        vocoder = load_vocoder(Path(settings.vocoder))
        ways["vocoder"] = (vocoder, settings.vocoded_clips)
        ways["griffin_lim"] = (lim, settings.griffin_lim_clips)
    if settings.vocoder and settings.vae:
        vae = load_vae(settings.vae)
        ways["vae_vocoder"] = (lambda mels: vocoder(reconstruct(vae, mels)), settings.vocoded_clips)
        ways["vae_griffin_lim"] = (lambda mels: lim(reconstruct(vae, mels)), settings.griffin_lim_clips)
    return ways


@torch.no_grad()
def measure_conversions(
    clips: ClipSet, ways: dict[str, tuple[Convert, int]], classifier: EventClassifier | None
) -> dict[str, dict[str, Summary]]:
    """Per way: log-mel L1 (nat) of the result against the clip, and exact event sets."""
    results = {}
    for name, (convert, count) in ways.items():
        errors, exact = [], []
        for batch in tqdm(_batches(min(count, len(clips))), desc=name):
            mels = log_mel(clips.audio(batch))
            got = log_mel(convert(mels))
            errors.append((got - mels).abs().mean(dim=(1, 2)))
            if classifier is not None:
                exact.append(exact_sets(clips.labels(batch), classifier(got).logits))
        results[name] = {"log_mel_l1": summarise(torch.cat(errors).numpy())}
        if exact:
            results[name]["exact_sets"] = summarise(torch.cat(exact).float().numpy())
    return results


@torch.no_grad()
def measure_classifier(clips: ClipSet, classifier: EventClassifier) -> dict[str, Summary]:
    """Exact event sets on the renders themselves: all scenes, and by relation."""
    batches = tqdm(_batches(len(clips)), desc="classifier")
    exact = torch.cat([exact_sets(clips.labels(b), classifier(log_mel(clips.audio(b))).logits) for b in batches])
    values = exact.float().numpy()
    relations = np.array([scene.relation for scene in clips.scenes])
    by_relation = {name: summarise(values[relations == name]) for name in sorted(set(relations))}
    return {"all": summarise(values), **by_relation}


@torch.no_grad()
def measure_clap(clips: ClipSet, model: ClapModel, tokenizer: RobertaTokenizer) -> dict[str, Summary]:
    """Retrieval among 100 distinct scenes, right against shuffled captions, attributes and order."""
    audio = torch.cat([embed_audio(model, clips.audio(b)) for b in tqdm(_batches(len(clips)), desc="clap audio")])
    text = _embed(model, tokenizer, [scene.caption for scene in clips.scenes])
    galleries = distinct_galleries(clips.scenes)
    to_audio = [(text[g] @ audio[g].T).argmax(dim=1) == torch.arange(len(g)) for g in galleries]
    to_text = [(audio[g] @ text[g].T).argmax(dim=1) == torch.arange(len(g)) for g in galleries]
    margin = (audio * text).sum(dim=1) - (audio * text.roll(1, 0)).sum(dim=1)
    results = {
        "r1_text_to_audio_of_100": summarise(torch.cat(to_audio).float().numpy()),
        "r1_audio_to_text_of_100": summarise(torch.cat(to_text).float().numpy()),
        "cosine_right": summarise((audio * text).sum(dim=1).numpy()),
        "cosine_right_minus_shuffled": summarise(margin.numpy()),
    }
    for name, pairs in contrasts(clips.scenes).items():
        indices = [index for index, _, _ in pairs]
        right = _embed(model, tokenizer, [caption for _, caption, _ in pairs])
        wrong = _embed(model, tokenizer, [caption for _, _, caption in pairs])
        better = (audio[indices] * (right - wrong)).sum(dim=1) > 0
        results[f"prefers_right_{name}"] = summarise(means_by_clip(better.float().numpy(), indices))
    return results


def means_by_clip(values: np.ndarray, clips: Sequence[int]) -> np.ndarray:
    """The mean of each clip's values: two words of one clip are heard in the same audio, so they are one row."""
    _, rows = np.unique(clips, return_inverse=True)
    return np.bincount(rows, weights=values) / np.bincount(rows)


def distinct_galleries(scenes: Sequence[Scene]) -> list[list[int]]:
    """Disjoint groups of 100 scenes that differ in events, attributes or relation, in the order of the scenes."""
    galleries: list[list[int]] = []
    current: list[int] = []
    seen: set[tuple[object, ...]] = set()
    for index, scene in enumerate(scenes):
        if (key := scene_key(scene)) in seen:
            continue
        seen.add(key)
        current.append(index)
        if len(current) == GALLERY:
            galleries.append(current)
            current, seen = [], set()
    if not galleries:
        raise ValueError(f"{len(scenes)} clips hold {len(current)} distinct scenes; retrieval needs {GALLERY}")
    return galleries


def contrasts(scenes: Sequence[Scene]) -> dict[str, list[tuple[int, str, str]]]:
    """(clip, right caption, wrong caption) per attribute dimension, and for order; all else in a caption is equal."""
    pairs: dict[str, list[tuple[int, str, str]]] = {name: [] for name in (*ATTRIBUTE_WORDS, "order")}
    for index, scene in enumerate(scenes):
        right = phrase(scene)
        if scene.relation == "then":
            pairs["order"].append((index, right, phrase(replace(scene, events=scene.events[::-1]))))
        for position, event in enumerate(scene.events):
            for dimension, _ in event.attributes:
                events = list(scene.events)
                events[position] = opposite_event(event, dimension)
                pairs[dimension].append((index, right, phrase(replace(scene, events=tuple(events)))))
    return {name: found for name, found in pairs.items() if found}


def opposite_event(event: EventSpec, dimension: str) -> EventSpec:
    first, second = ATTRIBUTE_WORDS[dimension]
    other = {first: second, second: first}
    return replace(event, attributes=tuple((d, other[w] if d == dimension else w) for d, w in event.attributes))


def phrase(scene: Scene) -> str:
    """The held-out caption of a scene with the scene's own choice of synonyms."""
    rng = np.random.default_rng([scene.seed, 7])
    parts = [event_caption(event.name, dict(event.attributes), "heldout", rng) for event in scene.events]
    return scene_caption(parts, scene.relation, rng)


def _embed(model: ClapModel, tokenizer: RobertaTokenizer, captions: Sequence[str]) -> torch.Tensor:
    batches = [captions[i : i + BATCH] for i in range(0, len(captions), BATCH)]
    return torch.cat([embed_text(model, tokenizer, batch) for batch in batches])


def _batches(count: int) -> list[list[int]]:
    return [list(range(start, min(start + BATCH, count))) for start in range(0, count, BATCH)]


def measure(settings: QualitySettings) -> dict[str, object]:
    """Everything the settings name, as written to `out`."""
    clips = render_clips(Path(settings.cache), "heldout", settings.clips, HELDOUT_FIRST_SEED)
    classifier = load_classifier(settings.classifier) if settings.classifier else None
    results: dict[str, object] = {"corpus": corpus_version(), "first_seed": HELDOUT_FIRST_SEED}
    if classifier is not None:
        results["classifier_exact_sets"] = measure_classifier(clips, classifier)
    results["conversions"] = measure_conversions(clips, converters(settings), classifier)
    results["judges"] = judge_hashes(
        Path(settings.classifier) if settings.classifier else None, Path(settings.clap) if settings.clap else None
    )
    if settings.clap:
        results["clap"] = measure_clap(clips, *load_clap(settings.clap))
    write_whole(Path(settings.out), json.dumps(results, indent=1).encode() + b"\n")
    return results


if __name__ == "__main__":
    program(QualitySettings, lambda settings: json.dumps(measure(settings), indent=1), __doc__)
