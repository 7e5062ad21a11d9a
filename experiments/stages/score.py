"""The score stage: quality metrics of every method at every duration, paired against the baseline, as records.

All arithmetic is `evaluation`'s; this module finds the clips of a run, the references they are compared with, and
turns results into records. A trained pipeline is required: noise has no quality.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from evaluation.embedding.cache import KeptEmbeddings
from evaluation.files.pairing import Clip
from evaluation.run.gone import first_gone
from evaluation.run.scorer import Scorer, computable, embed_folder, make_scorer, score_folder
from evaluation.scoring.intervals import FolderScore, compare
from experiments.datasets.prompts import Prompt
from experiments.listen.references import keep_references
from experiments.matrix.clips import Clip as PlannedClip
from experiments.matrix.conditions import Condition
from experiments.records import ClipRecord, FailureRecord, append_record, of_kind, read_records
from experiments.records.current import scored_otherwise
from experiments.stages.kept import EMBEDDINGS_FILE, keep_embeddings, kept_embeddings
from experiments.stages.score_records import material_of, to_record, with_provenance
from experiments.stages.setup import score_start_record
from experiments.system.audio_files import check_content

logger = logging.getLogger(__name__)
NOT_SCORED = "no metrics are chosen, the clips are not scored; metrics=strict scores them"

# (prompts, duration_s) -> (prompt id -> reference file, whether references are as long as the clips)
References = Callable[[Sequence[Prompt], float], tuple[dict[str, Path], bool]]


def is_scored(config: DictConfig) -> bool:
    """Whether the score stage has anything to do: it is asked for, and metrics are chosen.

    A published pipeline has no metrics of its own. With the stages that make clips it is left at that, and says so;
    asking for the scores of clips that are there already is a mistake then.

    Raises:
        ValueError: the score stage without one that makes clips, and no metrics. Errors of `check_scorable`.
    """
    if "score" not in config.stages:
        return False
    if config.pipeline.trained and not presets_of(config) and "generate" in config.stages:
        logger.warning("stage score: %s", NOT_SCORED)
        return False
    check_scorable(config)
    return True


def presets_of(config: DictConfig) -> list[str]:
    """The presets that score the run, in order: none, one, or several over the same clips.

    Raises:
        ValueError: one is named twice.
    """
    chosen = config.metrics.get("preset")
    names = [] if chosen is None else [chosen] if isinstance(chosen, str) else list(chosen)
    if len(set(names)) < len(names):
        raise ValueError(f"metrics.preset={names}: give every preset once")
    return names


def check_scorable(config: DictConfig) -> None:
    """Raise ValueError for a pipeline that declares itself untrained, no metrics, or judges of another one's sounds."""
    if not config.pipeline.trained:
        raise ValueError(
            f"stage score: pipeline {config.pipeline.name} has random weights, its audio is noise and has no quality; "
            "use a trained pipeline, or leave score out of stages"
        )
    if not (presets := presets_of(config)):
        raise ValueError(f"stage score: {NOT_SCORED}, or leave score out of stages")
    name = str(config.pipeline.name)
    if "testbed" in presets and not name.startswith("testbed"):
        raise ValueError(
            f"stage score: preset testbed judges the testbed's sounds only, the pipeline is {name}; "
            "set metrics=strict, or leave score out of stages"
        )


