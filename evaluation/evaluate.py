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
from typing import Any, NamedTuple

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
    source = Path(captions) if isinstance(captions, str) else captions
    given = _Given(Path(generated), _path(reference), _path(baseline), source)
    pairing, other = _pair(scorer, given, id_pattern, strict)
    name = title_of(given.generated, given.baseline)
    asked = pairing.clips, pairing.references, pairing.left_out
    score, material, not_computed = score_with_material(scorer, name, *asked)
    found = _floors(scorer, material, pairing, score) if floors and pairing.references else []
    before = _baseline_score(scorer, other, given)
    return Evaluation(
        name=name,
        results=score.results,
        floors=tuple(stamped(found, scorer.preset.version)),
        differences=() if before is None else tuple(compare(before, score, seed=scorer.seed)),
        per_clip=score.per_clip(),
        failures=score.failures,
        failed_references=score.failed_references,
        not_computed=not_computed,
        pairing=asdict(pairing.report),
        folders=given.folders(),
        baseline_failures={} if before is None else before.failures,
        provenance=score.provenance,
    )


class _Given(NamedTuple):
    """What was asked to be scored, as paths where it is one."""

    generated: Path
    reference: Path | None
    baseline: Path | None
    captions: Path | Mapping[str, str | Sequence[str]] | None

    def folders(self) -> dict[str, str | None]:
        """Absolute paths; None for what was not given as one."""
        return {what: os.path.abspath(p) if isinstance(p, Path) else None for what, p in self._asdict().items()}


def _path(folder: Path | str | None) -> Path | None:
    return None if folder is None else Path(folder)


def _pair(scorer: Scorer, given: _Given, id_pattern: str | None, strict: bool) -> tuple[Pairing, Pairing | None]:
    """The folder's pairing and its baseline's, on their common clips where they need not be the same."""
    several = scorer.preset.several_captions is not None
    pair = partial(
        pair_folders, given.reference, captions=given.captions,
        id_pattern=id_pattern, strict=strict, paired=scorer.preset.paired, several_captions=several,
    )  # fmt: skip
    pairing, other = pair(given.generated), None
    if given.baseline is not None:
        other = pair(given.baseline)
        pairing, other = (pairing, other) if strict else common_clips(pairing, other)
    for problem in pairing.report.problems():
        logger.warning("%s: %s", given.generated, problem)
    return pairing, other


def _baseline_score(scorer: Scorer, pairing: Pairing | None, given: _Given) -> FolderScore | None:
    """What the baseline's clips score; None where there is no baseline."""
    if pairing is None or given.baseline is None:
        return None
    name = title_of(given.baseline, given.generated)
    return score_folder(scorer, name, pairing.clips, pairing.references, pairing.left_out)


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
