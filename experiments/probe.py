"""Probe a pipeline on real audio, without sampling: denoising loss under each method, and where attention looks.

    python -m experiments.probe data.count=64 out_dir=results/testbed

Writes one record per (length, noise level, noise draw, method), so a killed probe resumes. `conf/probe.yaml` says what
can be set; a published pipeline takes `pipeline=audioldm2 data=audiocaps data.references=DIR durations=[10.24]
front_end._target_=experiments.pipelines.latents.audioldm_log_mel`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.datasets.prompts import Prompt
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import Method, build_method, build_methods
from experiments.matrix.plain_settings import is_whole
from experiments.pipelines.latents import encode_files
from experiments.pipelines.pipeline import Pipeline
from experiments.pipelines.revisions import with_commit
from experiments.records import (
    AttentionRecord,
    ProbeLossRecord,
    ProbeRunRecord,
    StartRecord,
    append_record,
    of_kind,
    read_records,
)
from experiments.records.folder import PROBE_KEYS, check_same_settings, check_same_weights, locked
from experiments.report import report
from experiments.stages.probes import ProbeClips, attention_structure, condition, denoising_loss
from experiments.stages.score import build_references
from experiments.stages.setup import harness_program, load_pipeline, load_prompts, resolved, start_record
from experiments.system.progress import progress
from experiments.tables.probe_rows import structure_values
from litefocus.sites import find_sites, find_unet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossJob:
    """One record to be: every clip's loss at one place of the grid."""

    duration_s: float
    t: int
    noise_seed: int
    method: Method
    key_seed: int | None

    @property
    def place(self) -> tuple[float, int, int, str, int | None]:
        """What identifies the record in a folder, besides its clips."""
        return self.duration_s, self.t, self.noise_seed, self.method.name, self.key_seed


def probe(config: DictConfig) -> str:
    """Take the readings that the folder does not hold yet; returns the report's markdown.

    Raises:
        ValueError: durations, levels, references or a front end that do not suit the pipeline, or other settings or
            weights than before.
    """
    config = with_composed_methods(config)
    run_dir = Path(config.out_dir)
    with locked(run_dir):
        config = with_commit(config)
        check_same_settings(of_kind(read_records(run_dir), ProbeRunRecord), resolved(config), PROBE_KEYS)
        prompts = load_prompts(config)
        pipeline = load_pipeline(config)
        _check_places(config, pipeline)
        check_same_weights(of_kind(read_records(run_dir), StartRecord), pipeline.weights)
        losses, structures = _pending(config, prompts, run_dir, len(find_sites(find_unet(pipeline.pipe))))
        if losses or structures:
            clips = real_clips(config, pipeline, prompts)
            run_id = start_record(config, pipeline, prompts, run_dir, kind=ProbeRunRecord)
            take_structures(config, pipeline, clips, prompts, structures, run_dir, run_id)
            take_losses(config, pipeline, clips, prompts, losses, run_dir, run_id)
        return report(run_dir)


def _check_places(config: DictConfig, pipeline: Pipeline) -> None:
    """Raise ValueError for a length or a noise level that the pipeline does not have."""
    for duration in config.durations:
        pipeline.check_duration(float(duration))
    count = int(pipeline.pipe.scheduler.config.num_train_timesteps)
    for key, levels in (("levels", config.levels), ("attention.levels", config.attention.levels)):
        if any(not is_whole(t) or not 0 <= t < count for t in levels):
            raise ValueError(
                f"{key} {list(levels)}: accepted are training timesteps, whole numbers from 0 to {count - 1}"
            )


def loss_jobs(config: DictConfig) -> Iterator[LossJob]:
    """Every reading of the configuration. The first noise draw comes first, complete, with controls and fresh keys."""
    methods = build_methods(config)
    fresh = _fresh_keys(config)
    for noise_seed in config.noise_seeds:
        first = noise_seed == config.noise_seeds[0]
        for duration in map(float, config.durations):
            for t in config.levels:
                for method in methods.values():
                    if first or not method.timing_only:
                        yield LossJob(duration, t, noise_seed, method, None)
                for key_seed, method in fresh.items() if first else ():
                    yield LossJob(duration, t, noise_seed, method, key_seed)


def _fresh_keys(config: DictConfig) -> dict[int, Method]:
    """Key seed -> `key_method` with that seed; nothing where the method is not probed."""
    nodes = [node for node in config.methods.values() if node.name == config.key_method]
    return {
        seed: build_method(OmegaConf.merge(node, {"patch": {"config": {"seed": seed}}}))  # type: ignore[arg-type]
        for node in nodes
        for seed in config.key_seeds
    }


