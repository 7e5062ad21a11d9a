"""Measures the generator at its training length on held-out captions, with 95% intervals resampled by clip.

    python -m experiments.testbed.assessment.generator_quality weights=DIR prompts=48 steps=25 out=FILE

Every number stands beside the same number of real renders of the same scenes ("real") and of those renders after the
VAE and the vocoder ("round_trip"): what a perfect generator could reach under these judges. Attributes and order are
read from the signal: two captions that differ in one word (or in the order of two events), one noise, and the share of
such pairs in which the signal differs the right way; chance is 50%.

Shapes: B clips, S samples, E events, D embedding.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import ClapModel, RobertaTokenizer

from evaluation.metrics.fad import frechet_distance, frechet_influence
from evaluation.statistics.student import student_bounds
from experiments.datasets.prompts import Prompt
from experiments.pipelines.pipeline import Pipeline
from experiments.system.files import write_whole
from experiments.system.settings import program
from experiments.testbed.assessment.attribute_contrasts import FIRST_SEED, MISREAD_EVENTS, Contrast, attribute_contrasts
from experiments.testbed.assessment.judges_quality import Summary, summarise
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, Scene, render_scene, sample_scene
from experiments.testbed.models.clap import embed_audio, embed_text
from experiments.testbed.models.classifier import EventClassifier, exact_sets
from experiments.testbed.models.judges_data import event_labels
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.unet import export_unet, make_unet
from experiments.testbed.models.vocoder import reconstruct
from experiments.testbed.plugin.load import CLAP, CLASSIFIER, WEIGHTS, judge_hashes, load_judges, load_on_cpu

SEEDS_PER_RELATION = 1_000_000
REFERENCE_FIRST_SEED = 45_000_000
RELATIONS = ("single", "while", "then")


@dataclass(frozen=True)
class GeneratorSettings:
    """`prompts` per relation and per contrast, each with one noise; `references` real clips for the distances.

    `contrasts=false` leaves out the contrasts, half of the work.
    """

    weights: str = str(WEIGHTS)
    prompts: int = 48
    references: int = 512
    contrasts: bool = True
    steps: int = 25
    guidance: float = 3.0
    batch: int = 8
    seed: int = 0
    out: str = "runs/testbed/generator_quality.json"


def heldout_scenes(relation: str, count: int) -> list[Scene]:
    """Held-out scenes of one relation: neither prompts of the sweeps nor seeds (so noises) of another relation."""
    first = FIRST_SEED + RELATIONS.index(relation) * SEEDS_PER_RELATION
    return [sample_scene(first + i, split="heldout", relation=relation) for i in range(count)]


def generate(pipeline: Pipeline, captions: Sequence[str], noises: Sequence[str], settings: GeneratorSettings) -> Tensor:
    """Generated waveforms (B, S); clips with one name in `noises` start from the same noise."""
    audio = []
    for first in tqdm(range(0, len(captions), settings.batch), desc="generate", unit="batch"):
        chunk = slice(first, first + settings.batch)
        prompts = [Prompt(name, text) for name, text in zip(noises[chunk], captions[chunk], strict=True)]
        seeds = [settings.seed] * len(prompts)
        clips = pipeline.generate(prompts, seeds, TRAIN_DURATION_S, settings.steps, settings.guidance)
        audio += [torch.from_numpy(clip.samples) for clip in clips]
    return torch.stack(audio)


def render(scenes: Sequence[Scene]) -> Tensor:
    """Real waveforms (B, S) of scenes."""
    return torch.stack([torch.from_numpy(render_scene(scene, TRAIN_DURATION_S)) for scene in scenes])


@torch.no_grad()
def round_trip(pipeline: Pipeline, audio: Tensor, batch: int) -> Tensor:
    """Waveforms (B, S) after VAE and vocoder."""
    chunks = [reconstruct(pipeline.pipe.vae, log_mel(part)) for part in audio.split(batch)]
    return torch.cat([pipeline.pipe.vocoder(mels) for mels in chunks])


@torch.no_grad()
def classify(classifier: EventClassifier, audio: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
    """Logits (B, E) and embeddings (B, D) of waveforms (B, S)."""
    outputs = [classifier(log_mel(part)) for part in audio.split(batch)]
    return torch.cat([o.logits for o in outputs]), torch.cat([o.embedding for o in outputs])


def hits(logits: Tensor, scenes: Sequence[Scene]) -> dict[str, Summary]:
    """Hit rate: the share of a clip's prompted events with a posterior above 0.5; exact sets: those and no others."""
    labels = event_labels(scenes)
    heard = (logits.sigmoid() > 0.5) & (labels > 0.5)
    rate = heard.sum(dim=1) / labels.sum(dim=1)
    return {
        "hit_rate": summarise(rate.numpy()),
        "exact_sets": summarise(exact_sets(labels, logits).float().numpy()),
    }


