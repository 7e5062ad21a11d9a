"""Quality by duration and method from metric records: values, paired differences, gaps with their reasons."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evaluation.files.names import counted
from evaluation.metric import Need
from evaluation.presets import PRESETS
from evaluation.results.interval_floors import floor_of
from evaluation.results.result import DRIFT, SLOPE
from evaluation.scoring.registry import METRICS, OWN
from experiments.records import ClipRecord, FailureRecord, MetricRecord
from experiments.records.current import asked_conditions, scored_apart
from experiments.records.run import Run
from experiments.system.alphabet import not_latin
from experiments.tables.intervals import LEVEL, Intervals, with_family
from experiments.tables.speed_rows import Ratio, speed_rows

ARROWS = {True: "↑", False: "↓", None: ""}
# What the main table and figures show, where it was scored; the table all_metrics holds the rest.
HEADLINE = tuple(name + suffix for suffix in ("", DRIFT) for name in OWN if suffix in METRICS[name].shown)
# kl_bernoulli is labelled KL Bernoulli, so kl_drift is KL drift.
WORDS = {
    word: label
    for name in OWN
    for word, label in zip(name.split("_"), METRICS[name].label.split(" "), strict=True)
}  # fmt: skip
# What a metric needs and a run can give: need -> (its name, the setting).
GIVEN: dict[Need, tuple[str, str]] = {
    "reference": ("reference audio", "data.references"),
    "labels": ("labels of these prompts", "metrics.labels"),
}
Differences = dict[tuple[float, str, str, str], MetricRecord]


class Mechanisms(NamedTuple):
    """Which of LiteFocus's parts are on, and the share of sampled keys (0 without compensation)."""

    same_frequency: bool
    cross_frequency: bool
    sparse_ratio: float


@dataclass(frozen=True)
class QualityRow:
    """One method at one duration.

    Attributes:
        mechanisms: what of LiteFocus is on; None for a method that is not a form of it.
        speedup: of a denoising step over the timing's baseline; None where it was not timed.
        metrics: metric -> its record. note: why something is missing.
    """

    duration_s: float
    method: str
    label: str
    mechanisms: Mechanisms | None
    speedup: Ratio | None
    metrics: dict[str, MetricRecord] = field(default_factory=dict)
    note: str = ""


def metric_label(metric: str, record: MetricRecord | None = None) -> str:
    """A metric's name for readers; that of a user's own metric, with its unit, from a record of it."""
    own = {} if record is None else record.details
    if "label" not in own:
        return " ".join(WORDS.get(word, word) for word in metric.split("_"))
    base = metric if record is None else record.metric.removesuffix(DRIFT).removesuffix(SLOPE)
    rest = metric.removeprefix(base).replace("_", " ")  # "_drift", "_(preset)"
    return f"{own['label']}{rest}" + (f" ({own['unit']})" if own.get("unit") else "")


def heading(metric: str, record: MetricRecord) -> str:
    """Label, unit and an arrow to the better side."""
    return f"{metric_label(metric, record)} {ARROWS[record.higher_is_better]}".strip()


def headline(metrics: Mapping[str, MetricRecord]) -> list[str]:
    """The metrics to show first: those of HEADLINE that were scored and a user's own, or all where there are none."""
    own = [m for m, record in metrics.items() if "label" in record.details and not m.endswith((DRIFT, SLOPE))]
    return [*(metric for metric in HEADLINE if metric in metrics), *own] or list(metrics)


def presets(run: Run) -> list[str]:
    """The presets that scored something, in order."""
    plain = [record for record in run.of_kind(MetricRecord) if not record.baseline and record.window < 0]
    return list(dict.fromkeys(record.preset for record in plain))


def left_out_notes(run: Run, preset: str) -> list[str]:
    """The preset's metrics that were not computed for want of something that can be given; none if they were chosen."""
    scored = {record.metric for record in run.current_of(MetricRecord) if record.preset == preset}
    configs = [start.config for start in run.runs]
    if preset not in PRESETS or any((config.get("metrics") or {}).get("metrics") for config in configs):
        return []
    references = any((config.get("data") or {}).get("references") for config in configs)
    missing = [METRICS[name] for name in PRESETS[preset].metrics if name not in scored]
    notes = []
    for need, (what, setting) in GIVEN.items():
        if need == "reference" and references:
            continue
        if lacking := [metric_label(metric.name) for metric in missing if need in metric.needs]:
            notes.append(f"Not computed without {what} ({setting}): {', '.join(lacking)}.")
            missing = [metric for metric in missing if need not in metric.needs]
    return notes


