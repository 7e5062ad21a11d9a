"""One table as GitHub markdown, as html, and as csv with one column per number; as LaTeX in latex."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape

from experiments.tables.escaping import markdown_cell, one_line, plain_line, safe_cell

MISSING = "–"
MOST_DECIMALS = 8


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, nan where there is none.

    `best` prints it bold, `mark` stands behind it, `sign` prints a plus; `p` is its p-value, in the csv only, and
    `degrees` are the degrees of freedom of the t interval that it belongs to.
    """

    value: float
    low: float
    high: float
    best: bool = False
    mark: str = ""
    sign: bool = False
    p: float | None = None
    degrees: int | None = None


Cell = str | float | Estimate | None
OF_TIMES = (
    "Ratios of times: geometric mean with Student's 95% interval, over the starts that timed a length, "
    "over the rounds of a single start (another may differ by more) or over clips."
)
NO_INTERVAL = "A ratio without an interval is of a single round, or of the baseline to itself."


def interval_cell(found: tuple[float, float, float] | None) -> Estimate | None:
    """(mean, low, high) as a cell."""
    return None if found is None else Estimate(*found)


def rounded(value: float | None) -> float | None:
    """To four digits; what is missing stays so."""
    return None if value is None else float(f"{value:.4g}")


def ratio_notes(cells: Iterable[Cell]) -> list[str]:
    """What ratios of times need said under their table."""
    found = [cell for cell in cells if isinstance(cell, Estimate)]
    notes = [OF_TIMES] if any(not math.isnan(cell.low) for cell in found) else []
    return [*notes, *([NO_INTERVAL] if any(math.isnan(cell.low) for cell in found) else [])]


@dataclass(frozen=True)
class ResultTable:
    """A table before it takes a format.

    Attributes:
        name: the file's stem. title: one line for readers.
        keys: column names for csv, as many as `header`. A missing cell is None.
        notes: lines printed under the table (what the numbers are, and what they cannot say).
        max_decimals: of an estimate in markdown and LaTeX.
        own_decimals: every row takes its own, for a table whose rows are of different quantities.
    """

    name: str
    title: str
    header: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)
    max_decimals: int = 4
    own_decimals: bool = False


def to_markdown(table: ResultTable) -> str:
    """The table with its title and notes as GitHub markdown."""
    rows = [
        [plain_cell(cell, d, "**", "**") for cell, d in zip(row, digits, strict=True)]
        for row, digits in zip(table.rows, digits_of(table), strict=True)
    ]
    notes = "".join(f"\n{plain_line(note)}\n" for note in table.notes)
    return f"**{plain_line(table.title)}**\n\n{markdown_table(table.header, rows)}{notes}"


def to_markdown_together(tables: Sequence[ResultTable]) -> str:
    """Tables one after the other as GitHub markdown; a note of more than one of them stands once, above, by number."""
    counts = Counter(note for table in tables for note in dict.fromkeys(table.notes))
    shared = [note for note, count in counts.items() if count > 1]
    listed = "".join(f"{number}. {plain_line(note)}\n" for number, note in enumerate(shared, 1))
    parts = [f"Notes of more than one table, named under it by number:\n\n{listed}"] if shared else []
    for table in tables:
        numbers = [str(number) for number, note in enumerate(shared, 1) if note in table.notes]
        named = [f"Notes: {', '.join(numbers)}."] if numbers else []
        parts.append(to_markdown(replace(table, notes=[*(n for n in table.notes if n not in shared), *named])))
    return "\n".join(parts)


def to_html(table: ResultTable) -> str:
    """The table with its title and notes as html; nothing of it is read as markup."""
    rows = [
        "".join(_html_cell(cell, d) for cell, d in zip(row, digits, strict=True))
        for row, digits in zip(table.rows, digits_of(table), strict=True)
    ]
    head = "".join(f"<th>{escape(one_line(text))}</th>" for text in table.header)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<p>{escape(one_line(note))}</p>" for note in table.notes)
    title = f"<h3>{escape(one_line(table.title))}</h3>"
    return f"<section>{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}</section>"


