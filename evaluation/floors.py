"""Floors and ceilings: the same metrics where nothing was generated, to be printed beside every score.

Two halves of the references say what FAD and KAD give at this N without any defect; references against their own
captions, and against others', say what CLAP can give; the divergence between references of different prompts says
what KL gives to a wrong prompt; what the classifier hears in references bounds the hit rate; a 16 kHz round trip says
what an empty band above 8 kHz costs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np

from evaluation.bootstrap import Array
from evaluation.clap_score import text_collapse
from evaluation.fad import frechet_distance
from evaluation.hit_rate import ClipLabels, exact_set_per_window, hit_rate_per_window
from evaluation.kad import kernel_audio_distance, median_bandwidth
from evaluation.kl import bernoulli_kl_per_clip, kl_per_clip
from evaluation.material import Material
from evaluation.measure import HIGHER_IS_BETTER, clap_values
from evaluation.results import MetricResult

logger = logging.getLogger(__name__)

BAND_LIMIT_HZ = 16_000
_PARTNERS = 16


def reference_floors(material: Material, metrics: tuple[str, ...], n_failed: int) -> list[MetricResult]:
    """Floors of the metrics among ``metrics`` that need a reference only."""
    floors = []
    if "fad" in metrics:
        rows, clips = material.reference["frames"].first_windows(material.frames_output("frames"))
        floors.append(_halves("fad", material, rows, clips, frechet_distance, n_failed))
    if "fd" in metrics:
        rows, clips = material.reference["classifier"].first_windows("embedding")
        floors.append(_halves("fd", material, rows, clips, frechet_distance, n_failed))
    if "kad" in metrics:
        rows, clips = material.reference["classifier"].first_windows("embedding")
        width = median_bandwidth(rows) if len(rows) > 1 else None
        distance = partial(kernel_audio_distance, bandwidth=width)
        floors.append(_halves("kad", material, rows, clips, distance, n_failed))
    preset = material.preset
    if "kl" in metrics:
        values = _with_others(
            partial(kl_per_clip, direction=preset.kl_direction, eps=preset.kl_eps), *_twice(material), material.seed
        )
        floors.append(_mean("kl", "shuffled_references", material, values, n_failed))
    if "kl_bernoulli" in metrics:
        values = _with_others(
            partial(bernoulli_kl_per_clip, direction=preset.kl_direction), *_twice(material), material.seed
        )
        floors.append(_mean("kl_bernoulli", "shuffled_references", material, values, n_failed))
    if not preset.paired:
        return floors
    if "hit_rate" in metrics:
        values = hit_rate_per_window(*_labelled_references(material)).mean(axis=1)
        floors.append(_mean("hit_rate", "reference", material, values, n_failed))
    if "exact_set_rate" in metrics:
        values = exact_set_per_window(*_labelled_references(material)).mean(axis=1)
        floors.append(_mean("exact_set_rate", "reference", material, values, n_failed))
    return floors


def _labelled_references(material: Material) -> tuple[Array, list[ClipLabels]]:
    """(m, W, C) logits of the references of labelled clips, and their labels."""
    by_prompt = dict(zip((clip.prompt for clip in material.clips), material.labels or (), strict=True))
    found = material.reference["classifier"].select(list(by_prompt))
    return found.stack("logits"), list(by_prompt.values())


def _twice(material: Material) -> tuple[Array, Array]:
    """(m, C) logits of the references' first windows, to be compared with each other."""
    logits = np.stack([features["logits"][0] for features in material.reference["classifier"].features])
    return logits, logits


def text_floors(material: Material, audio: Array, text: Array, n_failed: int) -> list[MetricResult]:
    """CLAP of (m, d) references with their own (m, K, d) captions and with others'."""
    own = _clap(material, audio, text)
    shuffled = _with_others(
        lambda sounds, captions: _clap(material, sounds, captions.reshape(-1, *text.shape[1:])),
        audio, text.reshape(len(text), -1), material.seed,
    )  # fmt: skip
    return [
        _mean("clap", "reference", material, own, n_failed),
        _mean("clap", "shuffled_captions", material, shuffled, n_failed),
    ]


