"""Reference audio to hear beside the clips: what the run folder holds of it, in `references/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import soundfile

from experiments.system.files import sha256_file, write_whole

FOLDER = "references"
SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Reference:
    """True audio of a prompt. `audio` is its path in the run folder, as a clip record has it."""

    run_dir: Path
    audio: str

    @cached_property
    def sha256(self) -> str:
        """Of the file as it is: no record holds one."""
        return sha256_file(self.run_dir / self.audio)

    @cached_property
    def seconds(self) -> float:
        """Its length, which need not be a clip's."""
        return float(soundfile.info(self.run_dir / self.audio).duration)


def find_reference(run_dir: Path, prompt_id: str, duration_s: float) -> Reference | None:
    """The reference of a prompt at a length: one of that length (`references/10s/ID.wav`), or one for all of them.

    Returns:
        None where the folder holds none that can be read, or a link that leads out of it.
    """
    inside = (run_dir / FOLDER).resolve()
    for folder in (f"{FOLDER}/{duration_s:g}s", FOLDER):
        for suffix in SUFFIXES:
            found = Reference(run_dir, f"{folder}/{prompt_id}{suffix}")
            path = run_dir / found.audio
            if path.is_file() and path.resolve().is_relative_to(inside) and _is_audio(path):
                return found
    return None


def _is_audio(path: Path) -> bool:
    try:
        return soundfile.info(path).frames > 0
    except soundfile.LibsndfileError:
        return False


def keep_references(files: Mapping[str, Path], run_dir: Path) -> None:
    """Copy references that lie outside the run folder into it, so that its page can play them wherever it is moved.

    Args:
        files: prompt id -> file.
    """
    inside = (run_dir / FOLDER).resolve()
    for prompt_id, file in files.items():
        kept = run_dir / FOLDER / f"{prompt_id}{file.suffix.lower()}"
        if file.resolve().is_relative_to(inside) or (kept.exists() and sha256_file(kept) == sha256_file(file)):
            continue
        write_whole(kept, file.read_bytes())
