"""Names of clips: which endings are audio, and when two names are the same."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path, PureWindowsPath

from evaluation.audio import ffmpeg

# What libsndfile reads by its content (a raw or text file is none of these), and what ffmpeg reads.
AUDIO_SUFFIXES = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga", ".aiff",
    ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".avr", ".paf", ".pvf", ".svx", ".8svx", ".iff",
    ".sf", ".ircam", *ffmpeg.SUFFIXES,
)  # fmt: skip
_SHOWN = 5
_LONGEST_NAME = 200
"""Bytes; file systems take 255, and an ending and a number follow."""


class PairingError(ValueError):
    """Folders and captions that do not match; the text names the files."""


def clip_name(name: str) -> str:
    """Name of a clip out of a cell that may hold a file's: no folder, no audio ending, in normal form."""
    text = normal(name.strip())
    path = PureWindowsPath(text)  # It takes both kinds of slashes.
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else text


def normal(name: str) -> str:
    """The name in NFC: file systems and spreadsheets write an accent as one character or as two, and mean the same."""
    return unicodedata.normalize("NFC", name)


def title_of(folder: Path, other: Path | None = None) -> str:
    """Last part of a folder's path; as many parts as tell it from another folder that is not the same."""
    parts, others = _absolute(folder).parts, _absolute(other or folder).parts
    count = 1
    while parts != others and parts[-count:] == others[-count:]:
        count += 1
    return "/".join(parts[-count:])


def file_name_of(folder: Path) -> str:
    """A folder's path as one file name: relative to the working directory where it lies in it."""
    path, here = _absolute(folder), Path.cwd()
    parts = path.relative_to(here).parts if path.is_relative_to(here) and path != here else path.parts[1:]
    name = "_".join(parts) or "root"
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{digest}_{os.fsencode(name)[-_LONGEST_NAME + 9 :].decode(errors='ignore')}"


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))


def some(names: list[str]) -> str:
    """The first five names, and how many more there are; what cannot be seen in a name is written out."""
    shown = ", ".join(_visible(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def counted(number: int, what: str) -> str:
    """The number with its noun: "1 clip", "2 clips"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _visible(name: str) -> str:
    plain = name.isprintable() and name == name.strip() and unicodedata.normalize("NFKC", name) == name
    return name if plain else ascii(name)
