"""Whether the score stage can do its work: networks, cache folder, references and windows. Nothing is embedded."""

import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from evaluation.embedders.protocol import Embedder
from evaluation.embedders.weights import WeightsError, check_weights, find_weights
from evaluation.embedders.worker_embedder import WorkerEmbedder
from evaluation.embedding.preprocessing import check_window
from evaluation.files.pairing import Clip
from evaluation.run.build import check_sources
from evaluation.run.scorer import Scorer, computable
from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import Condition
from experiments.pipelines.revisions import with_commit
from experiments.records import ClipRecord, RunRecord, of_kind, read_records
from experiments.records.current import asked_conditions
from experiments.records.folder import check_same_settings
from experiments.stages.generate import check_caption
from experiments.stages.score import build_scorer, check_scorable, folder_references, presets_of
from experiments.stages.setup import resolved
from experiments.system.alphabet import not_latin

logger = logging.getLogger(__name__)


def check_scoring(config: DictConfig, prompts: Sequence[Prompt]) -> None:
    """Find in seconds what the score stage would fail with after the clips are made, and fetch the weights it needs.

    Raises:
        ValueError, OSError: metrics that do not suit the pipeline, unknown, missing or wrong weight files, a reference
            that is missing, a cache folder that cannot be written, or clips that are too short for a network.
    """
    check_scorable(config)
    check_cache(config.metrics.cache_dir)
    check_given_weights(config.metrics.weights)
    if isinstance(config.data.references, str):
        folder_references(Path(config.data.references).expanduser(), prompts)
    with keys_of_a_run():
        planned = {d: planned_scorers(config, prompts, d) for d in sorted(map(float, config.durations))}
        embedders = distinct_embedders([scorer for scorers in planned.values() for scorer in scorers])
        check_sources(embedders)
        for duration, scorers in planned.items():
            for scorer in scorers:
                check_windows(scorer, duration)
        for scorer in next(iter(planned.values())):
            say_what_is_lacking(config, scorer, prompts)
        for source in dict.fromkeys(s for embedder in embedders for s in getattr(embedder, "sources", ())):
            find_weights(source)


def check_folder(config: DictConfig, conditions: Sequence[Condition], prompts: Sequence[Prompt], run_dir: Path) -> None:
    """Hold a start that scores clips of earlier starts against the folder; nothing is written and no wav is read.

    Other metrics and judges, and a part of the lengths, methods, prompts and seeds, are all right. So is a condition
    that an earlier start asked for and that gave no clip: the scores then say so.

    Raises:
        ValueError: settings, captions or a pipeline that is not the one behind the clips, or a condition of which there
            is no clip and that no start asked for.
    """
    records = read_records(run_dir)
    starts, by_id = of_kind(records, RunRecord), {prompt.id: prompt for prompt in prompts}
    check_same_settings(starts, resolved(with_commit(config)))
    if untrained := [start for start in starts if not start.pipeline["trained"]]:
        raise ValueError(
            f"stage score: start {untrained[0].run_id} of {run_dir} used {untrained[0].pipeline['name']} with random "
            "weights, its audio is noise and has no quality; set out_dir to a folder of a trained pipeline"
        )
    clips = of_kind(records, ClipRecord)
    planned = {
        (asked.condition, prompt_id, seed)
        for start in starts
        for asked in asked_conditions(start).values()
        for prompt_id in start.prompt_ids
        for seed in start.config["seeds"]
    }
    known = planned | {(clip.condition, clip.prompt_id, clip.seed) for clip in clips}
    here = {condition for condition, prompt_id, seed in known if prompt_id in by_id and seed in config.seeds}
    asked_for = [condition.id for condition in conditions if not condition.method.timing_only]
    if absent := [condition for condition in asked_for if condition not in here]:
        more = f" and {len(absent) - 1} more of the {len(asked_for)} conditions" if len(absent) > 1 else ""
        raise ValueError(
            f"stage score: {run_dir} has no clip of {absent[0]}{more} for these prompts and seeds; it has "
            f"{_told(clips)}; ask for these, or add generate to stages"
        )
    for clip in clips:
        if clip.condition in asked_for and clip.prompt_id in by_id:
            check_caption(clip, by_id[clip.prompt_id])


