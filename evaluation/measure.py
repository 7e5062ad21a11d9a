"""From embeddings to :class:`~evaluation.scoring.Measured` rows: what each metric of a preset is computed on.

Shapes: n clips, m prompts with a reference, W windows, F frames, r rows, d embedding size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.bootstrap import Array
from evaluation.clap_score import SeveralCaptions, over_captions, window_clap_scores
from evaluation.embedders.protocol import Output
from evaluation.fad import Moments, frechet_distance, gaussian_moments
from evaluation.fad_infinity import fad_infinity_interval
from evaluation.hit_rate import exact_set_per_window, hit_rate_per_window
from evaluation.inception_score import mean_of_splits, split_numbers
from evaluation.kad import kernel_audio_distance, median_bandwidth
from evaluation.kl import bernoulli_kl_per_clip, kl_per_clip, windowed_kl_per_clip
from evaluation.longform import consistency, repetition
from evaluation.material import Material, boxed, with_column
from evaluation.presets import NEEDS_REFERENCE, Role, role_of
from evaluation.results import MetricResult
from evaluation.scoring import Measured, PositionStatistic, unit_of
from evaluation.windows import pooled_rows

NEEDS_WINDOWS = ("fad_pooled", "clap_worst_window", "consistency", "repetition")
HIGHER_IS_BETTER: dict[str, bool | None] = {
    "fad": False, "fad_pooled": False, "fad_infinity": False, "fd": False, "kad": False, "kl": False,
    "kl_bernoulli": False, "hit_rate": True, "exact_set_rate": True,
    "is": True, "clap": True, "clap_worst_window": True, "clap_mean_embedding": True,
    "consistency": None, "repetition": None, "level": None, "silence": None,
}  # fmt: skip


def measure(metric: str, material: Material) -> Measured:
    """Rows and statistic of one metric.

    Where clips differ in their number of windows, there is no curve: a mean over clips takes each clip's mean over its
    own windows, and a distance between sets the first windows, as many as every clip has, so that N is the same at
    each.

    Raises:
        ValueError: the embedder of the metric's role lacks the output it needs.
    """
    counts = material.window_counts(role_of(metric))
    if len(set(counts)) == 1 or metric == "fad_pooled":
        return _measure(metric, material)
    if metric in ("fad", "fd", "kad", "is"):
        cut = _measure(metric, material.first(min(counts)))
        return replace(cut, uneven=True, details={**cut.details, "windows": min(counts)})
    values = np.empty((len(counts), 1))
    for count in set(counts):
        index = [i for i, own in enumerate(counts) if own == count]
        values[index, 0] = _measure(metric, material.take(index)).rows.mean(axis=1)
    return replace(_mean(metric, material, values), uneven=True)


def _measure(metric: str, material: Material) -> Measured:
    role = role_of(metric)
    if metric in ("fad", "fad_pooled"):
        return _frechet(metric, material, role or "frames", material.frames_output(role or "frames"))
    if metric == "fd":
        return _frechet(metric, material, "classifier", "embedding")
    if metric == "kad":
        return _kad(material)
    if metric == "is":
        return _inception(material)
    if metric == "kl":
        return _mean(metric, material, _kl_values(material))
    if metric == "kl_bernoulli":
        pair = _paired_logits(material, metric)
        return _mean(metric, material, bernoulli_kl_per_clip(*pair, direction=material.preset.kl_direction))
    if metric in ("hit_rate", "exact_set_rate"):
        return _mean(metric, material, _heard(metric, material))
    if metric in ("level", "silence"):
        values = material.rows(None, "embedding")[..., 0 if metric == "level" else 1]
        return _mean(metric, material, values)
    if metric == "consistency":
        rows = material.rows("text", "embedding")[:, None]
        return _of_set(metric, material, rows, lambda part, _: consistency(part))
    if metric == "repetition":
        return _mean(metric, material, repetition(material.rows("text", "embedding")).mean[:, None])
    return _mean(metric, material, _clap_values(metric, material))


def measure_fad_infinity(material: Material, n_failed: int) -> MetricResult:
    """FAD-infinity on the frames of one window per clip, drawn by prompt; its own interval, no paired form."""
    output = material.frames_output("frames")
    reference, reference_clips = material.reference["frames"].first_windows(output)
    rows = _pooled(material, "frames", output)
    # Numbered by reference, so that the jackknife leaves a prompt's reference out together with its clips.
    prompts = np.repeat(material.prompt_numbers("frames"), [len(row[0]) for row in rows])
    found = fad_infinity_interval(
        reference,
        np.concatenate(rows[:, 0].tolist()),
        seed=material.seed,
        reference_clips=reference_clips,
        generated_clips=prompts,
    )
    interval = found.interval
    return MetricResult(
        metric="fad_infinity",
        preset=material.preset.name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n_scored=len(material.clips),
        n_failed=n_failed,
        n_references=len(material.reference["frames"].clip_ids),
        unit=unit_of([clip.prompt for clip in material.clips]),
        higher_is_better=False,
        details={"variant": found.variant, "slope": found.slope, "r_squared": found.r_squared},
    )


def _frechet(metric: str, material: Material, role: Role, output: Output) -> Measured:
    _require(material, role, output, metric)

    def distance_to(prompts: Collection[str] | None) -> PositionStatistic:
        references: dict[int, Array | Moments] = {}

        def distance(part: Array, position: int) -> float:
            if position not in references:
                rows = material.reference_rows(role, output, position, prompts)
                references[position] = gaussian_moments(rows) if len(rows) > rows.shape[1] else rows
            return frechet_distance(references[position], _flat(part))

        return distance

    rows = _pooled(material, role, output) if metric == "fad_pooled" else material.rows(role, output)
    details = {"reference_rows": len(material.reference_rows(role, output, 0)), "output": output}
    return _of_set(metric, material, rows, distance_to(None), details, distance_to)


def _kad(material: Material) -> Measured:
    _require(material, "classifier", "embedding", "kad")

    def distance_to(prompts: Collection[str] | None) -> PositionStatistic:
        width = median_bandwidth(material.reference_rows("classifier", "embedding", 0, prompts))

        def distance(part: Array, position: int) -> float:
            reference = material.reference_rows("classifier", "embedding", position, prompts)
            return kernel_audio_distance(reference, part[:, 1:], bandwidth=width, generated_clips=part[:, 0])

        return distance

    bandwidth = median_bandwidth(material.reference_rows("classifier", "embedding", 0))
    # Seeds of one prompt are alike: they count as one clip, or their pairs would raise the distance.
    rows = with_column(material.prompt_numbers("classifier"), material.rows("classifier", "embedding"))
    return _of_set("kad", material, rows, distance_to(None), {"bandwidth": bandwidth}, distance_to)


def _inception(material: Material) -> Measured:
    _require(material, "classifier", "logits", "is")
    splits = material.preset.is_splits
    rows = with_column(split_numbers(len(material.clips), splits), material.rows("classifier", "logits"))
    return _of_set("is", material, rows, lambda part, _: mean_of_splits(part), {"splits": splits})


def _kl_values(material: Material) -> Array:
    """(n, W) divergences, or (n, 1) of the mean logits."""
    preset = material.preset
    if preset.kl_pooling == "mean_logits":
        _require(material, "classifier", "logits", "kl")
        logits = material.rows("classifier", "logits")
        means = np.stack([rows.mean(axis=0) for rows in _reference_logits(material)])
        return windowed_kl_per_clip(
            means, logits, pooling="mean_logits", direction=preset.kl_direction, eps=preset.kl_eps
        )[:, None]
    return kl_per_clip(*_paired_logits(material, "kl"), direction=preset.kl_direction, eps=preset.kl_eps)


def _paired_logits(material: Material, metric: str) -> tuple[Array, Array]:
    """(n, W, C) logits of each clip's reference, window against window, and of the clip."""
    _require(material, "classifier", "logits", metric)
    logits = material.rows("classifier", "logits")
    aligned = material.preset.reference_windows == "aligned"
    first = np.stack([rows if aligned else rows[:1] for rows in _reference_logits(material)])
    return np.broadcast_to(first, logits.shape), logits