def score_run(
    config: DictConfig,
    conditions: Sequence[Condition],
    prompts: Sequence[Prompt],
    run_dir: Path,
    run_id: str | None = None,
) -> None:
    """Score every generated condition, on the clips of the configured prompts and seeds, and append metric records.

    Args:
        run_id: of this start; None for one that has no record yet and gets it once the clips are known to be right.
    Raises:
        ValueError: an untrained pipeline, or a wav or embeddings that are not those that were recorded.
        FileNotFoundError: a wav is gone, and its embedding was not kept. Nothing is written in either case.
    """
    check_scorable(config)
    wanted = {(prompt.id, seed) for prompt in prompts for seed in config.seeds}
    clips = [c for c in of_kind(read_records(run_dir), ClipRecord) if (c.prompt_id, c.seed) in wanted]
    asked = {condition.id for condition in conditions if not condition.method.timing_only}
    check_wavs([clip for clip in clips if clip.condition in asked], run_dir)
    kept = kept_embeddings(config, clips, run_dir)
    for duration in dict.fromkeys(condition.duration_s for condition in conditions):
        here = {condition.id for condition in _at(conditions, duration)}
        check_audio(config, duration, [clip for clip in clips if clip.condition in here], run_dir, kept)
    references = build_references(config)
    run_id = run_id or score_start_record(config, prompts, run_dir)
    asked_for = material_of(prompts, list(config.seeds))
    for duration in dict.fromkeys(condition.duration_s for condition in conditions):
        files, aligned = references(prompts, duration)
        keep_references(files, run_dir)
        for preset in presets_of(config):
            scorer = build_scorer(config, preset, duration, aligned, kept)
            at = _at(conditions, duration)
            score_duration(scorer, at, clips, files, config.timing.baseline, run_dir, run_id, asked_for)
    keep_embeddings(config, kept, run_dir, run_id)
    if apart := len(scored_otherwise(read_records(run_dir))):
        logger.warning("%d earlier values, by other judges or of other prompts, are kept and not shown", apart)


def embed_clips(config: DictConfig, planned: Sequence[PlannedClip], run_dir: Path) -> None:
    """Embed a shard's clips (those that are recorded) and their references into the cache, for `score_run` to find.

    Raises:
        ValueError: an untrained pipeline, no cache folder to share the embeddings through, or a wav that is not the
            one that was recorded.
    """
    check_scorable(config)
    if config.metrics.cache_dir is None:
        raise ValueError("stage score of a shard: set metrics.cache_dir to a folder that the shards share, got null")
    recorded = {record.audio: record for record in of_kind(read_records(run_dir), ClipRecord)}
    check_wavs([recorded[clip.audio] for clip in planned if clip.audio in recorded], run_dir)
    references = build_references(config)
    for duration in dict.fromkeys(clip.condition.duration_s for clip in planned):
        own = [clip for clip in planned if clip.condition.duration_s == duration and clip.audio in recorded]
        files, aligned = references(list({clip.prompt.id: clip.prompt for clip in own}.values()), duration)
        for preset in presets_of(config):
            scorer = build_scorer(config, preset, duration, aligned)
            embed_folder(scorer, f"{duration:g} s", to_clips([recorded[clip.audio] for clip in own], run_dir), files)


def check_wavs(records: Sequence[ClipRecord], run_dir: Path) -> None:
    """Raise ValueError for the first wav that was swapped, replaced or damaged; for those gone see `check_audio`."""
    for record in {record.audio: record for record in records}.values():
        if (run_dir / record.audio).exists():
            check_content(run_dir, record.audio, record.sha256)


def check_audio(
    config: DictConfig, duration_s: float, records: Sequence[ClipRecord], run_dir: Path, kept: KeptEmbeddings | None
) -> None:
    """Raise FileNotFoundError for the first clip of a duration that has neither a wav nor kept embeddings."""
    clips = to_clips(records, run_dir)
    if all(clip.generated.is_file() for clip in clips):
        return
    for preset in presets_of(config):
        scorer = build_scorer(config, preset, duration_s, aligned=False, kept=kept)
        if gone := first_gone(computable(scorer, config.data.references is not None, clips), clips):
            raise FileNotFoundError(
                f"{gone.generated} is gone, and its embeddings are not all in {run_dir / EMBEDDINGS_FILE}; fetch one "
                "of the two again, or make the clip again: stages=[generate,score]"
            )


def _at(conditions: Sequence[Condition], duration: float) -> list[Condition]:
    return [c for c in conditions if c.duration_s == duration and not c.method.timing_only]


def build_references(config: DictConfig) -> References:
    """The source of reference audio: a folder of `<prompt id>.wav`, a provider, or none."""
    source = config.data.references
    if source is None:
        return lambda prompts, duration_s: ({}, False)
    if isinstance(source, str):
        return lambda prompts, duration_s: (folder_references(Path(source).expanduser(), prompts), False)
    return instantiate(source)


