"""Files that appear whole or not at all, and the hash of one. `experiments` writes its own with the same functions."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, shared: bool = False) -> Iterator[BinaryIO]:
    """A file to write under a temporary name beside ``path``: it takes that name once on disk, or goes on an error.

    Unlike those of ``tempfile``, which its owner alone may read, it has the mode that the umask gives.

    Args:
        path: its folder is made where there is none.
        shared: other processes may write the same file at the same time, so the temporary name is this call's alone.
            Else it depends on the path alone: what a killed process leaves, the next writing overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{f'.{secrets.token_hex(4)}' if shared else ''}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, shared: bool = False) -> None:
    """Write a file of which a reader finds the old content or the new one, never a part; text as UTF-8."""
    with whole_file(path, shared) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def sha256_file(path: Path) -> str:
    """sha256 of a file's content, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
