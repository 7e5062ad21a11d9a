"""Fonts for text that the default one lacks, captions in Japanese for example: found on this machine, or said."""

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

logger = logging.getLogger(__name__)

# Not pictures of their characters: boxes for everything, colour bitmaps, fonts of formulas with codes of their own.
NO_TEXT = re.compile(r"last ?resort|emoji|/cm\w{2,3}10|stix", re.IGNORECASE)


def with_fonts(figure: Figure) -> None:
    """Give a figure's texts the fonts that show all of their characters, and log a line for those that none shows."""
    default = font_manager.findfont(font_manager.FontProperties())
    lacking = frozenset(_characters(figure) - characters_of(default))
    if not lacking:
        return
    found, missing = fonts_for(lacking)
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *found])
    if missing:
        logger.warning(
            "no font here shows %s in figures; install one that does (Debian: apt-get install fonts-noto-cjk)",
            "".join(sorted(missing))[:40],
        )


@contextmanager
def without_boxes(figure: Figure) -> Iterator[None]:
    """Inside, characters that no font of this machine shows are counted in brackets instead of drawn as boxes."""
    default = font_manager.findfont(font_manager.FontProperties())
    _, missing = fonts_for(frozenset(_characters(figure) - characters_of(default)))
    before = {text: text.get_text() for text in figure.findobj(Text)}
    for text, told in before.items():
        text.set_text(_counted(told, missing))
    yield
    for text, told in before.items():
        text.set_text(told)


def _counted(text: str, missing: Collection[str]) -> str:
    if not missing:
        return text
    runs = f"[{re.escape(''.join(missing))}]+"
    return re.sub(runs, lambda run: f"[{len(run[0])} character{'s' * (len(run[0]) > 1)} without a font]", text)


def _characters(figure: Figure) -> set[str]:
    return {c for text in figure.findobj(Text) for c in text.get_text() if not c.isspace()}


@cache
def characters_of(path: str) -> frozenset[str]:
    """What a font file can show; nothing if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


@cache
def fonts_for(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Families of installed fonts that together show the most of some characters, and what is left without one."""
    families, left = [], set(characters)
    paths = sorted(path for path in font_manager.findSystemFonts() if not NO_TEXT.search(path)) if left else []
    while left and (best := max(paths, key=lambda path: _fitness(path, left), default=None)):
        if not characters_of(best) & left:
            break
        left -= characters_of(best)
        font_manager.fontManager.addfont(best)
        families.append(font_manager.FontProperties(fname=best).get_name())
    return families, frozenset(left)


def _fitness(path: str, wanted: Collection[str]) -> tuple[int, bool, bool]:
    name = Path(path).name.lower()
    return len(characters_of(path).intersection(wanted)), "sans" in name, "regular" in name
