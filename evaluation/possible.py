"""Which metrics the inputs allow, and why the others cannot be had: metric to a short reason."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.hit_rate import LabelSource
from evaluation.kad import median_bandwidth
from evaluation.material import Material
from evaluation.measure import NEEDS_WINDOWS
from evaluation.pairing import Clip
from evaluation.presets import NEEDS_CAPTIONS, NEEDS_LABELS, NEEDS_PAIRS, NEEDS_REFERENCE, role_of


def lacking_inputs(
    metrics: Sequence[str], clips: Sequence[Clip], has_reference: bool, labels: LabelSource | None, paired: bool
) -> dict[str, str]:
    """What the inputs leave out, before anything is embedded."""
    has_captions = all(clip.caption is not None for clip in clips)
    reasons: dict[str, str] = {}
    for metric in metrics:
        if metric in NEEDS_REFERENCE and not has_reference:
            reasons[metric] = "no reference given"
        elif metric in NEEDS_PAIRS and not paired:
            reasons[metric] = "it needs a reference for each clip, not paired=false"
        elif metric in NEEDS_CAPTIONS and not has_captions:
            reasons[metric] = "no captions given"
        elif metric in NEEDS_LABELS and (lacking := _without_labels(clips, labels)) is not None:
            reasons[metric] = lacking
    return reasons


def lacking_material(metrics: Sequence[str], material: Material) -> dict[str, str]:
    """What the clips and references that could be embedded leave out."""
    reasons: dict[str, str] = {}
    fewest, most = material.windows
    if most < 2:
        reasons = {metric: "clips of one window" for metric in metrics if metric in NEEDS_WINDOWS}
    elif fewest < most:
        reasons = _without_equal_length(metrics, material)
    count, splits = len(material.clips), material.preset.is_splits
    if "is" in metrics and count <= splits:
        reasons["is"] = f"{count} clips for {splits} splits"
    if "kad" in metrics and (lacking := _without_bandwidth(material)) is not None:
        reasons["kad"] = lacking
    return reasons


def _without_equal_length(metrics: Sequence[str], material: Material) -> dict[str, str]:
    """The metrics that clips with different numbers of windows, or with one, do not have."""
    reasons = {}
    for metric in metrics:
        counts = material.window_counts(role_of(metric))
        fewest, most = min(counts), max(counts)
        path = material.clips[counts.index(fewest)].generated
        if metric == "consistency" and fewest < most:
            reasons[metric] = f"clips have {fewest} to {most} windows, {path} has {fewest}; it needs as many of each"
        elif metric in ("repetition", "clap_worst_window") and fewest < 2:
            reasons[metric] = f"{path} has one window"
    return reasons


def _without_labels(clips: Sequence[Clip], labels: LabelSource | None) -> str | None:
    """Why a hit rate cannot be had, or None."""
    if labels is None:
        return "no labels given"
    unlabelled = [clip.prompt for clip in clips if labels(clip.prompt) is None]
    return f"no labels for {len(unlabelled)} of {len(clips)} clips, first {unlabelled[0]}" if unlabelled else None


def _without_bandwidth(material: Material) -> str | None:
    """Why the references give no kernel width, or None."""
    if "embedding" not in material.outputs["classifier"]:
        return None  # An error that names the embedder follows.
    rows = material.reference_rows("classifier", "embedding", 0)
    if len(rows) < 2:
        return "one reference"
    try:
        median_bandwidth(rows)
    except ValueError:
        return "most references are the same"
    return None