def language_notes(run: Run, preset: str) -> list[str]:
    """A word on captions that the text side of every preset's CLAP does not know, where one was scored."""
    scored = {record.metric for record in run.current_of(MetricRecord) if record.preset == preset}
    if not any("captions" in METRICS[metric].needs for metric in scored & METRICS.keys()):
        return []
    captions = {clip.prompt_id: clip.caption for clip in run.current_of(ClipRecord)}
    return list(filter(None, [not_latin(list(captions.values()))]))


def readings(run: Run, preset: str) -> list[MetricRecord]:
    """What tables, figures, frames and the tracker show: the newest of every value, with bounds that may be printed.

    Differences to a baseline are not among them; `differences` gives those.
    """
    plain = (r for r in run.current_of(MetricRecord) if r.preset == preset and not r.baseline)
    intervals = Intervals(run.current, preset)
    return [intervals.of(r) for r in {(r.duration_s, r.method, r.metric, r.window): r for r in plain}.values()]


def quality_rows(run: Run, preset: str) -> list[QualityRow]:
    """One row per duration and method that was asked for or scored; the newest record of a value counts."""
    apart = scored_apart(run.records)
    scored = [record for record in readings(run, preset) if record.window < 0]
    values: dict[tuple[float, str], dict[str, MetricRecord]] = {}
    for record in scored:
        values.setdefault((record.duration_s, record.method), {})[record.metric] = record
    nodes, labels = run.methods, run.labels
    speedups = {(row.duration_s, row.method): row.speedup for row in speed_rows(run)}
    wanted = headline(by_metric(scored))
    order = {name: index for index, name in enumerate(dict.fromkeys(name for _, name in [*run.asked, *values]))}
    return [
        QualityRow(
            *key,
            labels.get(key[1], key[1]),
            mechanisms(nodes.get(key[1], {})),
            speedups.get(key),
            values.get(key, {}),
            "; ".join(
                filter(None, [_note(key, values.get(key, {}), wanted, run), run.left_out.get(key), apart.get(key)])
            ),
        )
        for key in sorted({*run.asked, *values}, key=lambda key: (key[0], order[key[1]]))
    ]


def by_metric(records: Iterable[MetricRecord]) -> dict[str, MetricRecord]:
    """Metric -> one of its records, which says its direction, label and unit; in order of appearance."""
    return {record.metric: record for record in records}


def mechanisms(node: Mapping[str, Any]) -> Mechanisms | None:
    """The mechanisms in a method's configuration; None for one that is not a form of LiteFocus."""
    options = (node.get("patch") or {}).get("config") or {}
    if "same_frequency" not in options:
        return None
    cross = bool(options["cross_frequency"])
    return Mechanisms(bool(options["same_frequency"]), cross, float(options["sparse_ratio"]) if cross else 0.0)


def needs_windows(metric: str) -> bool:
    """Whether a metric is about the course of a clip, so that a clip of one window has none."""
    return metric.endswith((DRIFT, SLOPE)) or (metric in METRICS and "windows" in METRICS[metric].needs)


def _note(key: tuple[float, str], found: Mapping[str, MetricRecord], wanted: Iterable[str], run: Run) -> str:
    """Why a row has gaps: metrics without a value, clips that were not scored, failures."""
    failures = [f for f in run.current_of(FailureRecord) if (f.duration_s, f.method) == key and f.stage != "timing"]
    notes = []
    absent = [metric for metric in wanted if metric not in found]
    one_window = bool(found) and not any(map(needs_windows, found))
    if short := [metric_label(metric) for metric in absent if one_window and needs_windows(metric)]:
        notes.append(f"no {', '.join(short)}: clips of one window")
    if missing := [metric_label(metric) for metric in absent if not (one_window and needs_windows(metric))]:
        notes.append(f"no {', '.join(missing)}: {_why_missing(key, failures, run)}")
    if undefined := [metric_label(m) for m, record in found.items() if math.isnan(record.value)]:
        fewest = min(r.n_scored for r in found.values())
        notes.append(f"{', '.join(undefined)} undefined from {counted(fewest, 'clip')}")
    # Some metrics never have an interval, so a missing one alone says nothing about the number of clips.
    bare = [r for r in found.values() if math.isnan(r.low) and not math.isnan(r.value)]
    if few := [r.n_scored for r in bare if r.n_scored < floor_of(r.metric, r.baseline).clips]:
        some = "some " if len(bare) < len(found) else ""
        notes.append(f"{counted(min(few), 'clip')} {'is' if min(few) == 1 else 'are'} too few for {some}intervals")
    notes += filter(None, [_not_generated(key, run)])
    made = len(_recorded(key, run))
    scored = min((_clips_behind(r) for metric, r in found.items() if metric in wanted), default=made)
    if scored < made:
        notes.append(f"{made - scored} of {made} clips not scored yet: run stages=[score]")
    if failed := max((record.n_failed for record in found.values()), default=0):
        total = failed + max(record.n_scored for record in found.values())
        notes.append(f"{failed} of {total} clips not scored{f': {failures[-1].reason}' if failures else ''}")
    return "; ".join(notes)


