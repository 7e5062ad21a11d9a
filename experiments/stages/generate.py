"""The generate stage: every clip of every condition, once, resumable.

A clip's record is appended only after its audio file is complete on disk, so a killed run loses at most the clips
in flight, and a restart generates exactly the missing ones.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from experiments.datasets.prompts import Prompt
from experiments.matrix.clips import Clip
from experiments.matrix.cost import BYTES_PER_SAMPLE
from experiments.matrix.shards import predicted_flops
from experiments.pipelines.pipeline import GeneratedClip, Pipeline
from experiments.records import RECORDS_FILE, ClipRecord, FailureRecord, append_record, of_kind, read_records
from experiments.system.audio_files import check_content, write_wav
from experiments.system.files import sha256_file
from experiments.system.memory import MEMORY_ERRORS, out_of_memory
from experiments.system.progress import progress

logger = logging.getLogger(__name__)

SPARE_BYTES = 64 * 2**20


def generate_clips(
    pipeline: Pipeline,
    clips: Sequence[Clip],
    run_dir: Path,
    run_id: str,
    batch_size: int = 1,
    exact_batches: bool = True,
    file_name: str = RECORDS_FILE,
    between_clips: Callable[[], None] = lambda: None,
    after_length: Callable[[float], None] = lambda duration_s: None,
    after_clips: Callable[[Sequence[ClipRecord], int, float], None] = lambda made, failed, share: None,
) -> None:
    """Generate the clips that the run folder does not hold yet, whoever recorded them.

    Args:
        batch_size: clips of one condition handed to the pipeline together.
        exact_batches: run the pipeline clip by clip all the same, so that a clip has the same bits alone and in any
            batch (a matrix product of another batch size rounds differently, by about 1e-6). False is faster on a GPU.
        file_name: where records go (a shard has a file of its own).
        between_clips: called before every call of the pipeline; the place to stop at.
        after_length: called with a length once all of its clips that were missing are made.
        after_clips: called after every call of the pipeline with the records of its clips, how many gave none, and the
            share of the predicted work that is done.
    Raises:
        OSError: the disk has no room for the remaining audio. Finished clips are kept; a restart resumes.
    """
    recorded = {record.audio: record for record in of_kind(read_records(run_dir), ClipRecord)}
    pending = [clip for clip in clips if not is_done(clip, recorded.get(clip.audio), run_dir)]
    if len(pending) < len(clips):
        logger.info("%d of %d clips are there already", len(clips) - len(pending), len(clips))
    check_disk(pending, pipeline.sample_rate, run_dir)
    cost = cache(predicted_flops)
    total = sum(cost(clip.condition) for clip in pending)
    made = spent = 0
    with progress(total, "generating") as bar:
        for duration_s, of_length in groupby(pending, key=lambda clip: clip.condition.duration_s):
            for batch in batches(list(of_length), 1 if exact_batches else batch_size):
                between_clips()
                records = _generate_batch(pipeline, batch, run_dir, run_id, file_name)
                here, made = batch[0].condition, made + len(batch)
                last = f"{here.method.name} {duration_s:g} s"
                bar.set_description(f"generating, {made} of {len(pending)} clips, {last}", refresh=False)
                bar.update(cost(here) * len(batch))
                spent += cost(here) * len(batch)
                after_clips(records, len(batch) - len(records), spent / total)
            after_length(duration_s)


def is_done(clip: Clip, record: ClipRecord | None, run_dir: Path) -> bool:
    """Whether the clip was recorded and its audio file is the one that was recorded.

    Raises:
        ValueError: the audio file was replaced or damaged after it was recorded, or the caption of the id changed.
    """
    if record is None:
        return False
    check_caption(record, clip.prompt)
    path = run_dir / clip.audio
    if not path.exists():
        logger.warning("%s was recorded but is gone; it is generated again", clip.audio)
        return False
    check_content(run_dir, clip.audio, record.sha256)
    return True


def check_caption(record: ClipRecord, prompt: Prompt) -> None:
    """Raise ValueError for a clip that was made when its prompt's id had another caption."""
    if record.caption != prompt.text:
        raise ValueError(
            f"{record.audio} was made for the caption {record.caption!r}, now it says {prompt.text!r}; "
            "set another name or out_dir"
        )


