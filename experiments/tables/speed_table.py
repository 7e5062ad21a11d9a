"""The speed table for papers: measured ratios beside the one figure that the paper's abstract states."""

from collections.abc import Sequence

from experiments.records import RunRecord
from experiments.tables.formats import Cell, ResultTable, interval_cell, ratio_notes, rounded
from experiments.tables.speed_rows import SpeedRow

# Tan et al., 2024 (arXiv 2407.10468), abstract: AudioLDM2, 80 s. Their baseline materialises the attention scores.
PUBLISHED_SPEEDUP = {("litefocus", 80.0): "1.99x"}
PUBLISHED_PIPELINES = ("audioldm2", "audioldm2_untrained")


def speed_table(rows: Sequence[SpeedRow], run: RunRecord, notes: Sequence[str]) -> ResultTable:
    """Speed by duration and method; the published column stays empty but for what the abstract states."""
    known = PUBLISHED_SPEEDUP if run.pipeline["name"] in PUBLISHED_PIPELINES else {}
    header = (
        *("length (s)", "method", "s/step ↓", "s/clip ↓", "real-time factor ↓", "peak memory (GiB) ↓"),
        *("speed-up vs dense ↑", "vs materialised ↑", "share of limit ↑"),
        *("published", "note"),
    )
    keys = (
        *("duration_s", "method", "step_s", "clip_s", "real_time_factor", "peak_memory_gib"),
        *("speedup", "speedup_naive", "share_of_limit", "published", "note"),
    )
    body: list[list[Cell]] = [
        [
            row.duration_s,
            row.label,
            rounded(row.step_s),
            rounded(row.clip_s),
            rounded(row.real_time_factor),
            rounded(row.peak_memory_gib),
            interval_cell(row.speedup),
            interval_cell(row.speedup_naive),
            interval_cell(row.share_of_limit),
            known.get((row.method, row.duration_s), ""),
            row.note,
        ]
        for row in rows
    ]
    return ResultTable(
        "speed",
        "Speed by length and method",
        header,
        keys,
        body,
        [*ratio_notes(row[keys.index("speedup")] for row in body), *notes],
    )


def clip_table(rows: Sequence[SpeedRow], duration_s: float, notes: Sequence[str]) -> ResultTable:
    """What the clips of one length took, before anything is timed or scored."""
    header = ("method", "s/clip ↓", "real-time factor ↓", "note")
    body: list[list[Cell]] = [
        [row.label, rounded(row.clip_s), rounded(row.real_time_factor), row.note]
        for row in rows
        if row.duration_s == duration_s
    ]
    return ResultTable(
        "clips", f"The clips of {duration_s:g} s are made", header, ("method", "clip_s", "real_time_factor", "note"),
        body, notes,
    )  # fmt: skip