def _pending(
    config: DictConfig, prompts: list[Prompt], run_dir: Path, sites: int
) -> tuple[list[LossJob], list[tuple[float, int]]]:
    """Loss jobs and (length, level) of attention structures that the folder does not hold for these clips.

    A place whose records are fewer than the `sites` of the UNet was interrupted: all of its sites are taken again.
    """
    records = read_records(run_dir)
    ids = [prompt.id for prompt in prompts]
    taken = {
        (r.duration_s, r.t, r.noise_seed, r.method, r.key_seed)
        for r in of_kind(records, ProbeLossRecord)
        if r.clip_ids == ids
    }
    seen: dict[tuple[float, int], set[str]] = {}
    for r in of_kind(records, AttentionRecord):
        if r.clip_ids == ids[: config.attention.clips]:
            seen.setdefault((r.duration_s, r.structure["t"]), set()).add(r.structure["site"])
    places = [(float(d), t) for d in config.durations for t in config.attention.levels]
    jobs = list(loss_jobs(config))
    pending = [job for job in jobs if job.place not in taken]
    if len(pending) < len(jobs):
        logger.info("%d of %d readings are there already", len(jobs) - len(pending), len(jobs))
    return pending, [place for place in places if len(seen.get(place, ())) < sites]


def real_clips(config: DictConfig, pipeline: Pipeline, prompts: list[Prompt]) -> ProbeClips:
    """The prompts' references as latents of the longest duration, with the prompts as condition.

    Raises:
        ValueError: a data set without references.
    """
    longest = max(map(float, config.durations))
    files, _ = build_references(config)(prompts, longest)
    if not files:
        raise ValueError("probes need real audio: set data.references to a folder of <prompt id>.wav")
    paths = [files[prompt.id] for prompt in prompts]
    latents = encode_files(pipeline, instantiate(config.front_end), paths, longest)
    return ProbeClips(latents, condition(pipeline.pipe, [prompt.text for prompt in prompts]))


def beginning(pipeline: Pipeline, clips: ProbeClips, duration_s: float, count: int | None = None) -> ProbeClips:
    """The first `duration_s` of the first `count` clips."""
    return clips.batch(slice(0, count), pipeline.latent_grid(duration_s)[0])


def take_losses(
    config: DictConfig,
    pipeline: Pipeline,
    clips: ProbeClips,
    prompts: list[Prompt],
    jobs: list[LossJob],
    run_dir: Path,
    run_id: str,
) -> None:
    """Run the jobs, one record each."""
    unet, scheduler = pipeline.pipe.unet, pipeline.pipe.scheduler
    with progress(round(sum(job.duration_s for job in jobs)), "denoising loss", "s of audio per clip") as bar:
        for job in jobs:
            part = beginning(pipeline, clips, job.duration_s)
            losses = denoising_loss(
                *(unet, scheduler, part, job.t, job.method.patch), seed=job.noise_seed, batch=config.batch_size
            )
            append_record(
                run_dir,
                ProbeLossRecord(
                    run_id=run_id,
                    method=job.method.name,
                    duration_s=job.duration_s,
                    t=job.t,
                    noise_seed=job.noise_seed,
                    key_seed=job.key_seed,
                    clip_ids=[prompt.id for prompt in prompts],
                    losses=[float(f"{loss:.7g}") for loss in losses],
                ),
            )
            bar.update(job.duration_s)


def take_structures(
    config: DictConfig,
    pipeline: Pipeline,
    clips: ProbeClips,
    prompts: list[Prompt],
    places: list[tuple[float, int]],
    run_dir: Path,
    run_id: str,
) -> None:
    """Where the dense model's sites look, one record per site, length and noise level."""
    ids = [prompt.id for prompt in prompts[: config.attention.clips]]
    with progress(len(places), "attention structure", "place") as bar:
        for duration, t in places:
            part = beginning(pipeline, clips, duration, len(ids))
            rate = token_rate(pipeline, duration)
            sites = attention_structure(pipeline.pipe.unet, pipeline.pipe.scheduler, part, t, frames_per_second=rate)
            for site in sites:
                append_record(run_dir, AttentionRecord(run_id, duration, ids, structure_values(site)))
            bar.update()


def token_rate(pipeline: Pipeline, duration_s: float) -> float:
    """Tokens a second along time at the finest attention level."""
    unet = find_unet(pipeline.pipe)
    names = {module: name for name, module in unet.named_modules()}
    block = int(names[find_sites(unet)[0].transformer].split(".")[1])
    return pipeline.latent_grid(duration_s)[0] / 2**block / duration_s


def main() -> None:
    """The command line."""
    harness_program("probe", probe, __doc__)


if __name__ == "__main__":
    main()
