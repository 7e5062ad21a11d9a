"""Reference audio of the testbed's prompts: true scenes of any length, rendered once per run and kept as wav."""

from collections.abc import Sequence
from pathlib import Path

from experiments.datasets.prompts import Prompt
from experiments.system.audio_files import write_wav
from experiments.system.progress import progress
from experiments.testbed.corpus.scenes import SAMPLE_RATE
from experiments.testbed.plugin.load_prompts import reference_audio


def render_references(prompts: Sequence[Prompt], duration_s: float, *, folder: str) -> tuple[dict[str, Path], bool]:
    """Prompt id to a wav of exactly `duration_s`; windows of it align with windows of a generated clip.

    Args:
        folder: where the files are kept, one subfolder per duration; present files are reused.
    Returns:
        (prompt id -> file, True): True says that references are as long as the generated clips.
    Raises:
        ValueError: a prompt of another data set.
    """
    files = {prompt.id: Path(folder) / f"{duration_s:g}s" / f"{prompt.id}.wav" for prompt in prompts}
    missing = [prompt_id for prompt_id, path in files.items() if not path.exists()]
    with progress(len(missing), f"references, {duration_s:g} s", "clip") as bar:
        for prompt_id in missing:
            # Shards with other seeds of the prompt may render it at the same time.
            write_wav(files[prompt_id], reference_audio(prompt_id, duration_s), SAMPLE_RATE, shared=True)
            bar.update()
    return files, True
