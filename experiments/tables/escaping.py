"""Text that shows as it stands in markdown, csv and LaTeX: a label or a caption is never read as markup or formula."""

import re
import unicodedata

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # After the end of a row these would be its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "∞": r"$\infty$",
}

INPUTENC = "‘’“”—…•ŒœŠšŽžŁłČčĘęĄąĆćŃńŚśŹźŻżĞğİıŐőŰűŘřŤťŮůĎďĚě"
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
GREEK_CAPITALS = ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega")


def markdown_cell(cell: str) -> str:
    """Keep a cell in its cell: no pipe, no line break, no html, no picture to fetch."""
    return plain_line(cell).replace("|", "\\|")


def plain_line(text: str) -> str:
    """One line of markdown that holds no html and fetches no picture."""
    flat = one_line(text).replace("\\", "\\\\")
    return flat.replace("![", "\\![").replace("<", "&lt;")


def printable(text: str) -> str:
    """Text without characters that act instead of showing: controls, escapes, halves of a surrogate pair."""
    return "".join(c if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """Printable text on one line, its runs of spaces as one."""
    return " ".join(printable(text).split())


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def latex_escape(text: str) -> str:
    """One line of text that LaTeX prints as it stands."""
    return "".join(LATEX.get(character) or _latex_character(character) for character in one_line(text))


def _latex_character(character: str) -> str:
    """A character that every pdflatex knows as it is; a Greek letter by its name; of others the code point.

    XeTeX and LuaTeX, which know the primitive asked for, print the others themselves.
    """
    if character in INPUTENC or ord(character) < 0x100:
        return character
    name = unicodedata.name(character, "")
    if found := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name):
        letter = found[2].lower().replace("lamda", "lambda")
        if letter in GREEK:
            capital = found[1] == "CAPITAL"
            if not capital or letter in GREEK_CAPITALS:
                return rf"$\{letter.capitalize() if capital else letter}$"
    return rf"\ifdefined\Umathchardef {character}\else{{[}}U+{ord(character):04X}{{]}}\fi\allowbreak{{}}"
