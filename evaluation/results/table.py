"""Results as text for a terminal of 80 columns."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from evaluation.files.names import AUDIO_SUFFIXES, some
from evaluation.results.interval_floors import REFUSED, floor_of
from evaluation.results.result import WHOLE, Evaluation, MetricResult, many_failed

WIDTH = 80
_NAME_WIDTH = 23
_SHOWN_FAILURES = 10
_ARROWS = {True: "↑", False: "↓", None: " "}
# "reference /a/b.wav: holds no samples": what failed, and the reason.
_FAILED_FILE = re.compile(f"(.*(?:{'|'.join(map(re.escape, AUDIO_SUFFIXES))})): (.*)", re.DOTALL | re.IGNORECASE)


def table(found: Evaluation) -> str:
    """Headlines and drifts, floors, differences, what was not computed and what failed."""
    lines = [found.name, *(f"preset {row.preset}, version {row.preset_version}" for row in found.results[:1])]
    lines += [f"{'metric':<{_NAME_WIDTH}}{_columns('value', '95 % interval', 'n', 'failed', 'refs')}"]
    lines += [line(result) for result in found.results if _is_shown(result)]
    if found.floors:
        lines += ["floors", *(line(result) for result in found.floors)]
    if found.differences:
        lines += [f"minus {found.differences[0].baseline}", *(line(r) for r in found.differences if _is_shown(r))]
    notes = [f"not computed: {metric} ({reason})" for metric, reason in found.not_computed.items()]
    windows = found.provenance.get("windows")
    if isinstance(windows, Sequence):
        fewest, most = windows
        notes.append(f"clips have {fewest} to {most} windows: distances between sets take the first {fewest} of each")
    if not_audio := found.pairing.get("not_audio"):
        notes.append(f"not taken: {len(not_audio)} without an audio ending: {some(not_audio)}")
    notes += _small_sets(found)
    if any(_few(row) and not math.isnan(row.low) for row in (*found.results, *found.differences) if _is_shown(row)):
        notes.append(REFUSED)
    notes += [f"warning: {warning}" for warning in _many_failed(found)]
    others = failures_by_reason(found.failed_references, "failed references")
    # A reference that failed stands with the folder's own failures.
    of_baseline = {clip: why for clip, why in found.baseline_failures.items() if found.failures.get(clip) != why}
    others += failures_by_reason(of_baseline, "failed in the baseline")
    wrapped = [text for note in notes for text in _wrap(note)]
    return "\n".join([*lines, *wrapped, *failures_by_reason(found.failures), *others])


def line(result: MetricResult) -> str:
    """One result on one line, or on two where its name is long; without its interval where that covers too seldom."""
    interval = "" if math.isnan(result.low) or _few(result) else f"[{result.low:.4g}, {result.high:.4g}]"
    name = f"{result.metric.removeprefix('floor_')} {_ARROWS[result.higher_is_better]}"
    references = "" if result.n_references is None else result.n_references
    numbers = _columns(f"{result.value:.5g}", interval, result.n_scored, result.n_failed, references)
    return f"{name:<{_NAME_WIDTH}}{numbers}" if len(name) < _NAME_WIDTH else f"{name}\n{'':{_NAME_WIDTH}}{numbers}"


def _few(result: MetricResult) -> bool:
    """Whether there are fewer clips than an interval of this kind takes; the json and csv have it all the same."""
    prompts = result.details.get("units", result.n_scored)
    return not floor_of(result.metric, result.baseline).reached(prompts, result.n_scored)


def failures_by_reason(failures: Mapping[str, str], title: str = "failed") -> list[str]:
    """What failed, counted by reason, the first ten of each named; reasons that differ in numbers only are one."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for clip, text in failures.items():
        match = _FAILED_FILE.fullmatch(text)
        what, reason = (match[1], match[2]) if match else (clip, text)
        groups.setdefault(re.sub(r"[0-9.]+", "#", reason), []).append((what, reason))
    lines: list[str] = []
    for members in groups.values():
        more = len(members) - _SHOWN_FAILURES
        lines += _wrap(f"{title}: {len(members)}: {members[0][1]}")
        lines += [f"  {what}" for what, _ in members[:_SHOWN_FAILURES]] + ([f"  and {more} more"] if more > 0 else [])
    return lines


def _small_sets(found: Evaluation) -> list[str]:
    """Fréchet distances of no more rows than dimensions: allowed, as in published tables, but mostly bias."""
    small = [
        r for r in found.results if r.window == WHOLE and r.details.get("rows", 1) <= r.details.get("dimension", 0)
    ]
    return [
        f"{row.metric}: {row.details['rows']} rows of {row.details['dimension']} dimensions: mostly the bias of a small"
        " N, to be compared at equal N only"
        for row in small
        if not row.metric.endswith(("_drift", "_slope"))
    ]


def _many_failed(found: Evaluation) -> list[str]:
    clips = [result.n_scored for result in found.results if result.unit != "caption"]
    references = [result.n_references for result in found.results if result.n_references is not None]
    warnings = [
        many_failed(len(lost), len(lost) + max(scored, default=0), what)
        for lost, scored, what in (
            (found.failures, clips, "clips"),
            (found.failed_references, references, "references"),
        )
    ]
    return [warning for warning in warnings if warning is not None]


def _columns(value: str, interval: str, *counts: object) -> str:
    n, failed, references = counts
    return f"{value:>11}  {interval:<24}{n:>6}{failed:>7}{references:>7}".rstrip()


def _wrap(text: str) -> Iterable[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _is_shown(result: MetricResult) -> bool:
    """Curves and slopes are for the files; the terminal shows headline and drift."""
    return result.window == WHOLE and not result.metric.endswith("_slope")