def _reference_logits(material: Material) -> list[Array]:
    """(W, C) logits of each clip's reference."""
    found = material.reference["classifier"]
    by_prompt = dict(zip(found.clip_ids, found.features, strict=True))
    return [by_prompt[clip.prompt]["logits"] for clip in material.clips]


def _heard(metric: str, material: Material) -> Array:
    """(n, W) hit rates, or whether exactly the labelled classes are heard."""
    _require(material, "classifier", "logits", metric)
    if material.labels is None:
        raise ValueError(f"{metric} needs labels")
    per_window = hit_rate_per_window if metric == "hit_rate" else exact_set_per_window
    return per_window(material.rows("classifier", "logits"), material.labels)


def _clap_values(metric: str, material: Material) -> Array:
    """(n, W) cosines with the caption; (n, 1) for the worst window and for the mean embedding."""
    if material.text is None:
        raise ValueError(f"{metric} needs captions")
    return clap_values(metric, material.rows("text", "embedding"), material.text, material.preset.several_captions)


def clap_values(metric: str, audio: Array, text: Array, several: SeveralCaptions | None) -> Array:
    """(n, W) or (n, 1) scores of (n, W, d) windows with the (n, K, d) captions of their clips, nan rows left out."""
    scores = np.full((len(text), text.shape[1], audio.shape[1] if metric == "clap" else 1), np.nan)
    for number in range(text.shape[1]):
        has = np.isfinite(text[:, number]).all(axis=1)
        scores[has, number] = _clap_of_one_caption(metric, audio[has], text[has, number])
    return over_captions(scores, several or "first")


