"""Standard output of a program whose reader may leave early, as `| head` does, or may have no arrows."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

READER_GONE = 141  # what a shell gives for a program that SIGPIPE ended


@contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """Flush what was printed; end without a word where nobody reads it any more, which is no error of anybody's.

    What the output cannot show (an arrow on some terminals, a name that is not UTF-8) is escaped, not an error.

    Raises:
        SystemExit: with code 141, in place of BrokenPipeError.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where an error of it can be told, not as Python ends
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
