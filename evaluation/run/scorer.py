"""Score sets of clips with one protocol: what ``evaluate`` does for a pair of folders, for any number of them.

scorer = make_scorer("strict", weights={"vggish": "vggish-10086976.pth", ...})
dense = score_folder(scorer, "dense", dense_clips, references)
sparse = score_folder(scorer, "litefocus", sparse_clips, references)
differences = compare(dense, sparse)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.audio.io import AudioError
from evaluation.embedders.levels import LevelEmbedder
from evaluation.embedders.protocol import Embedder, as_text_embedder
from evaluation.embedding.cache import EmbeddingCache, KeptEmbeddings
from evaluation.embedding.embed import EmbeddedSet, embed_several_captions
from evaluation.files.pairing import Clip
from evaluation.material import Material, check_aligned
from evaluation.metric import Metric
from evaluation.metrics.clap_score import SeveralCaptions
from evaluation.metrics.hit_rate import ClipLabels, LabelSource
from evaluation.presets import Preset, Role, find_preset
from evaluation.results.result import MetricResult, many_failed, stamped
from evaluation.run.build import build_embedders, check_sources
from evaluation.run.candidates import best_candidates
from evaluation.run.embed_side import embed_side
from evaluation.run.failures import failed_clips, reasons_in, refuse_duplicates, scored_references
from evaluation.run.options import check_options
from evaluation.run.provenance import describe
from evaluation.scoring.floors import collapse_check
from evaluation.scoring.intervals import FolderScore, summarise
from evaluation.scoring.possible import lacking_inputs, lacking_material
from evaluation.scoring.registry import find_metric, load_extra, measured, needing, register, role_of
from evaluation.statistics.bootstrap import Array

logger = logging.getLogger(__name__)

DEFAULT_CACHE = Path("~/.cache/litefocus/embeddings")


@dataclass(frozen=True)
class Scorer:
    """A protocol with its networks, ready to score any number of folders alike.

    Attributes:
        preset: the protocol.
        metrics: what is computed.
        embedders: one per role that the metrics need.
        cache: embeddings on disk.
        explicit: whether the metrics were asked for by name; then one that cannot be computed is an error.
        labels: what should be heard in each prompt's clips; None where no metric needs it.
        seed: of intervals, crops' subsampling and floors.
    """

    preset: Preset
    metrics: tuple[str, ...]
    embedders: Mapping[Role, Embedder]
    cache: EmbeddingCache
    explicit: bool
    labels: LabelSource | None = None
    seed: int = 0

    def all_embedders(self) -> dict[Role | None, Embedder]:
        """Embedders by role, those that a metric needs only; that of level and silence stands under None."""
        needed = {role_of(metric) for metric in self.metrics}
        chosen: dict[Role | None, Embedder] = {role: e for role, e in self.embedders.items() if role in needed}
        if None in needed:
            chosen[None] = LevelEmbedder()
        return chosen


def make_scorer(
    preset: str | Preset = "strict",
    *,
    metrics: Sequence[str | Metric] | None = None,
    extra: Sequence[str] = (),
    embedders: Mapping[Role, Embedder] | None = None,
    weights: Mapping[str, str | None] | None = None,
    cache_dir: Path | str | None = DEFAULT_CACHE,
    window_s: float | None = None,
    duration_s: float | None = None,
    aligned_references: bool = False,
    paired: bool = True,
    several_captions: SeveralCaptions | None = None,
    labels: LabelSource | None = None,
    seed: int = 0,
    kept: KeptEmbeddings | None = None,
    **options: Any,
) -> Scorer:
    """A :class:`Scorer` from names.

    Args:
        preset: name of a protocol, or one of your own.
        metrics: names out of ``evaluation.scoring.registry.METRICS``, or metrics; None takes the preset's and the
            extra ones.
        extra: modules that hold metrics of your own, see :func:`evaluation.scoring.registry.load_extra`.
        embedders: role ("frames", "classifier", "text") to embedder, instead of the preset's.
        weights: option name to local path, to "sha256:HEX", or to None for the published file; see
            ``evaluation.run.build``.
        cache_dir: folder of cached embeddings; None for no cache.
        window_s: window length in seconds, the generator's training length; None keeps the preset's 10 s.
        duration_s: trim generated clips to exactly this; None leaves them.
        aligned_references: references are as long as the generated clips; compare window by window.
        several_captions: a clip may have several captions: the "max", the "mean" or the "first" is its CLAP.
        paired: each clip has its reference; False takes the references as one set, for distances between sets.
        labels: prompt id to the classes that its clips should hold, for the hit rate; see
            ``evaluation.metrics.hit_rate``.
        seed: of everything that is drawn.
        kept: embeddings that stand in for audio that is gone, and collect what was used.
        options: device, batch_size, half: see ``evaluation.embedders.network.NetworkEmbedder``.

    Raises:
        ValueError: an unknown name, or a role without embedder.
    """
    given_options = {
        "metrics": metrics, "extra": extra, "window_s": window_s, "duration_s": duration_s, "seed": seed,
        "weights": weights, "embedders": embedders,
    }  # fmt: skip
    check_options({**given_options, **{name: value for name, value in options.items() if name != "device"}})
    protocol = preset if isinstance(preset, Preset) else find_preset(preset)
    protocol = protocol if window_s is None else protocol.with_window(window_s)
    protocol = protocol if duration_s is None else protocol.with_duration(duration_s)
    protocol = protocol if paired else protocol.without_pairs()
    protocol = protocol.with_aligned_references() if aligned_references else protocol
    protocol = protocol if several_captions is None else protocol.with_several_captions(several_captions)
    own = load_extra(extra)
    asked = (*protocol.metrics, *own) if metrics is None else metrics
    chosen = tuple(dict.fromkeys(register(metric) if isinstance(metric, Metric) else metric for metric in asked))
    given = {option: value for option, value in (weights or {}).items() if value is not None}
    built = build_embedders(protocol, chosen, given, embedders or {}, **options)
    folder = None if cache_dir is None else Path(cache_dir).expanduser()
    return Scorer(protocol, chosen, built, EmbeddingCache(folder, kept), metrics is not None, labels, seed)


def score_folder(
    scorer: Scorer,
    name: str,
    clips: Sequence[Clip],
    references: Mapping[str, Path] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> FolderScore:
    """Score one set of clips.

    A clip that fails for one embedder, or whose reference fails or is not there, counts as failed for every metric, so
    that all metrics of a folder have the same N; and its reference leaves with it, unless another clip has it too.

    Args:
        scorer: protocol and networks.
        name: of the folder or method.
        clips: generated files with prompt and caption.
        references: prompt to reference file; needed by FAD, FD, KAD and KL.
        left_out: id to reason of what was asked for and is not among the clips; counted as failed.

    Raises:
        AudioError: not one clip could be scored; the message holds the first reason.
        WeightsError: names every weight file that is missing, before any network runs.
        ValueError: a metric asked for by name needs a reference, captions or several windows that are not there; two
            clips of one id; or aligned references that are not as long as their clips.
    """
    return score_with_material(scorer, name, clips, references or {}, left_out or {})[0]


def embed_folder(
    scorer: Scorer, name: str, clips: Sequence[Clip], references: Mapping[str, Path] | None = None
) -> None:
    """Put into the cache what :func:`score_folder` will look up there; a clip that fails is left to it to report.

    The clips may be any part of a folder: several processes can share the work of one. Embeddings computed in other
    batches may differ in their last bits; embedders with ``batch_size=1`` give the same bits in any part.
    """
    files = references or {}
    scorer = computable(scorer, bool(files), clips)
    embedders = scorer.all_embedders()
    check_sources(embedders.values())
    _embed_generated(scorer, name, clips)
    with_reference = {role: embedders[role] for role in _reference_roles(scorer.metrics)}
    embed_side(scorer.preset, scorer.cache, with_reference, "reference", files, "references")
    if clips:
        _embed_text(scorer, clips)


def score_with_material(
    scorer: Scorer, name: str, clips: Sequence[Clip], references: Mapping[str, Path], left_out: Mapping[str, str]
) -> tuple[FolderScore, Material, dict[str, str]]:
    """:func:`score_folder`, with what it was computed from and the metrics that were not, each with the reason."""
    refuse_duplicates(name, clips)
    metrics, not_computed = _possible(scorer, bool(references), clips)
    scorer = replace(scorer, metrics=metrics)
    embedders = scorer.all_embedders()
    check_sources(embedders.values())
    best = best_candidates(clips, scorer.preset, scorer.embedders, scorer.cache, name)
    clips, left_out = best.clips, {**left_out, **best.left_out}
    generated = _embed_generated(scorer, name, clips)
    with_reference = {role: embedders[role] for role in _reference_roles(metrics)}
    reference = embed_side(scorer.preset, scorer.cache, with_reference, "reference", references, "references")
    paired = scorer.preset.paired
    failures = {**left_out, **failed_clips(clips, generated, reference, references, paired)}
    scored = tuple(clip for clip in clips if clip.id not in failures)
    if not scored:
        first, reason = next(iter(failures.items()))
        raise AudioError(f"{name}: none of {len(clips)} clips could be scored; the first: {first}, {reason}")
    lost_references = {} if paired else reasons_in(reference)
    for reasons, asked, what in (
        (failures, len(failures) + len(scored), "clips"),
        (lost_references, len(references), "references"),
    ):
        if (warning := many_failed(len(reasons), asked, what)) is not None:
            logger.warning("%s: %s", name, warning)
    material = Material(
        preset=scorer.preset,
        clips=scored,
        generated={role: found.select([clip.id for clip in scored]) for role, found in generated.items()},
        reference=scored_references(reference, scored, paired),
        text=_embed_text(scorer, scored),
        labels=_labels(scorer, scored),
        outputs={role: embedder.outputs for role, embedder in embedders.items()},
        seed=scorer.seed,
    )
    check_aligned(material)
    metrics, lacking = _without(replace(scorer, explicit=False), lacking_material(scorer.metrics, material))
    results: list[MetricResult] = []
    of_clips = {}
    for metric in metrics:
        if (finished := find_metric(metric).finished) is not None:
            results.append(finished(material, len(failures)))
            continue
        of_clips[metric] = measured(metric, material)
        results += summarise(of_clips[metric], scorer.preset.name, len(failures), scorer.seed)
    lost = {text for clip in clips for text in clip.captions} - {text for c in scored for text in c.captions}
    for role in material.text:
        results.append(collapse_check(material, role, scorer.embedders[role].name, len(lost) + len(left_out)))
    provenance = describe(scorer.preset, scorer.seed, embedders, clips, references, material, best.chosen)
    results = stamped(results, scorer.preset.version)
    score = FolderScore(name, scorer.preset.name, of_clips, tuple(results), failures, provenance, lost_references)
    return score, material, {**not_computed, **lacking}


def _embed_generated(scorer: Scorer, name: str, clips: Sequence[Clip]) -> dict[Role | None, EmbeddedSet]:
    # A random crop follows the clip, but where references are cropped too, the prompt: both must be cut alike.
    aligned = scorer.preset.reference_windows == "aligned"
    crops = {clip.id: clip.prompt for clip in clips} if aligned else {}
    files = {clip.id: clip.generated for clip in clips}
    return embed_side(scorer.preset, scorer.cache, scorer.all_embedders(), "generated", files, name, crops)


def computable(scorer: Scorer, has_reference: bool, clips: Sequence[Clip]) -> Scorer:
    """The scorer with those of its metrics that captions, labels and references allow; reads no file.

    Raises:
        ValueError: a metric that was asked for by name is not among them, or none is left.
    """
    return replace(scorer, metrics=_possible(scorer, has_reference, clips)[0])


def _possible(scorer: Scorer, has_reference: bool, clips: Sequence[Clip]) -> tuple[tuple[str, ...], dict[str, str]]:
    return _without(scorer, lacking_inputs(scorer.metrics, clips, has_reference, scorer.labels, scorer.preset.paired))


def _labels(scorer: Scorer, clips: Sequence[Clip]) -> tuple[ClipLabels, ...] | None:
    """Labels of every clip; None unless all of them have some."""
    found = [None if scorer.labels is None else scorer.labels(clip.prompt) for clip in clips]
    known = tuple(labels for labels in found if labels is not None)
    return known if len(known) == len(clips) else None


def _without(scorer: Scorer, reasons: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics without a reason against them. ValueError if they were asked for by name, or none is left.

    What shows after embedding only leaves a metric out, by name or not: the others would be lost with it.
    """
    left = tuple(metric for metric in scorer.metrics if metric not in reasons)
    if reasons and (scorer.explicit or not left):
        why = "; ".join(f"{metric}: {reason}" for metric, reason in reasons.items())
        raise ValueError(f"asked for metrics that cannot be computed ({why}); give what is missing, or leave them out")
    return left, reasons


def _reference_roles(metrics: Sequence[str]) -> list[Role]:
    needed = [role for metric in needing("reference", metrics) if (role := role_of(metric)) is not None]
    return list(dict.fromkeys(needed))


def _embed_text(scorer: Scorer, clips: Sequence[Clip]) -> dict[Role, Array]:
    roles = dict.fromkeys(role_of(metric) or "text" for metric in needing("captions", scorer.metrics))
    return {role: embed_clip_captions(scorer, role, [clip.captions for clip in clips]) for role in roles}


def embed_clip_captions(scorer: Scorer, role: Role, captions: Sequence[tuple[str, ...]]) -> Array:
    """(n, K, d) embeddings of the captions of n clips that count, nan where a clip has fewer than K."""
    only_first = scorer.preset.several_captions in (None, "first")
    counting = [texts[:1] if only_first else texts for texts in captions]
    return embed_several_captions(counting, as_text_embedder(scorer.embedders[role]), scorer.cache)