def _told(clips: Sequence[ClipRecord]) -> str:
    """What there is to score, by the settings that ask for it."""
    if not clips:
        return "no clips at all"
    values: dict[str, list[float | int]] = {
        "durations": [clip.duration_s for clip in clips],
        "steps": [clip.steps for clip in clips],
        "guidance": [clip.guidance for clip in clips],
        "seeds": [clip.seed for clip in clips],
    }
    settings = [f"{key} {', '.join(f'{n:g}' for n in sorted(set(found)))}" for key, found in values.items()]
    methods = ", ".join(dict.fromkeys(clip.method for clip in clips))
    prompts = list(dict.fromkeys(clip.prompt_id for clip in clips))
    return f"clips of {methods}; {'; '.join(settings)}; {len(prompts)} prompts, first {prompts[0]}"


def say_what_is_lacking(config: DictConfig, scorer: Scorer, prompts: Sequence[Prompt]) -> None:
    """Log which of a preset's metrics these prompts do not allow, and captions that its text encoder does not know."""
    if lacking := [name for name in scorer.preset.metrics if name not in scorer.metrics and not config.metrics.metrics]:
        logger.warning(
            "preset %s without %s: they need what is not given (reference audio: data.references; metrics.labels)",
            scorer.preset.name, ", ".join(lacking),
        )  # fmt: skip
    if "text" in scorer.all_embedders() and (text := not_latin([prompt.text for prompt in prompts])):
        logger.warning("%s", text)


@contextmanager
def keys_of_a_run() -> Iterator[None]:
    """Let errors about weights name the setting as a run spells it, metrics.weights.clap."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(re.sub(r"(?<![\w./])weights\.(?=\w)", "metrics.weights.", str(error))) from error


def planned_scorers(config: DictConfig, prompts: Sequence[Prompt], duration_s: float) -> list[Scorer]:
    """The scorers of one duration, one per preset, with the metrics that these prompts and references allow.

    Raises:
        ValueError: metrics that cannot be computed, or another number of seeds than a preset takes the best of.
    """
    clips = [Clip(prompt.id, Path(f"{prompt.id}.wav"), prompt.id, prompt.text) for prompt in prompts]
    scorers = []
    for preset in presets_of(config):
        scorer = build_scorer(config, preset, duration_s, aligned=False)
        count, seeds = scorer.preset.candidates, list(config.seeds)
        if count not in (1, len(seeds)):
            raise ValueError(
                f"metrics.preset {preset} takes the best of {count} clips of a prompt, got seeds={seeds}; "
                f"set seeds={list(range(count))}, or choose another preset"
            )
        scorers.append(computable(scorer, has_reference=config.data.references is not None, clips=clips))
    return scorers


def distinct_embedders(scorers: Sequence[Scorer]) -> list[Embedder]:
    """The networks of some scorers; one that fills two roles counts once."""
    found = [embedder for scorer in scorers for embedder in scorer.all_embedders().values()]
    return list({label(embedder): embedder for embedder in found}.values())


def label(embedder: Embedder) -> str:
    """A name for readers that starts no process: one of another environment says its own name only there."""
    return embedder.target.rpartition(".")[2] if isinstance(embedder, WorkerEmbedder) else embedder.name


def network_state(embedder: Embedder) -> str:
    """Where the weights of a network are, or are fetched from; raises OSError where they cannot be had."""
    with keys_of_a_run():
        return "; ".join(check_weights(source) for source in getattr(embedder, "sources", ())) or "no weight file"


def check_windows(scorer: Scorer, duration_s: float) -> None:
    """Raise ValueError if a window of a clip is shorter, or longer, than a network takes."""
    for role, embedder in scorer.all_embedders().items():
        try:
            check_window(embedder, scorer.preset.preprocessing("generated", role))
        except ValueError as error:
            raise ValueError(
                f"durations: clips of {duration_s:g} s do not suit the metrics ({error}); set other durations or "
                "metrics.window_s, or leave score out of stages"
            ) from error


def check_given_weights(weights: Mapping[str, object]) -> None:
    """Raise ValueError or FileNotFoundError for a weight path that is none, before its network is built."""
    for name, value in weights.items():
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"metrics.weights.{name}: got {value!r}; give a path, or sha256:HEX to fetch the file")
        if not value.startswith("sha256:") and not Path(value).expanduser().exists():
            raise FileNotFoundError(f"metrics.weights.{name}: {value} does not exist; give a file or a folder")


def check_cache(folder: str | None) -> None:
    """Raise OSError, naming the setting, for a cache folder that cannot be written."""
    if folder is None:
        return
    try:
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{secrets.token_hex(4)}.part"
        probe.touch(exist_ok=False)
        probe.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder to put in place of ~
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"metrics.cache_dir {folder} cannot be written ({reason}); set metrics.cache_dir to a folder that can, or "
            "to null for no cache"
        ) from error
