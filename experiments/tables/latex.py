r"""A table as LaTeX that fits a page of an article: cut by columns and rows, its notes below it. Needs only booktabs.

Widths are estimated: a digit of \footnotesize Computer Modern is 4.25 pt wide, and running text less. What is estimated
too wide goes to a further part, with the columns that name a row repeated; a long text breaks within its column.
"""

import re
from collections.abc import Iterator, Sequence

from experiments.tables.escaping import latex_escape
from experiments.tables.formats import MISSING, Cell, Estimate, ResultTable, digits_of, plain_cell

PT_PER_CHARACTER, PT_BETWEEN = 4.3, 6.0
MOST_ROWS = 40
WIDEST_TEXT = 0.33  # of a line; what is longer breaks within its column
WORDS = 14  # characters beyond which a heading is set on several lines
NAMING = ("run", "length (s)", "method")


def to_latex(table: ResultTable, environment: str = "table", width_pt: float = 345.0) -> str:
    """The table as one LaTeX float or several, each with the same title; all text is escaped.

    Args:
        environment: table, or table* for the width of both columns of a page.
        width_pt: of a line; 345 is an article's in 10 pt.
    """
    header, rows, notes = _with_numbered_notes(table)
    kept = [i for i in range(len(header)) if not rows or any(row[i] not in ("", "--") for row in rows)]
    kinds = [_kind([row[i] for row in rows], [row[i] for row in table.rows], width_pt) for i in range(len(header))]
    most = MOST_ROWS // (2 if any(len(kind) > 1 for kind in kinds) else 1)
    parts = [
        (columns, chunk)
        for chunk in [rows[i : i + most] for i in range(0, len(rows), most)] or [[]]
        for columns in _panels(header, rows, kept, kinds, width_pt)
    ]
    floats = []
    for number, (columns, chunk) in enumerate(parts, start=1):
        which = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        lines = [
            rf"\begin{{{environment}}}",
            r"\centering\footnotesize",
            r"\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{latex_escape(table.title)}{which}.}}",
            rf"\label{{tab:{table.name}{f'-{number}' if number > 1 else ''}}}",
            rf"\begin{{tabular}}{{{''.join(kinds[i] for i in columns)}}}",
            r"\toprule",
            " & ".join(_heading(header[i]) for i in columns) + r" \\",
            r"\midrule",
            *(" & ".join(row[i] for i in columns) + r" \\" for row in chunk),
            r"\bottomrule",
            r"\end{tabular}",
            *(_below(notes) if number == len(parts) else []),
            rf"\end{{{environment}}}",
        ]
        floats.append("\n".join(lines) + "\n")
    return "\n".join(floats)


def _with_numbered_notes(table: ResultTable) -> tuple[list[str], list[list[str]], list[str]]:
    """Heading, escaped cells and notes; the column of remarks becomes numbers that stand before the notes."""
    rows = [
        [_cell(cell, digits) for cell, digits in zip(row, decimals, strict=True)]
        for row, decimals in zip(table.rows, digits_of(table), strict=True)
    ]
    notes = [latex_escape(note) for note in table.notes]
    if "note" not in table.header:
        return list(table.header), rows, notes
    place = list(table.header).index("note")
    remarks = list(dict.fromkeys(row[place] for row in rows if row[place]))
    for row in rows:
        row[place] = f"({remarks.index(row[place]) + 1})" if row[place] else ""
    return list(table.header), rows, [*(f"({i}) {text}." for i, text in enumerate(remarks, start=1)), *notes]


def _panels(
    header: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], kinds: Sequence[str], width: float
) -> Iterator[list[int]]:
    """Columns side by side that are estimated to fit, each time after those that name a row."""
    naming = [i for i in kept if header[i] in NAMING]
    widths = {i: _width(header[i], [] if len(kinds[i]) > 1 else [row[i] for row in rows]) for i in kept}
    widths |= {i: WIDEST_TEXT * width + PT_BETWEEN for i in kept if len(kinds[i]) > 1}
    panel = list(naming)
    for i in kept:
        if i in naming:
            continue
        if len(panel) > len(naming) and sum(widths[j] for j in [*panel, i]) > width:
            yield panel
            panel = list(naming)
        panel.append(i)
    yield panel


def _kind(texts: Sequence[str], cells: Sequence[Cell], width: float) -> str:
    """How LaTeX sets a column: numbers to the right, texts to the left, long ones in a paragraph."""
    if not any(isinstance(cell, str) for cell in cells):
        return "r"
    return "l" if _width("", texts) <= WIDEST_TEXT * width else rf"p{{{WIDEST_TEXT * width:.0f}pt}}"


def _width(heading: str, cells: Sequence[str]) -> float:
    lines = [*_lines(heading), *cells]
    return PT_PER_CHARACTER * max(map(_shown, lines), default=0) + PT_BETWEEN


def _shown(text: str) -> int:
    """Characters that a reader sees of escaped text."""
    text = re.sub(r"\\ifdefined.*?\\fi\\allowbreak\{\}", "[U+0000]", text)
    for mark in (r"\textbf{", "{[}", "{]}", r"\textbackslash{}"):
        text = text.replace(mark, "x")
    for wide in ("$-$", "+"):
        text = text.replace(wide, "xx")
    return len(text)


def _lines(heading: str) -> list[str]:
    lines = [""]
    for word in heading.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > WORDS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _heading(text: str) -> str:
    lines = [latex_escape(line) for line in _lines(text)]
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r"\\".join(lines) + "}"


def _below(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    return [r"\par\smallskip", r"\parbox{\linewidth}{\scriptsize\raggedright " + " ".join(notes) + "}"]


def _cell(cell: Cell, digits: int) -> str:
    if isinstance(cell, str):
        return latex_escape(cell)
    return plain_cell(cell, digits, r"\textbf{", "}").replace(MISSING, "--").replace("-", "$-$", _negatives(cell))


def _negatives(cell: Cell) -> int:
    """How many minus signs a number's text holds, so that each is set as one."""
    parts = (cell.value, cell.low, cell.high) if isinstance(cell, Estimate) else (cell,)
    return sum(isinstance(part, float | int) and part < 0 for part in parts)
