"""Tables of the probes: denoising loss by length, noise level and method, and where attention looks."""

import math
from collections.abc import Sequence

from evaluation.results.interval_floors import FEWEST, REFUSED
from experiments.records import AttentionRecord, ProbeLossRecord, ProbeRunRecord, Record, of_kind
from experiments.records.provenance import provenance, quality_notes, starts_of
from experiments.records.site_structure import FAR_S, SiteStructure
from experiments.tables.formats import Cell, Estimate, ResultTable
from experiments.tables.intervals import LEVEL, Interval, detectable_effect, holm, p_value
from experiments.tables.probe_rows import LossRow, TrendRow, loss_rows, probe_labels, structures_by_length, trend_rows

TO_LITEFOCUS = "difference_to_litefocus_percent"
CHANGE, CHANGE_TO_LITEFOCUS = "change_percent", "change_to_litefocus_percent"


def probe_tables(records: Sequence[Record]) -> list[ResultTable]:
    """The tables that the records can fill: denoising_loss, denoising_loss_trend, attention."""
    starts = of_kind(list(records), ProbeRunRecord)
    if not starts:
        return []
    readings = of_kind(list(records), ProbeLossRecord) + of_kind(list(records), AttentionRecord)
    made_by = provenance(starts_of(readings, starts))
    notes = [*made_by.replace("`", "").splitlines(), *quality_notes(starts)]
    tables = []
    if rows := loss_rows(records):
        tables.append(denoising_loss_table(rows, starts[-1], notes))
    if trends := trend_rows(records):
        tables.append(trend_table(trends, notes))
    if structures := structures_by_length(records):
        clips = max(len(record.clip_ids) for record in of_kind(list(records), AttentionRecord))
        tables.append(attention_table(structures, clips, notes))
    return tables


def denoising_loss_table(rows: Sequence[LossRow], start: ProbeRunRecord, notes: Sequence[str]) -> ResultTable:
    """Loss and paired difference to dense; readings that were asked for and not taken stay a gap with its reason."""
    header = (
        "length (s)",
        "noise level t",
        "method",
        "loss ↓",
        "Δ to dense (%) ↓",
        "Δ to LiteFocus (%) ↓",
        "detectable Δ (%)",
    )
    keys = ("duration_s", "t", "method", "loss", "difference_percent", TO_LITEFOCUS, "detectable_percent")
    reading = (
        "Mean squared error of the model's own target on real audio, same clips and noise under every method. "
        "Differences in per cent of dense's loss. Intervals: 95%, Student's t over clips. "
        "Detectable: the difference to dense that these clips show with a power of 80%."
    )
    p_values = [interval_p(row.difference, row.clips) for row in rows]
    adjusted = holm(p_values)
    family = sum(not math.isnan(p) for p in p_values)
    words = f"Better and worse: p under {LEVEL:g} after Holm's adjustment for {family} comparisons, all to dense here."
    few = any(row.clips < FEWEST["mean" if row.difference is None else "difference"].clips for row in rows)
    body: list[list[Cell]] = [_loss_cells(*row) for row in zip(rows, p_values, adjusted, strict=True)]
    body += _gaps(rows, start)
    ordered = sorted(body, key=lambda cells: (float(str(cells[0])), float(str(cells[1]))))
    return ResultTable(
        "denoising_loss",
        "Denoising loss of real audio by length, noise level and method (no sampling)",
        (*header, "clips", "noise draws", "key draws", "note"),
        (*keys, "clips", "noise_draws", "key_draws", "note"),
        ordered,
        [reading, *([words] if family else []), *([REFUSED] if few else []), *notes],
    )


