"""Table numbers by hand: paired ratios, share of the limit, gaps with their reasons."""

import csv
import io
import math
from itertools import pairwise

import pytest
from ratio_material import times_faster
from scipy.stats import ttest_1samp
from start_material import ENVIRONMENT, PIPELINE

from experiments.records import ClipRecord, FailureRecord, RunRecord, TimingRecord
from experiments.records.run import Run
from experiments.tables.escaping import latex_escape, safe_cell
from experiments.tables.formats import ResultTable, markdown_table, to_csv, to_markdown, to_markdown_together
from experiments.tables.latex import to_latex
from experiments.tables.speed_rows import (
    paired_ratio,
    share_of_limit,
    speed_rows,
)
from experiments.tables.speed_table import speed_table


def timing(duration_s=10.0, **latencies):
    return TimingRecord(
        run_id="r",
        duration_s=duration_s,
        batch=2,
        grid_time=250,
        grid_freq=16,
        baseline="dense",
        limit="no_attention",
        labels={name: name.upper() for name in latencies},
        latencies_s=latencies,
        peak_memory_gib=dict.fromkeys(latencies, 2.5),
    )


def clip(method="dense", duration_s=10.0, latency_s=20.0):
    return ClipRecord(
        "r", "c", method, duration_s, 2, 3.5, "p", "Rain", 0, "audio/c/p_0.wav", "", 16000, 160000, latency_s, 4.0, 3.0
    )


def test_ratios_are_paired_within_a_round():
    # Means of the separate series would give 24 / 7; the machine slowed down in round two on both sides.
    assert paired_ratio([2.0, 20.0, 2.0], [1.0, 5.0, 1.0]) == times_faster(2.0, 4.0, 2.0)
    assert paired_ratio([2.0], [1.0]) == pytest.approx((2.0, math.nan, math.nan), nan_ok=True)
    assert paired_ratio([3.0, 2.0], [3.0, 2.0]) == pytest.approx((1.0, math.nan, math.nan), nan_ok=True)
    with pytest.raises(ValueError, match="got 1 and 2 values"):
        paired_ratio([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="got 0 and 0"):
        paired_ratio([], [])


def test_share_of_limit():
    interval = ttest_1samp([0.75, 0.8], 0).confidence_interval()
    assert share_of_limit([10.0, 10.0], [7.0, 6.0], [6.0, 5.0]) == pytest.approx((0.775, interval.low, interval.high))
    assert share_of_limit([10.0], [7.0], [10.0]) is None


def test_speed_row_values():
    rows = {
        row.method: row
        for row in speed_rows(
            Run([timing(dense=[4.0], naive=[10.0], litefocus=[2.5], no_attention=[2.0]), clip("litefocus")])
        )
    }
    row = rows["litefocus"]
    assert row.speedup.mean == pytest.approx(1.6)
    assert row.speedup_naive.mean == pytest.approx(4.0)
    assert row.share_of_limit.mean == pytest.approx(0.75)
    assert (row.step_s, row.clip_s, row.real_time_factor, row.peak_memory_gib) == (2.5, 20.0, 2.0, 2.5)
    assert rows["dense"].clip_s is None
    assert rows["dense"].speedup.mean == 1.0


def test_the_newest_timing_counts_and_durations_are_sorted():
    rows = speed_rows(Run([timing(20.0, dense=[9.0]), timing(10.0, dense=[1.0]), timing(10.0, dense=[3.0])]))
    assert [(row.duration_s, row.step_s) for row in rows] == [(10.0, 3.0), (20.0, 9.0)]


def test_a_gap_keeps_its_reason():
    rows = speed_rows(Run([timing(dense=[4.0]), FailureRecord("r", "timing", "", "naive", 10.0, "needs 30 GiB")]))
    gap = next(row for row in rows if row.method == "naive")
    assert gap.step_s is None
    assert gap.note == "timing: needs 30 GiB"


def test_speed_table_reads_back_from_csv():
    rows = speed_rows(Run([timing(dense=[4.0, 5.0], litefocus=[2.0, 2.0])]))
    run = RunRecord("r", "now", {}, ENVIRONMENT, {**PIPELINE, "name": "audioldm2"}, [])
    read = list(csv.DictReader(io.StringIO(to_csv(speed_table(rows, run, [])))))
    assert [row["method"] for row in read] == ["DENSE", "LITEFOCUS"]
    assert tuple(float(read[1][f"speedup{end}"]) for end in ("", "_low", "_high")) == times_faster(2.0, 2.5)
    assert read[1]["speedup_naive"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_no_cell_is_a_formula(text):
    assert safe_cell(text) == "'" + text
    assert safe_cell("plain") == "plain"


def test_markdown_cells_stay_cells():
    table = markdown_table(["a", "b"], [["x|y", "<script>\nz"]])
    assert table.splitlines()[2].count(" | ") == 1
    assert "<script" not in table
    assert len(table.splitlines()) == 3


def test_no_text_is_taken_for_the_options_of_a_row_end():
    r"""LaTeX reads what follows `\\`, `\toprule` or `\midrule` as options if it begins with a bracket or a star."""
    assert latex_escape("[a] *") == "{[}a{]} {*}"
    table = ResultTable("t", "T", ["[h", "x"], ["h", "x"], [["[2in]", 1.0], ["*", 2.0]], [])
    lines = to_latex(table).splitlines()
    after = [line for before, line in pairwise(lines) if before.endswith((r"\\", "rule"))]
    assert after
    assert not [line for line in after if line.startswith(("[", "*"))]


def test_a_note_of_several_tables_stands_once_and_is_named_where_it_belongs():
    def table(name, *notes):
        return ResultTable(name, name, ["a"], ["a"], [[1.0]], notes)

    tables = [table("x", "both", "x alone"), table("y", "last two", "both"), table("z", "last two")]
    text = to_markdown_together(tables)
    assert [text.count(note) for note in ("both", "x alone", "last two")] == [1, 1, 1]
    above, x, y, z = text.split("**")[0], *text.split("**")[2::2]
    assert above.endswith("\n1. both\n2. last two\n\n")
    assert [part.splitlines()[5:] for part in (x, y, z)] == [
        ["", "x alone", "", "Notes: 1.", ""],
        ["", "Notes: 1, 2.", ""],
        ["", "Notes: 2."],
    ]
    assert to_markdown_together(tables[:1]) == to_markdown(tables[0])
