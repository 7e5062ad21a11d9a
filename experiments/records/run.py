"""A run as its tables, figures and pages read it: its records read once, filtered once."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from experiments.records import ProbeRunRecord, Record, RunRecord, StartRecord, TimingRecord, of_kind, read_records
from experiments.records.completeness import check_complete
from experiments.records.current import Asked, Key, current, left_out, newest_conditions
from experiments.records.provenance import method_labels, methods_of, quality_notes, settings_line

R = TypeVar("R")


class Run:
    """The records of a run folder and what follows from them.

    Args:
        records: all of them, in the order of the starts. folder: where the run's files lie.
    """

    def __init__(self, records: Sequence[Record], folder: Path = Path()) -> None:
        self.records = list(records)
        self.folder = folder

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """The run of a folder; a folder without records gives one without.

        Raises:
            ValueError: as `check_complete`. Errors of `read_records` pass through.
        """
        records = read_records(folder)
        check_complete(records, folder)
        return cls(records, folder)

    def of_kind(self, cls: type[R]) -> list[R]:
        """All records of one type, in order."""
        return of_kind(self.records, cls)

    def current_of(self, cls: type[R]) -> list[R]:
        """Those of one type that the tables show."""
        return of_kind(self.current, cls)

    @cached_property
    def current(self) -> list[Record]:
        """What the tables show: see `records.current.current`."""
        return current(self.records)

    @cached_property
    def timings(self) -> dict[float, list[TimingRecord]]:
        """Length -> the timings that the tables show, oldest first: see `records.timings`."""
        found: dict[float, list[TimingRecord]] = {}
        for timing in sorted(self.current_of(TimingRecord), key=lambda timing: timing.duration_s):
            found.setdefault(timing.duration_s, []).append(timing)
        return found

    @cached_property
    def runs(self) -> list[RunRecord]:
        """The starts that asked for clips or timings, oldest first."""
        return self.of_kind(RunRecord)

    @cached_property
    def starts(self) -> list[StartRecord]:
        """The same, or where there are none, those of a probe."""
        return [*self.runs] or [*self.of_kind(ProbeRunRecord)]

    @cached_property
    def asked(self) -> dict[Key, Asked]:
        """(length, method) -> the condition that the newest start asked for."""
        return newest_conditions(self.records)

    @cached_property
    def left_out(self) -> dict[Key, str]:
        """(length, method) -> which clips of earlier settings are not in its row, in words."""
        return left_out(self.records)

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Method name -> its configuration, the newest."""
        return {node["name"]: node for run in self.runs for node in methods_of(run)}

    @cached_property
    def labels(self) -> dict[str, str]:
        """Method name -> the label that readers see."""
        return method_labels(self.runs)

    @property
    def baseline(self) -> str:
        """The method that the newest start sets the others against; empty where its record does not say."""
        return str(self.runs[-1].config.get("timing", {}).get("baseline", "")) if self.runs else ""

    def settings(self, preset: str = "") -> str:
        """One line: the settings of what the tables show."""
        return settings_line(self.current, preset)

    def quality_notes(self, preset: str = "") -> list[str]:
        """The lines that stand beside every table and figure of quality; none where no start is recorded."""
        return [self.settings(preset), *quality_notes(self.runs)] if self.runs else []
