"""Wav files that are complete or not there at all, and are what was recorded of them."""

import io
from pathlib import Path

import numpy as np
import soundfile

from experiments.system.files import sha256_file, write_whole


def write_wav(path: Path, samples: np.ndarray, sample_rate: int, shared: bool = False) -> None:
    """Write 16-bit PCM, whole. Samples beyond [-1, 1] are clipped, as players do. For `shared` see `write_whole`."""
    content = io.BytesIO()
    # Encoded in memory: libsndfile does not pass on what goes wrong while a file is written.
    soundfile.write(content, np.clip(samples, -1, 1), sample_rate, subtype="PCM_16", format="WAV")
    write_whole(path, content.getvalue(), shared)


def check_content(run_dir: Path, name: str, sha256: str, remedy: str = "delete the file and generate it again") -> None:
    """Raise ValueError, naming the file and the remedy, unless it holds what was recorded of it.

    Args:
        name: of the file, relative to the run folder.
    """
    if sha256_file(run_dir / name) != sha256:
        raise ValueError(f"{name}: its content is not what was recorded; {remedy}")