def batches(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Groups of up to `size` clips of one condition; groups of different conditions interleave as the plan does."""
    by_condition: dict[str, list[Clip]] = {}
    for clip in clips:
        group = by_condition.setdefault(clip.condition.id, [])
        group.append(clip)
        if len(group) == size:
            yield by_condition.pop(clip.condition.id)
    yield from by_condition.values()


def _generate_batch(
    pipeline: Pipeline, batch: list[Clip], run_dir: Path, run_id: str, file_name: str
) -> list[ClipRecord]:
    """Make the clips of one condition; returns the records of those that came out."""
    condition = batch[0].condition
    # Entering the method restarts its private stream of sampled keys: no clip depends on the ones before it.
    try:
        with condition.method.patch(pipeline.pipe):
            generated = pipeline.generate(
                [clip.prompt for clip in batch],
                [clip.seed for clip in batch],
                condition.duration_s,
                condition.steps,
                condition.guidance,
            )
    except MEMORY_ERRORS as error:
        reason = out_of_memory(error)
        for clip in batch:
            record_failure(clip, reason, run_dir, run_id, file_name)
        return []
    stored = []
    for clip, result in zip(batch, generated, strict=True):
        try:
            stored.append(store_clip(clip, result, pipeline.sample_rate, run_dir, run_id, file_name))
        except OSError as error:
            problem = f"{error.strerror or error} while writing; finished clips are kept, the same command resumes"
            raise OSError(f"{run_dir}: {problem}") from error
    return [record for record in stored if record is not None]


def record_failure(clip: Clip, reason: str, run_dir: Path, run_id: str, file_name: str = RECORDS_FILE) -> None:
    """Append why a clip was not made; a restart tries it again."""
    condition = clip.condition
    logger.error("%s: %s", clip.audio, reason)
    failure = FailureRecord(
        run_id,
        "generate",
        condition.id,
        condition.method.name,
        condition.duration_s,
        reason,
        clip.prompt.id,
        clip.seed,
    )
    append_record(run_dir, failure, file_name)


def store_clip(
    clip: Clip, result: GeneratedClip, sample_rate: int, run_dir: Path, run_id: str, file_name: str = RECORDS_FILE
) -> ClipRecord | None:
    """Write the wav, then its record; audio with non-finite samples becomes a failure record instead, and None."""
    condition = clip.condition
    if not np.isfinite(result.samples).all():
        reason = f"{np.count_nonzero(~np.isfinite(result.samples))} non-finite samples in the generated audio"
        record_failure(clip, reason, run_dir, run_id, file_name)
        return None
    path = run_dir / clip.audio
    write_wav(path, result.samples, sample_rate)
    record = ClipRecord(
        run_id=run_id,
        condition=condition.id,
        method=condition.method.name,
        duration_s=condition.duration_s,
        steps=condition.steps,
        guidance=condition.guidance,
        prompt_id=clip.prompt.id,
        caption=clip.prompt.text,
        seed=clip.seed,
        audio=clip.audio,
        sha256=sha256_file(path),
        sample_rate=sample_rate,
        samples=len(result.samples),
        latency_s=result.latency_s,
        step_s=result.step_s,
        decode_s=result.decode_s,
    )
    append_record(run_dir, record, file_name)
    return record


def check_disk(clips: Sequence[Clip], sample_rate: int, run_dir: Path) -> None:
    """Raise OSError, before any work, if the audio of the clips would not fit on the disk."""
    needed = sum(round(clip.condition.duration_s * sample_rate) * BYTES_PER_SAMPLE + 4096 for clip in clips)
    free = shutil.disk_usage(run_dir).free
    if clips and needed + SPARE_BYTES > free:
        raise OSError(
            f"no disk space: {needed / 2**20:.0f} MiB of audio (and {SPARE_BYTES / 2**20:.0f} MiB spare) asked for, "
            f"{free / 2**20:.0f} MiB free; free some or set out_dir to another disk"
        )
