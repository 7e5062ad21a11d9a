"""Do metrics rank methods alike? Rank correlation over the folders that ``out=`` left a record of.

python -m evaluation reference=REF generated=METHOD metrics=fad,kad_on_ast,kad_on_clap out=RESULTS   for every method
python -m evaluation agreement=RESULTS

No single network judges everything well: a ranking that several agree on is worth more than any one number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import kendalltau, spearmanr

from evaluation.results.result import WHOLE

FEWEST_METHODS = 3
_SAME = ("preset", "preset_version", "protocol", "references")


class Agreement(NamedTuple):
    """How alike two metrics rank the methods; 1 is the same order from better to worse, -1 the reverse."""

    first: str
    second: str
    spearman: float
    """Rank correlation; nan where a metric gives all methods the same."""
    kendall: float
    """Kendall's tau-b: share of pairs in the same order minus share in the other."""
    n_methods: int


def rank_agreement(
    values: Mapping[str, Mapping[str, float]], higher_is_better: Mapping[str, bool | None]
) -> list[Agreement]:
    """Agreement of every two metrics over the methods that have both.

    Args:
        values: metric to method to value.
        higher_is_better: metric to its direction; one without a direction counts as if higher were better.

    Raises:
        ValueError: fewer than two metrics, or two of them share fewer than three methods.
    """
    if len(values) < 2:
        raise ValueError(f"agreement is between metrics; got {', '.join(values) or 'none'}: compute at least two")
    found = []
    for first, second in itertools.combinations(values, 2):
        methods = [method for method in values[first] if method in values[second]]
        if len(methods) < FEWEST_METHODS:
            raise ValueError(
                f"{first} and {second} share {len(methods)} methods; a ranking takes at least {FEWEST_METHODS}"
            )
        one, two = (
            [values[metric][method] * (-1 if higher_is_better.get(metric) is False else 1) for method in methods]
            for metric in (first, second)
        )
        constant = len(set(one)) == 1 or len(set(two)) == 1
        spearman, kendall = (
            (float("nan"),) * 2
            if constant
            else (float(spearmanr(one, two).statistic), float(kendalltau(one, two).statistic))
        )
        found.append(Agreement(first, second, spearman, kendall, len(methods)))
    return found


def agreement_of_records(paths: Sequence[Path]) -> list[Agreement]:
    """Agreement over json files of ``Evaluation.write``, one for each method.

    Raises:
        ValueError: a file is no such record, one folder stands twice, or their protocols or references differ.
        FileNotFoundError: a file is not there.
    """
    records = {path: _read(path) for path in paths}
    values: dict[str, dict[str, float]] = {}
    directions: dict[str, bool | None] = {}
    methods: dict[str, Path] = {}
    for path, record in records.items():
        method = record["folders"]["generated"]
        if method in methods:
            raise ValueError(f"{path} and {methods[method]} are both of {method}; keep one")
        methods[method] = path
        first = next(iter(records))
        expected = records[first]["provenance"]
        if differing := [key for key in _SAME if record["provenance"].get(key) != expected.get(key)]:
            raise ValueError(f"{first} and {path} differ in {differing[0]}; score all methods alike")
        for row in record["results"]:
            if row["window"] == WHOLE and row["value"] is not None and row["higher_is_better"] is not None:
                values.setdefault(row["metric"], {})[method] = row["value"]
                directions[row["metric"]] = row["higher_is_better"]
    judged = {metric: of_methods for metric, of_methods in values.items() if not metric.startswith("text_collapse")}
    return rank_agreement(judged, directions)


def agreement_table(found: Sequence[Agreement]) -> str:
    """The agreements, lowest first, for a terminal."""
    lines = [f"{'metrics':<54}{'Spearman':>9}{'Kendall':>9}{'methods':>8}"]
    for row in sorted(found, key=lambda row: row.spearman):
        names = f"{row.first}, {row.second}"
        lines += [names] if len(names) >= 54 else []
        lines.append(
            f"{'' if len(names) >= 54 else names:<54}{row.spearman:>9.2f}{row.kendall:>9.2f}{row.n_methods:>8}"
        )
    return "\n".join(lines)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such record; out=DIR writes them")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        lists = all(map(_is_row, record["results"])) and isinstance(record["provenance"], dict)
        named = isinstance(record["folders"]["generated"], str)
    except (ValueError, TypeError, KeyError, RecursionError):
        lists = named = False
    if not (lists and named):
        raise ValueError(f"{path}: no record of python -m evaluation out=DIR; give the json files that it wrote")
    return record


def _is_row(row: Any) -> bool:
    """Whether a result has what a ranking reads."""
    return (
        isinstance(row["metric"], str)
        and isinstance(row["window"], int)
        and isinstance(row["value"], float | int | None)
        and isinstance(row["higher_is_better"], bool | None)
    )
