"""Names of clips: which endings are audio, and when two names are the same."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

# What libsndfile reads by its content; a raw or text file is none of these.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64",
)  # fmt: skip
_SHOWN = 5


class PairingError(ValueError):
    """Folders and captions that do not match; the text names the files."""


def clip_name(name: str) -> str:
    """Name of a clip out of a cell that may hold a file's: no folder, no audio ending, in normal form."""
    path = PurePosixPath(normal(name.strip()))
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else normal(name.strip())


def normal(name: str) -> str:
    """The name in NFC: file systems and spreadsheets write an accent as one character or as two, and mean the same."""
    return unicodedata.normalize("NFC", name)


def some(names: list[str]) -> str:
    """The first five names, and how many more there are; what cannot be seen in a name is written out."""
    shown = ", ".join(_visible(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _visible(name: str) -> str:
    plain = name.isprintable() and name == name.strip() and unicodedata.normalize("NFKC", name) == name
    return name if plain else ascii(name)
