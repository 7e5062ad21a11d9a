"""Which metrics the inputs allow, and why the others cannot be had: metric to a short reason."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.files.names import counted
from evaluation.files.pairing import Clip
from evaluation.material import Material
from evaluation.metric import Metric
from evaluation.metrics.hit_rate import LabelSource
from evaluation.scoring.registry import find_metric


def lacking_inputs(
    metrics: Sequence[str], clips: Sequence[Clip], has_reference: bool, labels: LabelSource | None, paired: bool
) -> dict[str, str]:
    """What the inputs leave out, before anything is embedded."""
    has_captions = all(clip.caption is not None for clip in clips)
    reasons: dict[str, str] = {}
    for metric in metrics:
        needs = find_metric(metric).needs
        if "reference" in needs and not has_reference:
            reasons[metric] = "no reference given"
        elif "pairs" in needs and not paired:
            reasons[metric] = "it needs a reference for each clip, not paired=false"
        elif "captions" in needs and not has_captions:
            reasons[metric] = "no captions given"
        elif "labels" in needs and (lacking := _without_labels(clips, labels)) is not None:
            reasons[metric] = lacking
    return reasons


def lacking_material(metrics: Sequence[str], material: Material) -> dict[str, str]:
    """What the clips and references that could be embedded leave out."""
    reasons: dict[str, str] = {}
    fewest, most = material.windows
    if most < 2:
        reasons = {metric: "clips of one window" for metric in metrics if "windows" in find_metric(metric).needs}
    elif fewest < most:
        reasons = _without_equal_length(metrics, material)
    for metric in metrics:
        if (few := _too_few(find_metric(metric), material)) is not None:
            reasons.setdefault(metric, few)
            continue
        lacking = find_metric(metric).lacking
        if lacking is not None and (reason := lacking(material)) is not None:
            reasons[metric] = reason
    return reasons


def _too_few(metric: Metric, material: Material) -> str | None:
    """Why there are not enough clips or references, or None."""
    counts = [(len(material.clips), "clip")]
    if "reference" in metric.needs:
        counts.append((len(material.reference[metric.role].clip_ids), "reference"))
    for count, what in counts:
        if count < metric.fewest:
            return f"{counted(count, what)}; it takes at least {metric.fewest}"
    return None


def _without_equal_length(metrics: Sequence[str], material: Material) -> dict[str, str]:
    """The metrics that clips with different numbers of windows, or with one, do not have."""
    reasons = {}
    for metric in metrics:
        needs, counts = find_metric(metric).needs, material.window_counts(find_metric(metric).role)
        fewest, most = min(counts), max(counts)
        path = material.clips[counts.index(fewest)].generated
        if "equal_windows" in needs and fewest < most:
            reasons[metric] = f"clips have {fewest} to {most} windows, {path} has {fewest}; it needs as many of each"
        elif "windows_of_each" in needs and fewest < 2:
            reasons[metric] = f"{path} has one window"
    return reasons


def _without_labels(clips: Sequence[Clip], labels: LabelSource | None) -> str | None:
    """Why a hit rate cannot be had, or None."""
    if labels is None:
        return "no labels given"
    unlabelled = [clip.prompt for clip in clips if labels(clip.prompt) is None]
    return f"no labels for {len(unlabelled)} of {len(clips)} clips, first {unlabelled[0]}" if unlabelled else None
