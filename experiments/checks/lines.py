"""The table of a check: a mark, what was looked at, what was found. One failing line never hides the later ones."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from experiments.system.cli import describe_error

logger = logging.getLogger(__name__)

OK, NOTE, FAIL = "ok", "--", "FAIL"


class Line(NamedTuple):
    """One line.

    Attributes:
        mark: "ok"; "--" for what was not looked at, or is to know; "FAIL" for what would stop the run.
        subject: what was looked at.
        text: what was found.
    """

    mark: str
    subject: str
    text: str


def guarded(subject: str, look: Callable[[], str | Line | Iterable[Line]]) -> list[Line]:
    """The lines of one look; an error, of whatever kind, is its last and failing line."""
    lines: list[Line] = []
    try:
        found = look()
        if isinstance(found, str):
            found = Line(OK, subject, found)
        lines.extend([found] if isinstance(found, Line) else found)
    except Exception as error:
        logger.debug("%s", subject, exc_info=True)
        lines.append(Line(FAIL, subject, describe_error(error)))
    return lines


def render(lines: Sequence[Line]) -> str:
    """The table as text, one line each."""
    width = max((len(line.subject) for line in lines), default=0)
    return "\n".join(f"{line.mark:<4}  {line.subject:<{width}}  {' '.join(line.text.split())}" for line in lines)


def failures(lines: Iterable[Line]) -> int:
    """How many lines would stop the run."""
    return sum(line.mark == FAIL for line in lines)
