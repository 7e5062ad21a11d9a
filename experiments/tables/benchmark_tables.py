"""A benchmark's rows and tables, from its records.

Every ratio is taken within a round and given as median with the smallest and the largest; the arm "again (A/A)" is the
baseline a second time, so its ratio is the noise of the machine.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.records import AA_SUFFIX, CellRecord, Record, RoundRecord, RunRecord, of_kind
from experiments.records.provenance import provenance, starts_of
from experiments.tables.formats import Cell, ResultTable, interval_cell, ratio_notes, rounded
from experiments.tables.speed_rows import NAIVE, Ratio, paired_ratio, share_of_limit

LEVEL_TITLES = {
    "op": "The attention of one site, without projections",
    "step": "One denoising step (a forward of the UNet)",
    "loop": "The denoising loop",
    "wave": "Text to wave",
    "layer": "One transformer layer with windowed attention",
    "denoiser": "One denoising step (a forward of the transformer)",
    "decode": "Latents to wave",
}
Key = tuple[str, float, str]


@dataclass(frozen=True)
class ArmRow:
    """One arm in one cell. None where nothing was measured or counted; `note` says why.

    Attributes:
        latency_s: median seconds per call. speedup, speedup_naive: over the baseline and over materialised attention.
        share_of_limit: 1 is all that removing the sites' attention would save.
        gflops_per_s: counted FLOPs over time; probe_share: that over the matrix product of the same round.
    """

    cell: CellRecord
    arm: str
    label: str
    rounds: int
    latency_s: float | None
    speedup: Ratio | None
    speedup_naive: Ratio | None
    share_of_limit: Ratio | None
    gflops_per_s: float | None
    probe_share: float | None
    working_memory_gib: float | None
    note: str


def arm_rows(records: list[Record]) -> list[ArmRow]:
    """One row per cell and arm, in order of level, regime and duration; a cell's newest description counts."""
    cells: dict[Key, CellRecord] = {_key(cell): cell for cell in of_kind(records, CellRecord)}
    order = sorted(cells, key=lambda key: (list(LEVEL_TITLES).index(key[0]), key[2], key[1]))
    rounds = of_kind(records, RoundRecord)
    return [
        _row(cells[key], arm, [r for r in rounds if _key(r) == key])
        for key in order
        for arm in dict.fromkeys([*cells[key].labels, *cells[key].skipped])
        if arm in cells[key].skipped or any(arm in r.latencies_s for r in rounds if _key(r) == key)
    ]


def _key(record: CellRecord | RoundRecord) -> Key:
    return record.level, record.duration_s, record.regime


def _row(cell: CellRecord, arm: str, rounds: list[RoundRecord]) -> ArmRow:
    own = [record for record in rounds if arm in record.latencies_s]
    times = [record.latencies_s[arm] for record in own]
    flops = cell.flops.get(arm.removesuffix(AA_SUFFIX))
    memory = [value for record in own if (value := record.working_memory_gib.get(arm)) is not None]
    label = cell.labels.get(arm, arm)
    return ArmRow(
        cell=cell,
        arm=arm,
        label=f"{label} (approximate)" if arm in cell.approximate else label,
        rounds=len(own),
        latency_s=statistics.median(times) if times else None,
        speedup=_speedup(own, cell.baseline, arm),
        speedup_naive=_speedup(own, NAIVE, arm),
        share_of_limit=_share(own, cell, arm),
        gflops_per_s=statistics.median(flops / t / 1e9 for t in times) if flops and times else None,
        probe_share=statistics.median(flops / r.latencies_s[arm] / 1e9 / r.probe_gflops for r in own)
        if flops and own
        else None,
        working_memory_gib=max(memory) if memory else None,
        note=cell.skipped.get(arm, ""),
    )


def _speedup(rounds: list[RoundRecord], reference: str, arm: str) -> Ratio | None:
    pairs = [(r.latencies_s[reference], r.latencies_s[arm]) for r in rounds if reference in r.latencies_s]
    return paired_ratio(*zip(*pairs, strict=True)) if pairs else None


def _share(rounds: list[RoundRecord], cell: CellRecord, arm: str) -> Ratio | None:
    both = [r.latencies_s for r in rounds if {cell.baseline, cell.limit} <= set(r.latencies_s)]
    if not both or arm == NAIVE:
        return None
    return share_of_limit(*([times[name] for times in both] for name in (cell.baseline, arm, cell.limit)))


def benchmark_tables(records: list[Record]) -> list[ResultTable]:
    """Per level and regime the ratios alone and everything; then the time shares by kind of module."""
    rows = arm_rows(records)
    notes = _notes(records)
    tables = []
    for (level, regime), group in by_level(rows).items():
        tables += [_speedup_table(level, regime, group, notes), _level_table(level, regime, group, notes)]
    cells = {_key(row.cell): row.cell for row in rows}
    shares = [cell for cell in cells.values() if cell.profile]
    return tables + ([_profile_table(shares, notes)] if shares else [])


