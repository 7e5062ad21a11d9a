"""Two folders in, numbers out: :func:`evaluate`, which pairs by file name, scores, and adds floors and provenance.

For many folders that are compared with each other use ``make_scorer``, ``score_folder`` and ``compare``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.embedders.protocol import Embedder
from evaluation.embedding.embed import EmbeddedSet, embed_files
from evaluation.embedding.preprocessing import Preprocessing, band_limited
from evaluation.files.names import title_of
from evaluation.files.pairing import Pairing, common_clips, pair_folders
from evaluation.material import Material
from evaluation.presets import Preset, Role
from evaluation.results.result import Evaluation, MetricResult, stamped
from evaluation.run.options import check_options
from evaluation.run.scorer import Scorer, embed_clip_captions, make_scorer, score_folder, score_with_material
from evaluation.scoring.floors import BAND_LIMIT_HZ, band_limit_floor, needs_band_limit, reference_floors, text_floors
from evaluation.scoring.intervals import FolderScore, compare
from evaluation.scoring.registry import METRICS

logger = logging.getLogger(__name__)


def evaluate(
    reference: Path | str | None,
    generated: Path | str,
    captions: Path | str | Mapping[str, str | Sequence[str]] | None = None,
    *,
    preset: str | Preset = "strict",
    baseline: Path | str | None = None,
    id_pattern: str | None = None,
    strict: bool = True,
    paired: bool = True,
    floors: bool = True,
    **options: Any,
) -> Evaluation:
    """Score a folder of generated audio against a folder of references, paired by file name.

    Args:
        reference: folder of references; None if no metric needs one.
        generated: folder of generated clips.
        captions: a file (see ``evaluation.files.captions``) or id to caption; None if no metric needs them.
        preset: the protocol, see ``evaluation.presets``.
        baseline: another folder of generated clips with the same names; adds paired differences against it. With
            ``strict=False`` both folders are scored on the clips that both have.
        id_pattern: see :func:`evaluation.files.pairing.pair_folders`.
        strict: see :func:`evaluation.files.pairing.pair_folders`.
        paired: False compares the folder with a background set: every reference counts, whatever the files are
            called, and metrics that need a reference for each clip are left out.
        floors: whether to compute floors too (they embed nothing but references).
        options: see :func:`make_scorer`.

    Raises:
        FileNotFoundError, PairingError, AudioError, WeightsError, ValueError: see the functions named above.
    """
    check_options({"strict": strict, "paired": paired, "floors": floors, **options})
    scorer = make_scorer(preset, paired=paired, **options)
    folder = Path(generated)
    source = Path(captions) if isinstance(captions, str) else captions
    reference_dir = None if reference is None else Path(reference)
    other_folder = None if baseline is None else Path(baseline)
    several = scorer.preset.several_captions is not None
    pair = partial(pair_folders, id_pattern=id_pattern, strict=strict, paired=paired, several_captions=several)
    pairing = pair(reference_dir, folder, source)
    other = None if other_folder is None else pair(reference_dir, other_folder, source)
    if other is not None and not strict:
        pairing, other = common_clips(pairing, other)
    for problem in pairing.report.problems():
        logger.warning("%s: %s", folder, problem)
    name = title_of(folder, other_folder)
    asked = pairing.clips, pairing.references, pairing.left_out
    score, material, not_computed = score_with_material(scorer, name, *asked)
    differences: list[MetricResult] = []
    if other_folder is not None and other is not None:
        differences = _differences(scorer, other, title_of(other_folder, folder), score)
    found = _floors(scorer, material, pairing, score) if floors and pairing.references else []
    return Evaluation(
        name=name,
        results=score.results,
        floors=tuple(stamped(found, scorer.preset.version)),
        differences=tuple(differences),
        per_clip=score.per_clip(),
        failures=score.failures,
        failed_references=score.failed_references,
        not_computed=not_computed,
        pairing=asdict(pairing.report),
        folders=_folders(generated=folder, reference=reference_dir, baseline=other_folder, captions=source),
        provenance=score.provenance,
    )


def _differences(scorer: Scorer, baseline: Pairing, name: str, score: FolderScore) -> list[MetricResult]:
    """Paired differences of a scored folder against a baseline's clips."""
    before = score_folder(scorer, name, baseline.clips, baseline.references, baseline.left_out)
    return compare(before, score, seed=scorer.seed)


def _folders(**paths: object) -> dict[str, str | None]:
    """Absolute paths; None for what was not given as one."""
    return {what: os.path.abspath(path) if isinstance(path, Path) else None for what, path in paths.items()}


def _floors(scorer: Scorer, material: Material, pairing: Pairing, score: FolderScore) -> list[MetricResult]:
    """Floors of the metrics that were measured; they count references, which leave with their clips."""
    metrics = [m for name, m in METRICS.items() if name in score.measured and m.role in material.reference]
    if not pairing.paired:
        return reference_floors(metrics, material, len(score.failed_references))
    kept = {clip.prompt for clip in material.clips}
    floors = reference_floors(metrics, material, len(pairing.prompts) - len(kept))
    for role in material.text:
        floors += _text_floors(scorer, material, pairing, role)
    return floors


def _text_floors(scorer: Scorer, material: Material, pairing: Pairing, role: Role) -> list[MetricResult]:
    """Floors of CLAP on one network, from references and captions."""
    embedder, preprocessing = scorer.embedders[role], scorer.preset.preprocessing("reference", role)
    captions = {clip.prompt: clip.captions for clip in material.clips}
    audio = _first_embeddings(scorer, embedder, preprocessing, pairing.references)
    prompts = [prompt for prompt in audio.clip_ids if prompt in captions]
    lost = len(pairing.prompts) - len(prompts)
    if not prompts:
        return []
    metric = "clap" if role == "text" else f"clap_on_{role}"
    text = embed_clip_captions(scorer, role, [captions[prompt] for prompt in prompts])
    floors = text_floors(material, metric, audio.select(prompts).first_windows("embedding")[0], text, lost)
    if needs_band_limit(embedder.sample_rate):
        narrow = band_limited(preprocessing, BAND_LIMIT_HZ)
        limited = _first_embeddings(scorer, embedder, narrow, pairing.references).select(prompts)
        floors.append(band_limit_floor(material, metric, limited.first_windows("embedding")[0], text, lost))
    return floors


def _first_embeddings(
    scorer: Scorer, embedder: Embedder, preprocessing: Preprocessing, references: Mapping[str, Path]
) -> EmbeddedSet:
    first = replace(preprocessing, cut="first", allow_short=True)
    return embed_files(references, embedder, first, scorer.cache, description=f"{embedder.name}, references")
