"""How this package's own metrics are computed from features; ``registry`` says which function is whose.

Shapes: n clips, m prompts with a reference, W windows, F frames, r rows, d embedding size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evaluation.audio.windows import pooled_rows
from evaluation.embedders.protocol import Output
from evaluation.files.names import counted
from evaluation.material import Material, boxed, with_column
from evaluation.metric import SetValues
from evaluation.metrics.clap_score import SeveralCaptions, over_captions, window_clap_scores
from evaluation.metrics.event_order import has_order, order_per_clip
from evaluation.metrics.fad_infinity import check_enough, fad_infinity_interval
from evaluation.metrics.inception_score import mean_of_splits, split_numbers
from evaluation.metrics.kl import bernoulli_kl_per_clip, kl_per_clip, windowed_kl_per_clip
from evaluation.metrics.longform import consistency, repetition
from evaluation.presets import Role
from evaluation.results.result import MetricResult
from evaluation.scoring.distances import fixed_reference, frechet, kernel_distance, require
from evaluation.scoring.intervals import unit_of
from evaluation.statistics.bootstrap import Array, rows_by_clip


def fad(material: Material) -> SetValues:
    """Fréchet distance of the frames of each window."""
    output = material.frames_output("frames")
    return frechet("fad", material, "frames", output, material.rows("frames", output))


def fad_pooled(material: Material) -> SetValues:
    """Fréchet distance of frames of all windows, as many as one window has."""
    output = material.frames_output("frames")
    return frechet("fad_pooled", material, "frames", output, _pooled(material, "frames", output))


def fd(material: Material) -> SetValues:
    """Fréchet distance of the classifier's embeddings."""
    require(material, "classifier", "embedding", "fd")
    return frechet("fd", material, "classifier", "embedding", material.rows("classifier", "embedding"))


def fad_infinity(material: Material, n_failed: int) -> MetricResult:
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


def without_frames(material: Material) -> str | None:
    """Why there are too few clips or frames to extrapolate from, or None."""
    output = material.frames_output("frames")
    real, of_reference = material.reference["frames"].first_windows(output)
    rows, of_clip = material.generated["frames"].first_windows(output)
    of_prompt = material.prompt_numbers("frames")[of_clip]
    try:
        check_enough([rows_by_clip(of_reference, len(real)), rows_by_clip(of_prompt, len(rows))], rows.shape[1])
    except ValueError as error:
        return str(error)
    return None


def kad(material: Material) -> SetValues:
    """Kernel audio distance of the classifier's embeddings."""
    require(material, "classifier", "embedding", "kad")
    return kernel_distance(material, "classifier")


def without_bandwidth(role: Role) -> Callable[[Material], str | None]:
    """Why the references give no kernel width, or None."""

    def lacking(material: Material) -> str | None:
        if role == "classifier" and "embedding" not in material.outputs[role]:
            return None  # An error that names the embedder follows.
        try:
            fixed_reference(material, role, None, 0)
        except ValueError:
            return "most references are the same"
        return None

    return lacking


def inception(material: Material) -> SetValues:
    """Inception score over the preset's splits."""
    require(material, "classifier", "logits", "is")
    splits = material.preset.is_splits
    rows = with_column(split_numbers(len(material.clips), splits), material.rows("classifier", "logits"))
    return SetValues(rows, lambda part, _: mean_of_splits(part), {"splits": splits})


def without_splits(material: Material) -> str | None:
    """Why there are too few clips for the inception score's splits, or None."""
    count, splits = len(material.clips), material.preset.is_splits
    return f"{counted(count, 'clip')} for {counted(splits, 'split')}" if count <= splits else None


def kl(material: Material) -> Array:
    """(n, W) divergences, or (n, 1) of the mean logits."""
    preset = material.preset
    if preset.kl_pooling == "mean_logits":
        require(material, "classifier", "logits", "kl")
        logits = material.rows("classifier", "logits")
        means = np.stack([rows.mean(axis=0) for rows in _reference_logits(material)])
        return windowed_kl_per_clip(
            means, logits, pooling="mean_logits", direction=preset.kl_direction, eps=preset.kl_eps
        )[:, None]
    return kl_per_clip(*_paired_logits(material, "kl"), direction=preset.kl_direction, eps=preset.kl_eps)


def kl_bernoulli(material: Material) -> Array:
    """(n, W) divergences of independent classes."""
    pair = _paired_logits(material, "kl_bernoulli")
    return bernoulli_kl_per_clip(*pair, direction=material.preset.kl_direction)


