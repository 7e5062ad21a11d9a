"""The factorisation: what each lever gives alone and all of them together, speed and quality in one table.

Speed is the time from text to latents (everything before decoding) of the run's own clips, paired by prompt and seed.
Quality is non-inferior where the worse end of the paired difference's 95% interval stays within the metric's margin, an
absolute loss that the configuration fixed before the clips were made (`metrics.margins`).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.records import ClipRecord, MetricRecord, RunRecord
from experiments.records.provenance import methods_of
from experiments.records.run import Run
from experiments.tables.formats import Cell, Estimate, ResultTable, interval_cell, ratio_notes
from experiments.tables.intervals import interval_notes
from experiments.tables.quality_rows import ARROWS, differences, metric_label, presets
from experiments.tables.speed_rows import Ratio, paired_ratio

Margins = Mapping[str, float]
# What the table shows where no margin was fixed.
SHOWN = ("clap", "kl", "fad", "kad")


def margins_of(run: RunRecord) -> Margins:
    """metric -> the loss of quality that a start's configuration counts as none; empty where it fixed none."""
    return dict(run.config.get("metrics", {}).get("margins") or {})


def has_factors(run: RunRecord) -> bool:
    """Whether a run holds a method that is made of others, and the baseline to set it against."""
    nodes = methods_of(run)
    baseline = run.config.get("timing", {}).get("baseline")
    return any(node.get("parts") for node in nodes) and any(node["name"] == baseline for node in nodes)


def lever_table(run: Run) -> ResultTable:
    """One row per duration and method against the run's timing baseline; the newest run `has_factors`.

    A method whose configuration names `parts` also gets the product of their speed-ups, beside its own.
    """
    start, baseline = run.runs[-1], run.baseline
    nodes = {node["name"]: node for node in methods_of(start)}
    clips = _latest(run.current_of(ClipRecord))
    margins = margins_of(start)
    better = {m.metric: m.higher_is_better for m in run.of_kind(MetricRecord)}
    metrics = [m for m in margins or SHOWN if m in better]
    rows: list[list[Cell]] = []
    for duration in sorted({clip.duration_s for clip in clips}):
        here = [clip for clip in clips if clip.duration_s == duration]
        ratios = {name: speedup(here, name, baseline) for name in nodes}
        quality = _quality(run, duration)
        rows += [_row(node, here, ratios, baseline, duration, quality, margins, metrics) for node in nodes.values()]
    header = ["length (s)", "method", "steps", "text to latents (s)", "speed-up ↑", "product of parts"]
    keys = ["duration_s", "method", "steps", "loop_s", "speedup", "product"]
    found = presets(run)[:1]
    made = [note for preset in found for note in interval_notes(run, preset, metrics)] + run.quality_notes(*found)
    headings = [f"Δ {metric_label(m)} {ARROWS[better[m]]}" for m in metrics]
    return ResultTable(
        "levers",
        f"Levers alone and together, against {nodes[baseline]['label']} at {_steps(nodes[baseline], start)} steps",
        [*header, *headings, "quality"],
        [*keys, *metrics, "verdict"],
        rows,
        [_reading(margins), *ratio_notes(row[keys.index("speedup")] for row in rows), *_earlier(run), *made],
    )


def _earlier(run: Run) -> list[str]:
    return [f"{name} at {duration:g} s: {text}." for (duration, name), text in run.left_out.items()]


def _reading(margins: Margins) -> str:
    if margins:
        listed = ", ".join(f"{metric_label(metric)} {margin:g}" for metric, margin in margins.items())
        rule = f"Quality within the margin (absolute, fixed in the configuration of the run): {listed}."
    else:
        rule = "No margin was fixed beforehand, so no quality is said to be within one."
    return f"Speed-up: median over clips, paired by prompt and seed. Δ: paired difference to the baseline. {rule}"


def _latest(clips: Sequence[ClipRecord]) -> list[ClipRecord]:
    return list({clip.audio: clip for clip in clips}.values())


def loop_s(clip: ClipRecord) -> float:
    """Seconds from text to latents."""
    return clip.latency_s - clip.decode_s


def speedup(clips: Sequence[ClipRecord], method: str, baseline: str) -> Ratio | None:
    """Time of the baseline over that of the method, text to latents, over the clips that both have; None without."""
    times = {
        name: {(clip.prompt_id, clip.seed): loop_s(clip) for clip in clips if clip.method == name}
        for name in (method, baseline)
    }
    both = [key for key in times[method] if key in times[baseline]]
    if not both:
        return None
    return paired_ratio([times[baseline][key] for key in both], [times[method][key] for key in both])


def _quality(run: Run, duration: float) -> dict[tuple[str, str, str], MetricRecord]:
    """(method, baseline, metric) -> paired difference, of the run's first preset."""
    return {
        (method, base, metric): difference
        for preset in presets(run)[:1]
        for (length, method, base, metric), difference in differences(run, preset).items()
        if length == duration
    }


def _steps(node: Mapping[str, Any], run: RunRecord) -> int:
    return int(node.get("steps") or run.config["steps"])


def _row(
    node: Mapping[str, Any],
    clips: Sequence[ClipRecord],
    ratios: Mapping[str, Ratio | None],
    baseline: str,
    duration: float,
    quality: Mapping[tuple[str, str, str], MetricRecord],
    margins: Margins,
    metrics: Sequence[str],
) -> list[Cell]:
    name = node["name"]
    mine = [clip for clip in clips if clip.method == name]
    ratio = ratios[name]
    pairs = [quality.get((name, baseline, metric)) for metric in metrics]
    parts = [ratios.get(part) for part in node.get("parts") or []]
    factors = [part.mean for part in parts if part is not None]
    return [
        duration,
        node["label"],
        mine[0].steps if mine else None,
        float(f"{statistics.median(map(loop_s, mine)):.4g}") if mine else None,
        interval_cell(ratio),
        float(f"{math.prod(factors):.4g}") if parts and len(factors) == len(parts) else None,
        *(None if pair is None else Estimate(pair.value, pair.low, pair.high, sign=True) for pair in pairs),
        "baseline" if name == baseline else verdict([pair for pair in pairs if pair is not None], margins),
    ]


def verdict(differences: Sequence[MetricRecord], margins: Margins) -> str:
    """In words: within the margins, or which metrics are not shown to be."""
    if not differences:
        return "not scored"
    if not margins:
        return "no margin"
    failed = [metric_label(d.metric) for d in differences if not within_margin(d, margins[d.metric])]
    return f"not shown: {', '.join(failed)}" if failed else "within the margin"


def within_margin(difference: MetricRecord, margin: float) -> bool:
    """Whether the worse end of the interval is no worse than the margin; False without an interval."""
    worst = -difference.low if difference.higher_is_better else difference.high
    return worst <= margin