def folder_references(folder: Path, prompts: Sequence[Prompt]) -> dict[str, Path]:
    """Prompt id to `<id>.wav` or `<id>.flac` in a folder.

    Raises:
        FileNotFoundError: no such folder, or prompts without a file (the first is named).
        ValueError: two files of one prompt.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no reference folder at {folder}; set data.references to a folder of <prompt id>.wav files"
        )
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in (".wav", ".flac")):
        if path.stem in found:
            raise ValueError(f"{folder}: {found[path.stem].name} and {path.name} are of one prompt; keep one")
        found[path.stem] = path
    missing = [prompt.id for prompt in prompts if prompt.id not in found]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(prompts)} references missing, first {missing[0]}.wav"
        )
    return {prompt.id: found[prompt.id] for prompt in prompts}


def build_scorer(
    config: DictConfig, preset: str, duration_s: float, aligned: bool, kept: KeptEmbeddings | None = None
) -> Scorer:
    """A scorer of one preset for clips of one duration; windows follow the model's training length."""
    metrics = config.metrics
    window_s = min(float(metrics.window_s or config.pipeline.training_length_s), duration_s)
    return make_scorer(
        preset,
        metrics=metrics.metrics,
        extra=metrics.get("extra") or (),
        embedders={role: instantiate(node) for role, node in metrics.embedders.items()},
        weights=dict(metrics.weights),
        cache_dir=metrics.cache_dir,
        window_s=window_s,
        duration_s=duration_s,
        aligned_references=aligned or bool(metrics.get("aligned_references")),
        labels=instantiate(metrics.labels),
        device=metrics.device,
        batch_size=metrics.batch_size,
        half=metrics.half,
        kept=kept,
    )


def score_duration(
    scorer: Scorer,
    conditions: Sequence[Condition],
    clips: Sequence[ClipRecord],
    references: Mapping[str, Path],
    baseline: str,
    run_dir: Path,
    run_id: str,
    asked_for: str = "",
) -> None:
    """Score the conditions of one duration, then every pair of them on the clips that both have.

    Args:
        asked_for: `material_of` the prompts and seeds.
    """
    scores: dict[str, FolderScore] = {}
    for condition in conditions:
        chosen = [clip for clip in clips if clip.condition == condition.id]
        if not chosen:
            reason = "no clips were generated"
            append_record(run_dir, _failure(run_id, condition, reason))
            continue
        scores[condition.method.name] = score_folder(scorer, condition.id, to_clips(chosen, run_dir), references)
    ordered = sorted(scores, key=lambda name: name != baseline)
    by_name = {condition.method.name: condition for condition in conditions}
    for number, name in enumerate(ordered):
        for result in scores[name].results:
            record = to_record(result, by_name[name], "", run_id, scores[name].per_clip())
            append_record(run_dir, with_provenance(record, scores[name].provenance, asked_for))
        for other in ordered[:number]:
            for result in compare(scores[other], scores[name], seed=scorer.seed):
                record = to_record(result, by_name[name], other, run_id, against=by_name[other].id)
                append_record(run_dir, with_provenance(record, scores[name].provenance, asked_for))
    for name, score in scores.items():
        for clip, reason in score.failures.items():
            logger.warning("%s, clip %s: not scored, %s", by_name[name].id, clip, reason)
        if score.failures:  # after its scores, which would have overcome it
            clip, reason = next(iter(score.failures.items()))
            append_record(run_dir, _failure(run_id, by_name[name], f"{clip}: {reason}"))


def _failure(run_id: str, condition: Condition, reason: str) -> FailureRecord:
    return FailureRecord(run_id, "score", condition.id, condition.method.name, condition.duration_s, reason)


def to_clips(records: Sequence[ClipRecord], run_dir: Path) -> list[Clip]:
    """Clip records as evaluation's clips, the newest record of a file; seeds of one prompt share its id.

    Sorted, so that intervals and sums come out alike in whatever order the clips were made.
    """
    newest = {record.audio: record for record in records}
    ordered = sorted(newest.values(), key=lambda record: (record.prompt_id, record.seed))
    return [
        Clip(f"{record.prompt_id}_{record.seed}", run_dir / record.audio, record.prompt_id, record.caption)
        for record in ordered
    ]
