"""Quality tables from metric records: by duration and method, differences to a baseline, sparsity sweep, ablation.

A value is bold only where it beats every other method of its duration by a paired difference whose adjusted p is under
5%. What is missing stays a gap with its reason.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.records import MetricRecord
from experiments.records.run import Run
from experiments.system.files import write_whole
from experiments.tables.formats import Cell, Estimate, ResultTable, interval_cell, ratio_notes, to_csv, to_markdown
from experiments.tables.intervals import ALL_EQUAL, detectable_effect, interval_notes
from experiments.tables.latex import to_latex
from experiments.tables.quality_rows import (
    Differences,
    Mechanisms,
    QualityRow,
    by_metric,
    differences,
    heading,
    headline,
    is_best,
    language_notes,
    left_out_notes,
    main_baseline,
    presets,
    quality_rows,
    verdict,
)

BOLD = (
    "Bold: better than every other method of its length by a paired difference, its p adjusted (Holm) over all "
    "differences to the same baseline."
)
FAMILY = (
    "Better, worse: p under 5% after Holm's adjustment over the {} comparisons of this table that have an interval; "
    "the raw p are in the csv."
)
SAME = "all equal"
EQUAL_NOTE = "All equal: every clip gave the same difference, so the smallest one that would be seen is not known."


def _estimate(record: MetricRecord | None, best: bool = False) -> Estimate | None:
    if record is None or math.isnan(record.value):
        return None
    return Estimate(record.value, record.low, record.high, best)


def result_tables(run: Run) -> list[ResultTable]:
    """Every quality table that a run's records can fill, each with the notes that must stand beside it."""
    found = presets(run)
    first: list[ResultTable] = []  # what a sweep of the share is for
    tables: list[ResultTable] = []
    for preset in found:
        rows = quality_rows(run, preset)
        paired = differences(run, preset)
        suffix = f"_{preset.replace('-', '_')}" if len(found) > 1 else ""
        made = run.quality_notes(preset)
        missing = left_out_notes(run, preset) + language_notes(run, preset)
        resampled = interval_notes(run, preset, _metric_columns(rows)[0]) + missing
        notes, of_all = [*resampled, *made], [*interval_notes(run, preset), *missing, *made]
        tested = any(math.isfinite(d.details.get("p_holm", math.nan)) for d in paired.values())
        bold = [*resampled, *([BOLD] if tested else []), *made]
        tables += [quality_table(rows, paired, f"quality{suffix}", f"Quality, preset {preset}", bold)]
        tables.append(all_metrics_table(rows, f"all_metrics{suffix}", f"Every metric, preset {preset}", of_all))
        tables += difference_tables(rows, paired, suffix, notes)
        tables += power_tables(rows, paired, suffix, made, run.baseline)
        forms = [row.mechanisms for row in rows if row.mechanisms]
        if len({form.sparse_ratio for form in forms if form.cross_frequency}) > 1:
            first.append(sparsity_table(rows, paired, f"sparsity{suffix}", bold))
        elif {(True, True), (True, False), (False, True)} <= {form[:2] for form in forms}:
            tables.append(ablation_table(rows, paired, f"ablation{suffix}", bold))
    return first + tables


def _metric_columns(rows: Sequence[QualityRow]) -> tuple[list[str], list[str]]:
    """Names and headings of the headline metrics, with an arrow to the better side."""
    found = by_metric(record for row in rows for record in row.metrics.values())
    metrics = headline(found)
    return metrics, [heading(metric, found[metric]) for metric in metrics]


def quality_table(
    rows: Sequence[QualityRow], paired: Differences, name: str, title: str, notes: Sequence[str]
) -> ResultTable:
    """The headline metrics by duration and method."""
    metrics, headings = _metric_columns(rows)
    body: list[list[Cell]] = [
        [
            row.duration_s,
            row.label,
            *(_estimate(row.metrics.get(m), is_best(row, m, rows, paired)) for m in metrics),
            row.note,
        ]
        for row in rows
    ]
    header, keys = ["length (s)", "method", *headings, "note"], ["duration_s", "method", *metrics, "note"]
    return ResultTable(name, title, header, keys, body, notes)


def all_metrics_table(rows: Sequence[QualityRow], name: str, title: str, notes: Sequence[str]) -> ResultTable:
    """Every metric that was scored, one line each, with the clips behind it."""
    body: list[list[Cell]] = [
        [
            *(row.duration_s, row.label, heading(metric, record)),
            *(_estimate(record), record.n_scored, record.n_failed),
        ]
        for row in rows
        for metric, record in row.metrics.items()
    ]
    header = ["length (s)", "method", "metric", "value", "scored", "not scored"]
    keys = ["duration_s", "method", "metric", "value", "n_scored", "n_failed"]
    return ResultTable(name, title, header, keys, body, notes, max_decimals=8, own_decimals=True)