def heard(metric: str, per_window: Callable[..., Array]) -> Callable[[Material], Array]:
    """(n, W) hit rates, or whether exactly the labelled classes are heard."""

    def values(material: Material) -> Array:
        require(material, "classifier", "logits", metric)
        if material.labels is None:
            raise ValueError(f"{metric} needs labels")
        return per_window(material.rows("classifier", "logits"), material.labels)

    return values


def event_order(material: Material) -> SetValues:
    """Share of neighbouring sounds in the right order, over the clips that should have one."""
    require(material, "classifier", "logits", "event_order")
    values = order_per_clip(material.rows("classifier", "logits"), material.labels or ())
    ordered = int(np.isfinite(values).sum())
    details = {"clips_with_order": ordered}
    return SetValues(values[:, None], lambda part, _: _mean_of_numbers(part), details)


def _mean_of_numbers(values: Array) -> float:
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if len(numbers) else np.nan


def without_order(material: Material) -> str | None:
    """Why no clip can show an order, or None."""
    ordered = sum(map(has_order, material.labels or ()))
    return None if ordered else "no clip whose labels follow one another"


def clap(material: Material) -> Array:
    """(n, W) cosines of windows and captions."""
    return _clap("text", material, window_means)


def clap_on(role: Role) -> Callable[[Material], Array]:
    """(n, W) cosines of windows and captions by another network."""
    return lambda material: _clap(role, material, window_means)


def clap_worst_window(material: Material) -> Array:
    """(n, 1) cosine of each clip's worst window and its captions."""
    return _clap("text", material, lambda a, t: window_clap_scores(a, t).worst[:, None])


def clap_mean_embedding(material: Material) -> Array:
    """(n, 1) cosine of the mean of a clip's windows and its captions."""
    return _clap("text", material, lambda a, t: window_clap_scores(a, t).mean_embedding[:, None])


def consistency_of_windows(material: Material) -> SetValues:
    """How alike the windows of a clip are, against those of different clips."""
    return SetValues(material.rows("text", "embedding")[:, None], lambda part, _: consistency(part))


def repetition_of_windows(material: Material) -> Array:
    """(n, 1) mean cosine of windows of one clip."""
    return repetition(material.rows("text", "embedding")).mean[:, None]


def read_off(role: Role | None, column: int) -> Callable[[Material], Array]:
    """(n, W) numbers that are read off the waveform: one column of what a role without a network gives."""
    return lambda material: material.rows(role, "embedding")[..., column]


def _paired_logits(material: Material, metric: str) -> tuple[Array, Array]:
    """(n, W, C) logits of each clip's reference, window against window, and of the clip."""
    require(material, "classifier", "logits", metric)
    logits = material.rows("classifier", "logits")
    aligned = material.preset.reference_windows == "aligned"
    first = np.stack([rows if aligned else rows[:1] for rows in _reference_logits(material)])
    return np.broadcast_to(first, logits.shape), logits


def _reference_logits(material: Material) -> list[Array]:
    """(W, C) logits of each clip's reference."""
    found = material.reference["classifier"]
    by_prompt = dict(zip(found.clip_ids, found.features, strict=True))
    return [by_prompt[clip.prompt]["logits"] for clip in material.clips]


def _clap(role: Role, material: Material, of_one_caption: Callable[[Array, Array], Array]) -> Array:
    audio, text = material.rows(role, "embedding"), material.text[role]
    return clap_values(of_one_caption, audio, text, material.preset.several_captions)


def clap_values(
    of_one_caption: Callable[[Array, Array], Array], audio: Array, text: Array, several: SeveralCaptions | None
) -> Array:
    """(n, W) or (n, 1) scores of (n, W, d) windows with the (n, K, d) captions of their clips, nan rows left out."""
    found = []
    for number in range(text.shape[1]):
        has = np.isfinite(text[:, number]).all(axis=1)
        some = of_one_caption(audio[has], text[has, number])
        scores = np.full((len(text), some.shape[1]), np.nan)
        scores[has] = some
        found.append(scores)
    return over_captions(np.stack(found, axis=1), several or "first")


def window_means(audio: Array, text: Array) -> Array:
    """(n, W) cosines of (n, W, d) windows with (n, d) captions."""
    return np.stack([window_clap_scores(audio[:, k : k + 1], text).mean for k in range(audio.shape[1])], axis=1)


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
