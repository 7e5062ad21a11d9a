"""Floors and ceilings: the same metrics where nothing was generated, to be printed beside every score.

Two halves of the references say what FAD and KAD give at this N without any defect; references against their own
captions, and against others', say what CLAP can give; the divergence between references of different prompts says
what KL gives to a wrong prompt; what the classifier hears in references bounds the hit rate; a 16 kHz round trip says
what an empty band above 8 kHz costs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from evaluation.material import Material
from evaluation.metric import Floor, Metric
from evaluation.metrics.clap_score import text_collapse
from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.kad import kernel_audio_distance
from evaluation.metrics.neighbours import NEAREST, Neighbourhood, References
from evaluation.presets import Role
from evaluation.results.result import FLOOR, MetricResult
from evaluation.scoring.distances import fixed_reference
from evaluation.scoring.measure import clap_values, window_means
from evaluation.statistics.bootstrap import Array

logger = logging.getLogger(__name__)

BAND_LIMIT_HZ = 16_000
_PARTNERS = 16


def halves(role: Role) -> Callable[[Material], Floor]:
    """The Fréchet distance between two halves of the references."""

    def floor(material: Material) -> Floor:
        output = "embedding" if role == "classifier" else material.frames_output(role)
        return _halves(material, *material.reference[role].first_windows(output), frechet_distance)

    return floor


def kernel_halves(role: Role) -> Callable[[Material], Floor]:
    """The kernel distance between two halves of the references."""

    def floor(material: Material) -> Floor:
        rows = material.reference_vectors(role, 0)
        width = fixed_reference(material, role, None, 0).bandwidth if len(rows) > 1 else None
        return _halves(material, rows, np.arange(len(rows)), partial(kernel_audio_distance, bandwidth=width))

    return floor


def neighbour_halves(what: Neighbourhood, role: Role) -> Callable[[Material], Floor]:
    """Precision, recall, density or coverage of one half of the references in the other; nan where halves are small."""

    def share(first: Array, second: Array) -> float:
        return References(first).value(what, second) if min(len(first), len(second)) > NEAREST else np.nan

    def floor(material: Material) -> Floor:
        rows = material.reference_vectors(role, 0)
        return _halves(material, rows, np.arange(len(rows)), share)

    return floor


def others(per_row: Callable[..., Array], with_eps: bool = False) -> Callable[[Material], Floor]:
    """The divergence between references of different prompts."""

    def floor(material: Material) -> Floor:
        preset = material.preset
        options: dict[str, Any] = {"eps": preset.kl_eps} if with_eps else {}
        logits = np.stack([features["logits"][0] for features in material.reference["classifier"].features])
        values = _with_others(partial(per_row, direction=preset.kl_direction, **options), logits, logits, material.seed)
        return Floor("shuffled_references", float(np.mean(values)), len(values))

    return floor


def labelled(per_window: Callable[..., Array]) -> Callable[[Material], Floor]:
    """What the classifier hears in the references of labelled clips."""

    def floor(material: Material) -> Floor:
        by_prompt = dict(zip((clip.prompt for clip in material.clips), material.labels or (), strict=True))
        logits = material.reference["classifier"].select(list(by_prompt)).stack("logits")
        values = per_window(logits, list(by_prompt.values())).mean(axis=1)
        return Floor("reference", float(np.mean(values)), len(values))

    return floor


def reference_floors(metrics: Sequence[Metric], material: Material, n_failed: int) -> list[MetricResult]:
    """Floors of those metrics that need a reference only."""
    return [
        _result(metric.name, metric.floor(material), metric.higher_is_better, material, n_failed)
        for metric in metrics
        if metric.floor is not None and (material.preset.paired or "labels" not in metric.needs)
    ]


def text_floors(material: Material, metric: str, audio: Array, text: Array, n_failed: int) -> list[MetricResult]:
    """CLAP of (m, d) references with their own (m, K, d) captions and with others'."""
    own = _cosines(material, audio, text)
    shuffled = _with_others(
        lambda sounds, captions: _cosines(material, sounds, captions.reshape(-1, *text.shape[1:])),
        audio, text.reshape(len(text), -1), material.seed,
    )  # fmt: skip
    return [
        _clap(metric, "reference", material, own, n_failed),
        _clap(metric, "shuffled_captions", material, shuffled, n_failed),
    ]


def collapse_check(material: Material, role: Role, embedder: str, n_failed: int) -> MetricResult:
    """Mean cosine between different captions' embeddings: at 0.9 or more a CLAP score says nothing about the prompt."""
    rows = material.text[role]
    texts = (text for clip in material.clips for text in clip.captions[: rows.shape[1]])
    different = dict(zip(texts, rows[np.isfinite(rows[..., 0])], strict=True))
    collapse = text_collapse(np.stack(list(different.values())))
    if collapse.collapsed:
        logger.warning("%s gives almost the same vector to every caption: CLAP says nothing here", embedder)
    return MetricResult(
        metric=f"text_collapse{'' if role == 'text' else f'_on_{role}'}",
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


def band_limit_floor(material: Material, metric: str, audio: Array, text: Array, n_failed: int) -> MetricResult:
    """CLAP of (m, d) references that went through 16 kHz, as 16 kHz generators do."""
    return _clap(metric, "reference_16khz", material, _cosines(material, audio, text), n_failed)


def _cosines(material: Material, audio: Array, text: Array) -> Array:
    """(m,) scores of (m, d) audio with the captions of each, as the preset takes several."""
    return clap_values(window_means, audio[:, None], text, material.preset.several_captions)[:, 0]


def needs_band_limit(sample_rate: int) -> bool:
    """Whether an embedder hears above 8 kHz at all."""
    return sample_rate > BAND_LIMIT_HZ


def _halves(material: Material, rows: Array, clips: Array, distance: Callable[[Array, Array], float]) -> Floor:
    count = int(clips.max()) + 1
    starts = np.unique(clips, return_index=True)[1]
    chosen = np.isin(clips, _drawn(rows[starts], material.seed)[: count // 2])
    # Half of the clips may be a single row, or none: the distance is then undefined, not an error.
    return Floor("halves", distance(rows[chosen], rows[~chosen]) if count > 1 else np.nan, count)


def _clap(metric: str, name: str, material: Material, values: Array, n_failed: int) -> MetricResult:
    return _result(metric, Floor(name, float(np.mean(values)), len(values)), True, material, n_failed)


def _result(
    metric: str, floor: Floor, higher_is_better: bool | None, material: Material, n_failed: int
) -> MetricResult:
    return MetricResult(
        metric=f"{FLOOR}{metric}_{floor.name}",
        preset=material.preset.name,
        value=float(floor.value),
        low=np.nan,
        high=np.nan,
        n_scored=floor.n,
        n_failed=n_failed,
        higher_is_better=higher_is_better,
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
    return lexicographic(rows)[np.random.default_rng(seed).permutation(len(rows))]


def lexicographic(rows: Array) -> Array:
    """``np.lexsort`` of (m, d) rows by their columns, the first one first; few columns tell most rows apart."""
    columns = 4
    while columns < rows.shape[1]:
        order = np.lexsort(rows[:, :columns].T[::-1])
        kept = rows[order, :columns]
        # Not "!=": nan is unlike itself, and would pass for a difference.
        if ((kept[1:] < kept[:-1]) | (kept[1:] > kept[:-1])).any(axis=1).all():
            return np.asarray(order)
        columns *= 8
    return np.asarray(np.lexsort(rows.T[::-1]))
