"""What a scoring run says: records with interval, N and failures, and how they are written and shown."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from evaluation.files.names import file_name_of
from evaluation.files.whole import write_whole

# Endings and beginning of derived names, which no metric may take.
DRIFT, SLOPE, FLOOR = "_drift", "_slope", "floor_"
WHOLE = -1
FAILED_SHARE = 0.05


@dataclass(frozen=True)
class MetricResult:
    """One number with everything needed to read it.

    Attributes:
        metric: name, such as "fad", "kl_drift" or "floor_fad_halves".
        preset: the protocol that produced it.
        preset_version: its version.
        value: the estimate.
        low, high: 95 % confidence interval; nan for one unit, for a mean whose units are all equal, and where none is
            computed (floors, the collapse check). That of FAD, FD and KAD is conditional on the references. How often
            it covers by number of units: ``results/coverage``.
        n_scored: clips behind the value.
        n_failed: clips that were asked for and have no number; of floors, references.
        n_references: references behind the value; None where it needs none, and for floors, which are references.
        unit: what the interval resamples.
        higher_is_better: None where a metric has no better direction.
        window: window index, or -1 for the headline over all windows.
        baseline: name of what the value is a paired difference against; empty for a plain value.
        details: embedder identities, bandwidth, p-value and the like.
    """

    metric: str
    preset: str
    value: float
    low: float
    high: float
    n_scored: int
    n_failed: int
    unit: str = "clip"
    higher_is_better: bool | None = None
    window: int = WHOLE
    baseline: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    n_references: int | None = None
    preset_version: int = 1


def stamped(results: Iterable[MetricResult], version: int) -> list[MetricResult]:
    """The results with the version of their preset."""
    return [replace(result, preset_version=version) for result in results]


def many_failed(n_failed: int, n_asked: int, what: str = "clips") -> str | None:
    """The warning that belongs to more than 5 % of failed clips or references, or None."""
    if n_failed <= FAILED_SHARE * n_asked:
        return None
    return (
        f"{n_failed} of {n_asked} {what} failed ({n_failed / n_asked:.0%}): the values hold for the others only, and"
        " distances between sets depend on N"
    )


@dataclass(frozen=True)
class Evaluation:
    """Everything one call of ``evaluate`` found.

    Attributes:
        name: of the generated set.
        results: headline values, then drift, slope and the curve over windows.
        floors: the same metrics where the truth is known or nothing was generated, to read the results against.
        differences: paired differences against the baseline folder, if there is one.
        per_clip: clip id to metric to value, for metrics that exist for one clip.
        failures: clip id to reason.
        not_computed: metric to reason, for metrics of the preset that the inputs do not allow.
        pairing: the pairing report.
        provenance: versions, embedders, preprocessing, content hashes.
        failed_references: name to reason, where the sets are not paired.
        folders: absolute paths of "generated", "reference", "baseline" and the "captions" file; None if not given.
        baseline_failures: clip id to reason, of the baseline folder's clips.
    """

    name: str
    results: tuple[MetricResult, ...]
    floors: tuple[MetricResult, ...]
    differences: tuple[MetricResult, ...]
    per_clip: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, str]
    not_computed: Mapping[str, str]
    pairing: Mapping[str, list[str]]
    provenance: Mapping[str, Any]
    failed_references: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str | None] = field(default_factory=dict)
    baseline_failures: Mapping[str, str] = field(default_factory=dict)

    def value(self, metric: str, window: int = WHOLE) -> float:
        """Value of one plain result. KeyError if it was not computed."""
        for result in self.results:
            if result.metric == metric and result.window == window:
                return result.value
        raise KeyError(f"{metric} (window {window}) was not computed")

    def table(self) -> str:
        """Terminal table: arrows point to better; floors and differences follow. Curves and slopes are in the files."""
        from evaluation.results.table import table

        return table(self)

    def to_json(self) -> str:
        """JSON text; undefined numbers are null."""
        return json.dumps(_plain(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """One row per number: results, floors and differences."""
        columns = ["kind", *(f.name for f in fields(MetricResult))]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for kind, rows in (("result", self.results), ("floor", self.floors), ("difference", self.differences)):
            for row in rows:
                details = json.dumps(_plain(row.details), sort_keys=True)
                writer.writerow({"kind": kind, **asdict(row), "details": details})
        return text.getvalue()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write a json and a csv file, both whole or none, named after the generated folder's path.

        Nothing is overwritten: from the second time on "-2", "-3" and so on follow the name. What a name holds that is
        not UTF-8 is written as a backslash, u and its code, which json reads back.

        Raises:
            OSError: names the folder (no folder, not allowed, a full disk).
        """
        base = file_name_of(Path(self.folders.get("generated") or self.name))
        texts = self.to_json(), self.to_csv()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = _claimed(folder, base)
            try:
                for path, text in zip(paths, texts, strict=True):
                    write_whole(path, text.encode("utf-8", "backslashreplace"), shared=True)
            except BaseException:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unwritable(folder, error) from error
        return paths


def check_writable(folder: Path) -> None:
    """Raise OSError, naming it, for a folder where no record could be written or that could not be made; makes none."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(f"{folder}: no record can be written there ({error.strerror or error}); give another folder")


def _claimed(folder: Path, base: str) -> tuple[Path, Path]:
    """The first pair of names that nobody has, taken by empty files, so that two runs at once do not share one."""
    for number in itertools.count(1):
        stem = base if number == 1 else f"{base}-{number}"
        paths = folder / f"{stem}.json", folder / f"{stem}.csv"
        if paths[1].exists():
            continue
        try:
            paths[0].open("x").close()
        except FileExistsError:
            continue
        return paths
    raise AssertionError("unreachable")


def _plain(value: Any) -> Any:
    """The value with nan and inf as None, tuples as lists, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
