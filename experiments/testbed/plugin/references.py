"""Reference audio of the testbed's prompts: true scenes of any length, rendered once per run and kept as wav."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from experiments.datasets.prompts import Prompt
from experiments.system.audio_files import write_wav
from experiments.system.progress import progress
from experiments.testbed.corpus.scenes import SAMPLE_RATE
from experiments.testbed.plugin.load_prompts import reference_audio

# Two 16-bit steps: another processor rounds a sample otherwise.
TOLERANCE = 2 / 2**15


def render_references(prompts: Sequence[Prompt], duration_s: float, *, folder: str) -> tuple[dict[str, Path], bool]:
    """Prompt id to a wav of exactly `duration_s`; windows of it align with windows of a generated clip.

    Args:
        folder: where the files are kept, one subfolder per duration; a file that is there is held against its scene.
    Returns:
        (prompt id -> file, True): True says that references are as long as the generated clips.
    Raises:
        ValueError: a prompt of another data set, or a file that is not its scene (damaged, or another one's).
    """
    files = {prompt.id: Path(folder) / f"{duration_s:g}s" / f"{prompt.id}.wav" for prompt in prompts}
    with progress(len(files), f"references, {duration_s:g} s", "clip") as bar:
        for prompt_id, path in files.items():
            audio = reference_audio(prompt_id, duration_s)
            if not path.exists():
                # Shards with other seeds of the prompt may render it at the same time.
                write_wav(path, audio, SAMPLE_RATE, shared=True)
            elif not _holds(path, audio):
                raise ValueError(
                    f"{path}: its content is not the scene of its prompt; delete it, and it is rendered again"
                )
            bar.update()
    return files, True


def _holds(path: Path, audio: np.ndarray) -> bool:
    """Whether a wav holds these samples (S,), up to rounding."""
    try:
        found, rate = soundfile.read(path, dtype="float32")
    except (soundfile.LibsndfileError, OSError):
        return False
    return rate == SAMPLE_RATE and found.shape == audio.shape and bool(np.abs(found - audio).max() <= TOLERANCE)