def _not_generated(key: tuple[float, str], run: Run) -> str:
    """How many of the clips that were asked for a half-finished run lacks; empty where all or none are there."""
    shown = run.asked.get(key)
    wanted = {
        (prompt_id, seed)
        for start in run.runs
        if shown is not None and asked_conditions(start).get(key) == shown
        for prompt_id in start.prompt_ids
        for seed in start.config["seeds"]
    }
    there = _recorded(key, run)
    missing = len(wanted - there)
    return f"{missing} of {len(wanted)} clips not generated" if there and missing else ""


def _recorded(key: tuple[float, str], run: Run) -> set[tuple[str, int]]:
    """(prompt, seed) of the clips that were made for a row."""
    clips = run.current_of(ClipRecord)
    return {(clip.prompt_id, clip.seed) for clip in clips if (clip.duration_s, clip.method) == key}


def _why_missing(key: tuple[float, str], failures: Sequence[FailureRecord], run: Run) -> str:
    if failures:
        return f"{failures[-1].stage}: {failures[-1].reason}"
    clips = sum((clip.duration_s, clip.method) == key for clip in run.current_of(ClipRecord))
    return f"{counted(clips, 'clip')} generated, not scored" if clips else "no clips generated"


def differences(run: Run, preset: str) -> Differences:
    """(duration, method, baseline, metric) -> paired difference method minus baseline; the newest counts.

    As the tables show them: the headline metrics' differences to one baseline are one family of comparisons, over which
    p-values are adjusted; other metrics have no adjusted p and so no verdict. One that does not cover every clip that
    either of the two has by now is left out: it is of an earlier, smaller run.
    """
    made: dict[tuple[float, str], set[tuple[str, int]]] = {}
    for clip in run.current_of(ClipRecord):
        made.setdefault((clip.duration_s, clip.method), set()).add((clip.prompt_id, clip.seed))
    newest = {
        (m.duration_s, m.method, m.baseline, m.metric): m
        for m in run.current_of(MetricRecord)
        if m.preset == preset and m.baseline and m.window < 0
    }

    def covers(m: MetricRecord) -> bool:
        either = made.get((m.duration_s, m.method), set()) | made.get((m.duration_s, m.baseline), set())
        return _clips_behind(m) >= len(either)

    intervals = Intervals(run.current, preset)
    shown = set(headline(by_metric(newest.values())))
    found = {key: intervals.of(m) for key, m in newest.items() if covers(m)}
    families: dict[str, Differences] = {}
    for key, m in found.items():
        if m.metric in shown:
            families.setdefault(m.baseline, {})[key] = m
    return found | {key: m for family in families.values() for key, m in with_family(family).items()}


def _clips_behind(record: MetricRecord) -> int:
    """How many clips a value has seen: several for one that counts, where the best of several counts."""
    return (record.n_scored + record.n_failed) * int(record.details.get("candidates", 1))


def main_baseline(paired: Differences, preferred: str) -> str:
    """The preferred baseline where there are differences to it, else the first; empty without differences."""
    found = list(dict.fromkeys(key[2] for key in paired))
    return preferred if preferred in found else next(iter(found), "")


def beats(difference: MetricRecord | None, reverse: bool = False) -> bool:
    """Whether a paired difference shows, its adjusted p under 5%, that the method is better (reverse: worse)."""
    return difference is not None and verdict(difference) == ("worse" if reverse else "better")


def verdict(difference: MetricRecord) -> str:
    """Better or worse where the p-value of a paired difference, adjusted in its family, is under 5%, else empty.

    A metric without a better direction differs.
    """
    if not difference.details.get("p_holm", math.nan) < LEVEL:
        return ""
    if difference.higher_is_better is None:
        return "differs"
    return "better" if (difference.value > 0) == difference.higher_is_better else "worse"


def is_best(row: QualityRow, metric: str, rows: Sequence[QualityRow], paired: Differences) -> bool:
    """Whether a row beats every other row of its duration by a paired difference."""
    others = [r.method for r in rows if r.duration_s == row.duration_s and r is not row and metric in r.metrics]

    def wins(other: str) -> bool:
        forward = paired.get((row.duration_s, row.method, other, metric))
        backward = paired.get((row.duration_s, other, row.method, metric))
        return beats(forward) or beats(backward, reverse=True)

    return bool(others) and all(wins(other) for other in others)
