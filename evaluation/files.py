"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name beside ``target``; it takes that name at the end, or goes on an error.

    Unlike those of ``tempfile``, which its owner alone may read, it has the mode that the umask gives.
    """
    temporary = target.with_name(f".{target.stem}_{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
