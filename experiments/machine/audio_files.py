"""Wav files that are complete or not there at all."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import soundfile


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write 16-bit PCM atomically: temporary name, fsync, rename. Samples beyond [-1, 1] are clipped, as players do.

    The temporary name depends on the path alone: what a killed process leaves, the clip's next making overwrites.
    """
    content = io.BytesIO()
    # Encoded in memory: libsndfile does not pass on what goes wrong while a file is written.
    soundfile.write(content, np.clip(samples, -1, 1), sample_rate, subtype="PCM_16", format="WAV")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_content(run_dir: Path, audio: str, sha256: str) -> None:
    """Raise ValueError, naming the file, unless `audio` in the run folder holds what was recorded of it."""
    if sha256_file(run_dir / audio) != sha256:
        raise ValueError(f"{audio}: its content is not what was recorded; delete the file and generate it again")


def sha256_file(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
