"""A run folder's own embeddings: kept beside the records, so that scores are computed again where the audio is not."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from evaluation.embedding.cache import KeptEmbeddings
from experiments.records import ClipRecord, EmbeddingsRecord, append_record, of_kind, read_records
from experiments.system.audio_files import check_content
from experiments.system.files import sha256_file

EMBEDDINGS_FILE = "embeddings.npz"


def kept_embeddings(config: DictConfig, clips: Sequence[ClipRecord], run_dir: Path) -> KeptEmbeddings | None:
    """What a run folder holds of its clips' embeddings; None where it holds none and none are to be kept.

    Raises:
        ValueError: a file that is not the one that was recorded, or that no record names.
    """
    contents = {run_dir / clip.audio: clip.sha256 for clip in clips}
    path = run_dir / EMBEDDINGS_FILE
    if not path.exists():
        return KeptEmbeddings(contents) if config.metrics.get("keep_embeddings", False) else None
    recorded = of_kind(read_records(run_dir), EmbeddingsRecord)
    if not recorded:
        raise ValueError(f"{path}: no record names this file; delete it, or fetch the records that came with it")
    # Where the audio is gone, this file is the only source of scores.
    remedy = "fetch it again (git checkout, say) or, only where the wavs are there, delete it and score again"
    check_content(run_dir, recorded[-1].file, recorded[-1].sha256, remedy)
    return KeptEmbeddings.read(path, contents)


def keep_embeddings(config: DictConfig, kept: KeptEmbeddings | None, run_dir: Path, run_id: str) -> None:
    """Write what a score stage used and record it, where `metrics.keep_embeddings` asks for it."""
    if kept is None or not config.metrics.get("keep_embeddings", False):
        return
    path = run_dir / EMBEDDINGS_FILE
    entries = kept.write(path)
    append_record(run_dir, EmbeddingsRecord(run_id, path.name, sha256_file(path), path.stat().st_size, entries))