def difference_tables(
    rows: Sequence[QualityRow], paired: Differences, suffix: str, notes: Sequence[str]
) -> list[ResultTable]:
    """One table per baseline: paired differences, method minus baseline, with a word where the adjusted p allows it."""
    metrics, headings = _metric_columns(rows)
    labels = {row.method: row.label for row in rows}
    tables = []
    for baseline in dict.fromkeys(key[2] for key in paired):
        body: list[list[Cell]] = []
        for row in rows:
            found = [paired.get((row.duration_s, row.method, baseline, metric)) for metric in metrics]
            cells = [None if d is None else _difference(d) for d in found]
            if any(cells):
                body.append([row.duration_s, row.label, *cells])
        tables.append(
            ResultTable(
                f"difference_{baseline}{suffix}",
                f"Paired differences to {labels.get(baseline, baseline)} (same prompts, seeds and noise)",
                ["length (s)", "method", *(f"Δ {heading}" for heading in headings)],
                ["duration_s", "method", *metrics],
                body,
                [*_family_note(paired, baseline), *notes],
            )
        )
    return tables


def _difference(record: MetricRecord) -> Estimate:
    p = record.details.get("p", math.nan)
    return Estimate(
        record.value, record.low, record.high, False, verdict(record), True, p, record.details.get("degrees")
    )


def _family_note(paired: Differences, baseline: str) -> list[str]:
    """What the words of a table of differences follow from."""
    sizes = (d.details.get("family", 0) for (_, _, base, _), d in paired.items() if base == baseline)
    size = max(sizes, default=0)
    return [FAMILY.format(size)] if size else []


def power_tables(
    rows: Sequence[QualityRow], paired: Differences, suffix: str, notes: Sequence[str], preferred: str = ""
) -> list[ResultTable]:
    """The smallest true difference to the main baseline that the comparison would have shown with a power of 80%."""
    metrics, headings = _metric_columns(rows)
    labels = {row.method: row.label for row in rows}
    baseline = main_baseline(paired, preferred)
    body: list[list[Cell]] = []
    for row in rows:
        found = [paired.get((row.duration_s, row.method, baseline, metric)) for metric in metrics]
        if any(found):
            body.append([row.duration_s, row.label, *(_detectable(difference) for difference in found)])
    reading = (
        "Two-sided test at 5%: 1.43 half widths of the paired 95% interval. A smaller true difference would most "
        "likely have gone unseen, so its absence from the table of differences says nothing."
    )
    if not any(cell is not None for row in body for cell in row[2:]):
        return []
    equal = [EQUAL_NOTE] if any(SAME in row[2:] for row in body) else []
    title = f"Power: smallest difference to {labels.get(baseline, baseline)} that this size shows in 80% of studies"
    header = ["length (s)", "method", *(heading.rstrip(" ↑↓") for heading in headings)]
    return [
        ResultTable(
            f"power{suffix}", title, header, ["duration_s", "method", *metrics], body, [reading, *equal, *notes]
        )
    ]


def _detectable(difference: MetricRecord | None) -> Cell:
    """The smallest effect; equal differences of every clip say nothing about how much they would vary."""
    if difference is None:
        return None
    if difference.details[ALL_EQUAL]:
        return SAME
    return detectable_effect(difference.low, difference.high)


def sparsity_table(rows: Sequence[QualityRow], paired: Differences, name: str, notes: Sequence[str]) -> ResultTable:
    """Quality and speed against the share of sampled keys."""
    return _mechanism_table(rows, paired, name, "Sparsity sweep: quality and speed by share of sampled keys", notes)


def ablation_table(rows: Sequence[QualityRow], paired: Differences, name: str, notes: Sequence[str]) -> ResultTable:
    """What each mechanism contributes."""
    return _mechanism_table(rows, paired, name, "Ablation: what each mechanism contributes", notes)


def _mechanism_table(
    rows: Sequence[QualityRow], paired: Differences, name: str, title: str, notes: Sequence[str]
) -> ResultTable:
    metrics, headings = _metric_columns(rows)
    mechanism_headings = ["focus", "compensation", "sampled keys"]
    header = ["length (s)", "method", *mechanism_headings, *headings, "step speed-up ↑", "note"]
    keys = ["duration_s", "method", *Mechanisms._fields, *metrics, "speedup", "note"]
    body: list[list[Cell]] = [
        [
            row.duration_s,
            row.label,
            *_mechanism_cells(row.mechanisms),
            *(_estimate(row.metrics.get(m), is_best(row, m, rows, paired)) for m in metrics),
            interval_cell(row.speedup),
            row.note,
        ]
        for row in rows
    ]
    return ResultTable(
        name, title, header, keys, body, [*notes, *ratio_notes(row[keys.index("speedup")] for row in body)]
    )


def _mechanism_cells(form: Mechanisms | None) -> list[Cell]:
    if form is None:
        return ["", "", ""]
    return ["yes" if form.same_frequency else "no", "yes" if form.cross_frequency else "no", form.sparse_ratio]


def write_tables(tables: Iterable[ResultTable], folder: Path) -> list[Path]:
    """Write each table as NAME.md, NAME.csv and NAME.tex into a folder."""
    written = []
    for table in tables:
        for suffix, render in ((".md", to_markdown), (".csv", to_csv), (".tex", to_latex)):
            path = folder / f"{table.name}{suffix}"
            write_whole(path, render(table))
            written.append(path)
    return written