def first_event_lead(classifier: EventClassifier, audio: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """How much more (in logits) the first event is heard in the first 45% and the second in the last 45%: (B,)."""
    part = int(0.45 * audio.shape[1])
    early, late = classify(classifier, audio[:, :part])[0], classify(classifier, audio[:, -part:])[0]
    order = torch.stack([event_labels([replace(s, events=s.events[i : i + 1]) for s in scenes]) for i in (0, 1)])
    return ((early - late) * (order[0] - order[1])).sum(dim=1)


def noise_names(scenes: Sequence[Scene]) -> list[str]:
    """One noise per scene seed: the two captions of a contrast start from the same."""
    return [f"generator{scene.seed}" for scene in scenes]


def measure_relation(
    pipeline: Pipeline,
    classifier: EventClassifier,
    clap: tuple[ClapModel, RobertaTokenizer],
    scenes: list[Scene],
    settings: GeneratorSettings,
) -> tuple[dict[str, dict[str, Summary]], dict[str, Tensor]]:
    """Hits, CLAP and (for "then") order of one relation's scenes, per source; and every source's embeddings."""
    captions = [scene.caption for scene in scenes]
    real = render(scenes)
    sources = {"real": real, "round_trip": round_trip(pipeline, real, settings.batch)}
    sources["generated"] = generate(pipeline, captions, noise_names(scenes), settings)
    results, embeddings = {}, {}
    for name, audio in sources.items():
        logits, embeddings[name] = classify(classifier, audio)
        results[name] = hits(logits, scenes) | clap_scores(clap, audio, captions)
        if scenes[0].relation == "then":
            lead = first_event_lead(classifier, audio, scenes)
            results[name]["order_right"] = summarise((lead > 0).float().numpy())
    return results, embeddings


@torch.no_grad()
def clap_scores(clap: tuple[ClapModel, RobertaTokenizer], audio: Tensor, captions: list[str]) -> dict[str, Summary]:
    """Cosine with the clip's own caption, and that minus the cosine with the previous clip's."""
    model, tokenizer = clap
    heard = torch.cat([embed_audio(model, part) for part in audio.split(16)])
    text = embed_text(model, tokenizer, captions)
    right = (heard * text).sum(dim=1)
    return {
        "clap": summarise(right.numpy()),
        "clap_minus_shuffled": summarise((right - (heard * text.roll(1, 0)).sum(dim=1)).numpy()),
    }


def measure_contrast(pipeline: Pipeline, contrast: Contrast, settings: GeneratorSettings) -> dict[str, Summary]:
    """Share of pairs whose signal differs the right way: real renders, and generated clips."""
    sides = (contrast.high, contrast.low)
    real = [contrast.measure(render(side)) for side in sides]
    made = [
        contrast.measure(generate(pipeline, [scene.caption for scene in side], noise_names(side), settings))
        for side in sides
    ]
    return {
        name: summarise((high > low).float().numpy()) for name, (high, low) in {"real": real, "generated": made}.items()
    }


@torch.no_grad()
def measure_distances(
    pipeline: Pipeline,
    classifier: EventClassifier,
    embeddings: dict[str, Tensor],
    scenes: list[Scene],
    settings: GeneratorSettings,
) -> dict[str, float | int]:
    """Fréchet distances to other real scenes, in the classifier's embedding, all at one number of rows `n`.

    Few rows inflate every distance alike: "real" is that floor, and a ratio above it is given beside the plain one.
    """
    references = reference_scenes(scenes, settings.references)
    _, real = classify(classifier, render(references))
    untrained = untrained_pipeline(pipeline, settings)
    captions = [scene.caption for scene in scenes]
    _, noise = classify(classifier, generate(untrained, captions, noise_names(scenes), settings))
    sets = {**embeddings, "untrained": noise}
    distances: dict[str, float | int] = {
        name: round(frechet_distance(real.numpy(), x.numpy()), 3) for name, x in sets.items()
    }
    distances["generated_over_round_trip"] = round(distances["generated"] / distances["round_trip"], 3)
    low, high = ratio_bounds(real, embeddings["generated"], embeddings["round_trip"])
    distances |= {"generated_over_round_trip_low": low, "generated_over_round_trip_high": high}
    distances["generated_over_untrained"] = round(distances["generated"] / distances["untrained"], 4)
    above = ratio_above_floor(distances)
    distances |= {} if above is None else {"generated_over_round_trip_above_real": above}
    return distances | {"n_reference": len(references), "n": len(scenes)}


def ratio_bounds(references: Tensor, first: Tensor, second: Tensor) -> tuple[float, float]:
    """95% bounds of one Fréchet distance over another: Student's t of its logarithm over clips, the references fixed.

    Args:
        references, first, second: embeddings (B, D); row i of `first` and of `second` are of one scene.
    """
    sets = [x.numpy() for x in (first, second)]
    distances = [frechet_distance(references.numpy(), x) for x in sets]
    each = [frechet_influence(references.numpy(), x) / of for x, of in zip(sets, distances, strict=True)]
    low, high = student_bounds(math.log(distances[0] / distances[1]), each[0] - each[1])
    return round(math.exp(low), 3), round(math.exp(high), 3)


def reference_scenes(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """Other held-out scenes, their relations in turn: in equal shares, as those of `scenes` are."""
    kinds = list(dict.fromkeys(scene.relation for scene in scenes))
    return [
        sample_scene(REFERENCE_FIRST_SEED + i, split="heldout", relation=kinds[i % len(kinds)]) for i in range(count)
    ]


def ratio_above_floor(distances: dict[str, float | int]) -> float | None:
    """(generated - real) / (round trip - real); None where the round trip is no further away than real renders."""
    floor = distances["real"]
    if distances["round_trip"] <= floor:
        return None
    return round((distances["generated"] - floor) / (distances["round_trip"] - floor), 3)


def untrained_pipeline(pipeline: Pipeline, settings: GeneratorSettings) -> Pipeline:
    """The same pipeline around a UNet with random weights."""
    widths = tuple(pipeline.pipe.unet.config.block_out_channels)
    pipe = copy.copy(pipeline.pipe)
    pipe.unet = export_unet(make_unet(widths, seed=settings.seed)).eval()
    return replace(pipeline, name=f"{pipeline.name} untrained", pipe=pipe, trained=False)


def measure(settings: GeneratorSettings) -> dict[str, Any]:
    """Everything above, as written to `out`."""
    pipeline = load_on_cpu(settings.weights)
    root = Path(settings.weights)
    classifier, clap = load_judges(root)
    results: dict[str, Any] = {
        "settings": asdict(settings) | {"weights": pipeline.weights},
        "judges": judge_hashes(root / CLASSIFIER, root / CLAP),
    }
    embeddings: dict[str, list[Tensor]] = {}
    every: list[Scene] = []
    for relation in RELATIONS:
        scenes = heldout_scenes(relation, settings.prompts)
        results[relation], found = measure_relation(pipeline, classifier, clap, scenes, settings)
        if relation != "then":
            every += scenes
            for name, rows in found.items():
                embeddings.setdefault(name, []).append(rows)
    for name, contrast in attribute_contrasts(settings.prompts).items() if settings.contrasts else ():
        results[name] = measure_contrast(pipeline, contrast, settings)
        if name in MISREAD_EVENTS:
            results[name]["without"] = MISREAD_EVENTS[name]
    pooled = {name: torch.cat(parts) for name, parts in embeddings.items()}
    results["frechet_distance"] = measure_distances(pipeline, classifier, pooled, every, settings)
    write_whole(Path(settings.out), json.dumps(results, indent=1).encode() + b"\n")
    return results


if __name__ == "__main__":
    program(GeneratorSettings, lambda settings: json.dumps(measure(settings), indent=1), __doc__)