def collapse_check(material: Material, embedder: str, n_failed: int) -> MetricResult:
    """Mean cosine between different captions' embeddings: at 0.9 or more a CLAP score says nothing about the prompt.

    Raises:
        ValueError: the material has no captions.
    """
    if material.text is None:
        raise ValueError("the collapse check needs captions")
    texts = (text for clip in material.clips for text in clip.captions[: material.text.shape[1]])
    different = dict(zip(texts, material.text[np.isfinite(material.text[..., 0])], strict=True))
    collapse = text_collapse(np.stack(list(different.values())))
    if collapse.collapsed:
        logger.warning("%s gives almost the same vector to every caption: CLAP says nothing here", embedder)
    return MetricResult(
        metric="text_collapse",
        preset=material.preset.name,
        value=collapse.mean_cosine,
        low=np.nan,
        high=np.nan,
        n_scored=collapse.n,
        n_failed=n_failed,
        unit="caption",
        higher_is_better=False,
        details={"collapsed": collapse.collapsed},
    )


def band_limit_floor(material: Material, audio: Array, text: Array, n_failed: int) -> MetricResult:
    """CLAP of (m, d) references that went through 16 kHz, as 16 kHz generators do."""
    return _mean("clap", "reference_16khz", material, _clap(material, audio, text), n_failed)


def _clap(material: Material, audio: Array, text: Array) -> Array:
    """(m,) scores of (m, d) audio with the captions of each, as the preset takes several."""
    return clap_values("clap", audio[:, None], text, material.preset.several_captions)[:, 0]


def needs_band_limit(sample_rate: int) -> bool:
    """Whether an embedder hears above 8 kHz at all."""
    return sample_rate > BAND_LIMIT_HZ


def _halves(
    metric: str,
    material: Material,
    rows: Array,
    clips: Array,
    distance: Callable[[Array, Array], float],
    n_failed: int,
) -> MetricResult:
    count = int(clips.max()) + 1
    starts = np.unique(clips, return_index=True)[1]
    chosen = np.isin(clips, _drawn(rows[starts], material.seed)[: count // 2])
    # Half of the clips may be a single row, or none: the distance is then undefined, not an error.
    halves = rows[chosen], rows[~chosen]
    value = distance(*halves) if count > 1 else np.nan
    return _result(metric, "halves", material, value, count, n_failed)


def _mean(metric: str, name: str, material: Material, values: Array, n_failed: int) -> MetricResult:
    return _result(metric, name, material, float(np.mean(values)), len(values), n_failed)


def _result(metric: str, name: str, material: Material, value: float, n: int, n_failed: int) -> MetricResult:
    return MetricResult(
        metric=f"floor_{metric}_{name}",
        preset=material.preset.name,
        value=float(value),
        low=np.nan,
        high=np.nan,
        n_scored=n,
        n_failed=n_failed,
        higher_is_better=HIGHER_IS_BETTER[metric],
    )


def _with_others(per_row: Callable[[Array, Array], Array], first: Array, second: Array, seed: int) -> Array:
    """(m,) mean value of each row of the first array with other rows of the second: all up to m = 17, else 16.

    One partner each would be a draw among very different floors.
    """
    order = _drawn(np.concatenate([first, second], axis=1), seed)
    first, second = first[order], second[order]
    shifts = range(1, min(len(first), 1 + _PARTNERS))
    if not shifts:
        return np.full(len(first), np.nan)
    return np.mean([per_row(first, np.roll(second, shift, axis=0)) for shift in shifts], axis=0)


def _drawn(rows: Array, seed: int) -> Array:
    """A permutation of (m, d) rows that depends on their values and the seed, not on the order that names give them."""
    return np.lexsort(rows.T[::-1])[np.random.default_rng(seed).permutation(len(rows))]
