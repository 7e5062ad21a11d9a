"""Scores of single clips from a csv with the columns clip, metric, higher_is_better and value.

The listening page leaves one beside it (``listen_scores.csv``); a clip is named by its path in the run folder, as in
votes, and higher_is_better is true, false or, where a metric has no better direction, empty.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("clip", "metric", "higher_is_better", "value")
_DIRECTIONS = {"true": True, "false": False, "": None}


class ClipScores(NamedTuple):
    """One metric on many clips."""

    higher_is_better: bool | None
    values: dict[str, float]
    """Clip to value."""


def read_scores(path: Path) -> dict[str, ClipScores]:
    """Metric to its scores.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another header, or a row that does not fit it, with its line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file of scores; the listening page writes listen_scores.csv beside it"
        )
    found: dict[str, ClipScores] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            if tuple(next(rows, ())) != COLUMNS:
                raise ValueError(f"the first line is not {','.join(COLUMNS)}")
            for row in rows:
                _add(found, row)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
    return found


def _add(found: dict[str, ClipScores], row: list[str]) -> None:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} fields; give {', '.join(COLUMNS)}")
    clip, metric, better, text = row
    if not metric.isprintable() or not metric:
        raise ValueError(f"metric {ascii(metric)[:40]}; give a name")
    if better not in _DIRECTIONS:
        raise ValueError(f"higher_is_better is {ascii(better)[:40]}; accepted are true, false or nothing")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"value is {ascii(text)[:40]}; give a number, or leave the row out")
    scores = found.setdefault(metric, ClipScores(_DIRECTIONS[better], {}))
    if scores.higher_is_better is not _DIRECTIONS[better]:
        raise ValueError(f"{metric} has another direction than above")
    if clip in scores.values:
        raise ValueError(f"a second {metric} of {ascii(clip)[:80]}")
    scores.values[clip] = value