def _html_cell(cell: Cell, digits: int) -> str:
    text = escape(one_line(plain_cell(cell, digits, "", "")))
    return f"<td><b>{text}</b></td>" if isinstance(cell, Estimate) and cell.best else f"<td>{text}</td>"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub markdown table with padded columns; cell text is escaped."""
    cells = [[markdown_cell(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[i]) for row in cells), 3) if cells else len(column)
        for i, column in enumerate(header)
    ]
    lines = [header, ["-" * width for width in widths], *cells]
    return (
        "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        )
        + "\n"
    )


def to_csv(table: ResultTable) -> str:
    """The table as csv, full precision, empty where nothing was measured.

    Three columns per estimate, and a fourth with the p-values where there are any.
    """
    suffixes = [_csv_suffixes(column) for column in _columns(table)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    pairs = list(zip(table.keys, suffixes, strict=True))
    writer.writerow([f"{key}{suffix}" for key, ends in pairs for suffix in ends])
    for row in table.rows:
        writer.writerow([v for cell, ends in zip(row, suffixes, strict=True) for v in _csv_cells(cell, len(ends))])
    return out.getvalue()


def _csv_suffixes(column: Sequence[Cell]) -> tuple[str, ...]:
    estimates = [cell for cell in column if isinstance(cell, Estimate)]
    if not estimates:
        return ("",)
    has_p = any(cell.p is not None for cell in estimates)
    return ("", "_low", "_high", *(("_p",) if has_p else ()))


def _csv_cells(cell: Cell, width: int) -> list[str | float]:
    if isinstance(cell, Estimate):
        values: list[str | float] = [cell.value, cell.low, cell.high, math.nan if cell.p is None else cell.p]
        return values[:width]
    if cell is None:
        return [""] * width
    return [safe_cell(cell) if isinstance(cell, str) else cell]


def plain_cell(cell: Cell, digits: int, bold_on: str, bold_off: str) -> str:
    """A cell as text: its number with so many digits, its interval in brackets."""
    if cell is None:
        return MISSING
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Estimate):
        return f"{cell:g}"
    number = f"{cell.value:{'+' if cell.sign else ''}.{digits}f}"
    value = f"{bold_on}{number}{bold_off}" if cell.best else number
    if math.isnan(cell.low):
        return value
    return f"{value} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" + (f" {cell.mark}" if cell.mark else "")


def decimals(cells: Sequence[Cell], most: int = 4) -> int:
    """Decimals for a column: two digits of its narrowest interval, between 0 and `most`; 2 where there is none."""
    halves = [(cell.high - cell.low) / 2 for cell in cells if isinstance(cell, Estimate)]
    widths = [half for half in halves if half > 0 and math.isfinite(half)]
    return min(2, most) if not widths else _at(min(widths), 2, most)


def _at(value: float, digits: int, most: int) -> int:
    """Decimals that show so many digits of a number above 0."""
    return min(max(digits - 1 - math.floor(math.log10(value)), 0), most)


def digits_of(table: ResultTable) -> list[list[int]]:
    """Decimals of every cell, row by row."""
    if table.own_decimals:
        return [[_own_decimals(cell, table.max_decimals) for cell in row] for row in table.rows]
    columns = [decimals(column, table.max_decimals) for column in _columns(table)]
    return [[_decimals_beside(cell, d) for cell, d in zip(row, columns, strict=True)] for row in table.rows]


def _decimals_beside(cell: Cell, column: int) -> int:
    """Its column's for a cell with an interval; three significant digits for one without."""
    return _own_decimals(cell, MOST_DECIMALS) if isinstance(cell, Estimate) and math.isnan(cell.low) else column


def _own_decimals(cell: Cell, most: int) -> int:
    """Of a cell alone: as a column of its own, and three digits of a value without an interval."""
    if isinstance(cell, Estimate) and math.isnan(cell.low) and cell.value and math.isfinite(cell.value):
        return _at(abs(cell.value), 3, most)
    return decimals([cell], most)


def _columns(table: ResultTable) -> list[list[Cell]]:
    return [[row[i] for row in table.rows] for i in range(len(table.header))]