def _clap_of_one_caption(metric: str, audio: Array, text: Array) -> Array:
    if metric == "clap":
        return np.stack([window_clap_scores(audio[:, k : k + 1], text).mean for k in range(audio.shape[1])], axis=1)
    scores = window_clap_scores(audio, text)
    return (scores.worst if metric == "clap_worst_window" else scores.mean_embedding)[:, None]


def _pooled(material: Material, role: Role, output: Output) -> Array:
    """(n, 1) array of (B, d) arrays: each clip's rows over all windows, subsampled to those of one window."""
    clips = [
        np.concatenate([window if window.ndim == 2 else window[None] for window in features[output]])
        for features in material.generated[role].features
    ]
    names = np.repeat([clip.id for clip in material.clips], [len(rows) for rows in clips])
    budget = min(len(rows) // material.generated[role].features[0][output].shape[0] for rows in clips)
    chosen = pooled_rows(names, budget, seed=material.seed)
    ends = np.cumsum([len(rows) for rows in clips])
    starts = np.concatenate([[0], ends[:-1]])
    return boxed(
        [
            [rows[chosen[(chosen >= start) & (chosen < end)] - start]]
            for rows, start, end in zip(clips, starts, ends, strict=True)
        ]
    )


def _of_set(
    metric: str,
    material: Material,
    rows: Array,
    statistic: PositionStatistic | None,
    details: Mapping[str, Any] | None = None,
    statistic_to: Callable[[Collection[str]], PositionStatistic] | None = None,
) -> Measured:
    return Measured(
        metric=metric,
        clip_ids=tuple(clip.id for clip in material.clips),
        units=tuple(clip.prompt for clip in material.clips),
        rows=rows,
        statistic=statistic,
        higher_is_better=HIGHER_IS_BETTER[metric],
        positions=material.preset.generated.cut != "random",
        details=details or {},
        n_references=len(material.reference[role_of(metric)].clip_ids) if metric in NEEDS_REFERENCE else None,
        statistic_to=statistic_to if material.preset.paired else None,
        paired=material.preset.paired,
    )


def _mean(metric: str, material: Material, values: Array) -> Measured:
    return _of_set(metric, material, np.asarray(values, np.float64), None)


def _require(material: Material, role: Role, output: Output, metric: str) -> None:
    if output not in material.outputs[role]:
        raise ValueError(f"{metric} needs {output} from the {role} embedder, which gives {material.outputs[role]}")


def _flat(part: Array) -> Array:
    return np.concatenate(part.tolist()) if part.dtype == object else part.reshape(-1, part.shape[-1])