def trend_table(rows: Sequence[TrendRow], notes: Sequence[str]) -> ResultTable:
    """How the differences of denoising_loss change from the shortest length to the longest, clip by clip."""
    changes = [(change, row.clips) for row in rows for change in (row.to_dense, row.to_litefocus)]
    p_values = [interval_p(*change) for change in changes]
    adjusted = holm(p_values)
    cells = [_change_cell(*of) for of in zip((change for change, _ in changes), p_values, adjusted, strict=True)]
    family = sum(not math.isnan(p) for p in adjusted)
    header = ("noise level t", "method", "from (s)", "to (s)", "change of Δ to dense", "change of Δ to LiteFocus")
    reading = (
        "Difference in denoising loss at the longest length less that at the shortest, clip by clip, in points of per "
        "cent of dense's loss: below 0 where the method gains on the other with length. Intervals: 95%, Student's t "
        "over clips."
    )
    words = f"Falls and rises: p under {LEVEL:g} after Holm's adjustment for {family} comparisons, all of both columns."
    body: list[list[Cell]] = [
        [row.t, row.label, row.shortest_s, row.longest_s, *pair, row.clips]
        for row, pair in zip(rows, zip(cells[::2], cells[1::2], strict=True), strict=True)
    ]
    keys = ("t", "method", "shortest_s", "longest_s", CHANGE, CHANGE_TO_LITEFOCUS)
    few = any(row.clips < FEWEST["difference"].clips for row in rows)
    return ResultTable(
        "denoising_loss_trend",
        "Change of the differences in denoising loss from the shortest length to the longest",
        (*header, "clips"),
        (*keys, "clips"),
        body,
        [reading, *([words] if family else []), *([REFUSED] if few else []), *notes],
    )


def _change_cell(change: Interval | None, p: float, adjusted: float) -> Estimate | None:
    if change is None:
        return None
    word = "" if not adjusted < LEVEL else "rises" if change.value > 0 else "falls"
    return Estimate(*change, mark=word, sign=True, p=p)


def interval_p(difference: Interval | None, clips: int) -> float:
    """Two-sided p of a difference of 0, from its Student's t interval over clips; nan without one."""
    if difference is None:
        return math.nan
    return p_value(difference.value, (difference.high - difference.low) / 2, clips - 1)


def _loss_cells(row: LossRow, p: float, adjusted: float) -> list[Cell]:
    note = ""
    if row.key_range is not None:
        note = f"Δ of single key draws from {row.key_range[0]:+.3g} to {row.key_range[1]:+.3g}"
    if math.isnan(row.loss.value):
        return [row.duration_s, row.t, row.label, *[None] * 7, "the loss of some clip is not finite"]
    return [
        row.duration_s,
        row.t,
        row.label,
        Estimate(*row.loss),
        None if row.difference is None else Estimate(*row.difference, mark=_mark(row, adjusted), sign=True, p=p),
        None if row.to_litefocus is None else Estimate(*row.to_litefocus, sign=True),
        None if row.difference is None else detectable_effect(row.difference.low, row.difference.high),
        row.clips,
        row.noise_draws,
        row.key_draws,
        note,
    ]


def _mark(row: LossRow, adjusted: float) -> str:
    if row.difference is None or not adjusted < LEVEL:
        return ""
    return "worse" if row.difference.value > 0 else "better"


def _gaps(rows: Sequence[LossRow], start: ProbeRunRecord) -> list[list[Cell]]:
    """One line per length, level and method that the newest start asked for and that has no reading yet."""
    found = {(row.duration_s, row.t, row.method) for row in rows}
    labels = probe_labels([start])
    return [
        [float(duration), t, label, *[None] * 7, "not read yet: the probe is unfinished"]
        for duration in start.config["durations"]
        for t in start.config["levels"]
        for name, label in labels.items()
        if (float(duration), t, name) not in found
    ]


def attention_table(structures: dict[float, list[SiteStructure]], clips: int, notes: Sequence[str]) -> ResultTable:
    """Means over sites by length and noise level, with the smallest and largest site."""
    body: list[list[Cell]] = []
    for duration, sites in structures.items():
        for t in sorted({site.t for site in sites}):
            here = [site for site in sites if site.t == t]
            own = [site.same_frequency / site.uniform_same_frequency for site in here]
            far = [site.far_same_frequency for site in here]
            gap = [site.entropy_gap_nat for site in here]
            body.append([duration, t, len(here), *(_spread(values) for values in (own, gap, far))])
    header = ("length (s)", "noise level t", "sites", "own-bin mass over uniform", "ln N - H (nat)")
    keys = ("duration_s", "t", "sites", "own_bin_over_uniform", "entropy_gap_nat", "far_own_bin_mass")
    reading = f"Dense model on {clips} real clips; mean over attention sites [smallest, largest site]."
    title = "Where self-attention looks, by length and noise level"
    return ResultTable("attention", title, (*header, f"own-bin mass beyond {FAR_S:g} s"), keys, body, [reading, *notes])


def _spread(values: Sequence[float]) -> Estimate | None:
    if any(math.isnan(value) for value in values):
        return None
    return Estimate(sum(values) / len(values), min(values), max(values))