def by_level(rows: Sequence[ArmRow]) -> dict[tuple[str, str], list[ArmRow]]:
    """(level, regime) -> its rows, in order."""
    groups: dict[tuple[str, str], list[ArmRow]] = {}
    for row in rows:
        groups.setdefault((row.cell.level, row.cell.regime), []).append(row)
    return groups


def comparable(rows: Sequence[ArmRow]) -> list[ArmRow]:
    """The rows without the limit at op level: there it does nothing at all, and no ratio to it means anything."""
    return [row for row in rows if not (row.cell.level == "op" and row.arm == row.cell.limit)]


def _level_table(level: str, regime: str, rows: Sequence[ArmRow], notes: Sequence[str]) -> ResultTable:
    header = (
        *("length (s)", "arm", "s/call ↓", "vs dense ↑", "vs materialised ↑"),
        *("share of limit ↑", "GFLOP/call", "scores (1e9)", "GFLOP/s", "of the probe"),
        *("working memory (GiB) ↓", "error", "rounds", "note"),
    )
    keys = (
        *("duration_s", "arm", "latency_s", "speedup", "speedup_naive", "share_of_limit", "gflop", "gscores"),
        *("gflops_per_s", "probe_share", "working_memory_gib", "error", "rounds", "note"),
    )
    body: list[list[Cell]] = [
        [
            row.cell.duration_s,
            row.label,
            rounded(row.latency_s),
            interval_cell(row.speedup),
            interval_cell(row.speedup_naive),
            interval_cell(row.share_of_limit),
            _scaled(row.cell.flops.get(row.arm), 1e9),
            _scaled(row.cell.scores.get(row.arm), 1e9),
            rounded(row.gflops_per_s),
            rounded(row.probe_share),
            rounded(row.working_memory_gib),
            _scaled(row.cell.error.get(row.arm), 1),
            float(row.rounds),
            row.note,
        ]
        for row in rows
    ]
    title = f"{LEVEL_TITLES[level]}, {regime}"
    notes = [*ratio_notes(row[keys.index("speedup")] for row in body), *notes]
    return ResultTable(f"{level}_{regime}", title, header, keys, body, notes, max_decimals=2)


def _speedup_table(level: str, regime: str, rows: Sequence[ArmRow], notes: Sequence[str]) -> ResultTable:
    """Arms by clip lengths, each cell the ratio to the baseline, whose seconds stand in the heading."""
    baseline = {row.cell.duration_s: row for row in rows if row.arm == row.cell.baseline}
    found = {(row.arm, row.cell.duration_s): row for row in rows}
    arms = {row.arm: row.label for row in comparable(rows) if row.speedup is not None}
    body: list[list[Cell]] = [
        [label, *(interval_cell(row.speedup) if (row := found.get((arm, duration))) else None for duration in baseline)]
        for arm, label in arms.items()
    ]
    name = next(iter(baseline.values())).label
    title = f"{LEVEL_TITLES[level]}, {regime}: times faster than {name}"
    header = ["arm", *(f"{d:g} s ({row.latency_s or math.nan:.3g} s/call)" for d, row in baseline.items())]
    keys = ["arm", *(f"speedup_{duration:g}s" for duration in baseline)]
    notes = [*ratio_notes(cell for row in body for cell in row), *notes]
    return ResultTable(f"{level}_{regime}_speedup", title, header, keys, body, notes, max_decimals=2)


def _profile_table(cells: Sequence[CellRecord], notes: Sequence[str]) -> ResultTable:
    kinds = list(dict.fromkeys(kind for cell in cells for shares in cell.profile.values() for kind in shares))
    body: list[list[Cell]] = [
        [cell.duration_s, cell.regime, cell.labels[arm], *(rounded(shares.get(kind)) for kind in kinds)]
        for cell in cells
        for arm, shares in cell.profile.items()
    ]
    header = ("length (s)", "regime", "arm", *kinds)
    keys = ("duration_s", "regime", "arm", *(kind.replace(" ", "_") for kind in kinds))
    return ResultTable("profile", "Share of a denoising step's time by kind of module", header, keys, body, notes)


def _notes(records: list[Record]) -> list[str]:
    rounds = of_kind(records, RoundRecord)
    loads, probes = [record.load_average for record in rounds], [record.probe_gflops for record in rounds]
    runs = starts_of(rounds, of_kind(records, RunRecord))
    backends = dict.fromkeys(cell.backend for cell in of_kind(records, CellRecord))
    notes = provenance(runs).replace("`", "").splitlines()
    if loads:
        notes.append(
            f"Matrix-product probe {min(probes):.0f} to {max(probes):.0f} GFLOP/s, load average {min(loads):.1f} to "
            f"{max(loads):.1f}. Attention: {'; '.join(backends)}. keep_freed_memory="
            f"{str(runs[-1].config['keep_freed_memory']).lower()}."
        )
    return notes


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else float(f"{value / unit:.3g}")
