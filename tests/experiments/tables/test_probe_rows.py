"""Rows, tables and figures of the probes' records, by hand."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from probe_material import attention, loss, probe_run, structure
from scipy.stats import ttest_1samp

from evaluation.results.interval_floors import FEWEST, REFUSED, Floor
from experiments.figures.probe_figures import (
    attention_figure,
    attention_ratio,
    loss_figure,
    plot_joint_map,
    plot_loss_difference,
    plot_site_map,
    plot_time,
    probe_figures,
)
from experiments.tables.formats import Estimate, to_markdown
from experiments.tables.probe_rows import loss_rows, structures_by_length, trend_rows
from experiments.tables.probe_tables import interval_p, probe_tables

pytestmark = pytest.mark.usefixtures("intervals_of_few_clips")


@pytest.fixture
def ax():
    return Figure().subplots()


def row(records, method):
    (found,) = [row for row in loss_rows(records) if row.method == method]
    return found


def test_differences_are_paired_by_clip_and_noise():
    records = [
        loss("dense", [1.0, 3.0]),
        loss("dense", [2.0, 2.0], noise=1),
        # Clips in another order: pairing goes by id.
        loss("litefocus", [3.3, 1.1], clips="ba"),
        loss("litefocus", [2.1, 2.3], noise=1),
    ]
    found = row(records, "litefocus")
    # Differences of clip a: 0.1 and 0.1, of b: 0.3 and 0.3, over a mean dense loss of 2: 5% and 15%.
    assert found.difference.value == pytest.approx(10.0)
    # Standard error 5; Student's t with one degree of freedom is 12.706.
    assert found.difference.high - 10 == pytest.approx(12.706 * 5, rel=1e-4)
    assert (found.clips, found.noise_draws, found.key_draws) == (2, 2, 1)
    assert row(records, "dense").difference is None
    assert row(records, "dense").loss.value == 2.0


def test_a_control_is_paired_with_dense_at_its_own_noise_only():
    records = [loss("dense", [1.0, 1.0]), loss("dense", [9.0, 9.0], noise=1), loss("deleted", [2.0, 2.0])]
    assert row(records, "deleted").difference.value == pytest.approx(100.0)


def test_fresh_keys_are_a_row_of_their_own_with_their_range():
    records = [
        probe_run(),
        loss("dense", [1.0, 1.0]),
        loss("litefocus", [1.5, 1.5]),
        loss("litefocus", [1.1, 1.1], keys=1),
        loss("litefocus", [1.3, 1.3], keys=2),
    ]
    fresh = row(records, "litefocus_fresh_keys")
    assert fresh.label == "LiteFocus, fresh keys"
    assert fresh.difference.value == pytest.approx(20.0)
    assert fresh.key_range == pytest.approx((10.0, 30.0))
    assert fresh.key_draws == 2
    assert row(records, "litefocus").difference.value == pytest.approx(50.0)
    assert row(records, "litefocus").key_range is None


def test_the_newest_reading_counts_and_one_clip_has_no_interval():
    records = [
        loss("dense", [1.0], clips="a"),
        loss("litefocus", [7.0], clips="a"),
        loss("litefocus", [2.0], clips="a"),
    ]
    found = row(records, "litefocus")
    assert found.difference.value == 100.0
    assert math.isnan(found.difference.low)


def test_equal_differences_have_no_interval():
    records = [loss("dense", [1.0, 1.0]), loss("litefocus", [1.1, 1.3]), loss("linear", [1.1, 1.3])]
    found = row(records, "linear")
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.to_litefocus == pytest.approx((0.0, math.nan, math.nan), nan_ok=True)
    assert row(records, "litefocus").to_litefocus is None


def test_clips_that_dense_lacks_give_no_difference():
    records = [loss("dense", [1.0], clips="a"), loss("litefocus", [2.0, 2.0])]
    assert row(records, "litefocus").difference is None


def test_the_table_shows_verdicts_and_what_was_not_read():
    records = [
        probe_run(levels=(500, 700)),
        loss("dense", [1.0, 1.0]),
        loss("litefocus", [1.1, 1.1001]),
        loss("deleted", [0.5, 0.5001]),
    ]
    (table,) = probe_tables(records)
    cells = [dict(zip(table.keys, line, strict=True)) for line in table.rows]
    marks = {(c["t"], c["method"]): getattr(c["difference_percent"], "mark", None) for c in cells}
    assert marks[500, "LiteFocus"] == "worse"
    assert marks[500, "Sites deleted"] == "better"
    assert [c["note"] for c in cells if c["t"] == 700] == ["not read yet: the probe is unfinished"] * 3
    text = to_markdown(table)
    assert "Testbed: evidence" in text
    assert "Gate: no reading" in text


def test_a_word_of_the_table_follows_its_adjusted_p():
    deltas = [0.1, 0.2, 0.15]
    lite = loss("litefocus", [1 + delta for delta in deltas], clips="abc")
    records = [probe_run(), loss("dense", [1.0, 1.0, 1.0], clips="abc"), lite]
    p = ttest_1samp(deltas, 0).pvalue
    assert p < 0.05 < 2 * p
    found = row(records, "litefocus")
    assert interval_p(found.difference, found.clips) == pytest.approx(p, rel=1e-9)

    def marks(records):
        (table,) = probe_tables(records)
        cells = [dict(zip(table.keys, line, strict=True)) for line in table.rows]
        return {c["method"]: getattr(c["difference_percent"], "mark", "") for c in cells}, table.notes[1]

    alone, note = marks(records)
    assert alone["LiteFocus"] == "worse"
    assert "for 1 comparisons, all" in note
    both, note = marks([*records, loss("deleted", [1.0, 1.3, 0.9], clips="abc")])
    assert both["LiteFocus"] == both["Sites deleted"] == ""
    assert "for 2 comparisons, all" in note


def test_the_detectable_difference_follows_the_interval_that_is_printed():
    rare = [0.0] * 190 + [0.5, 0.6]  # two clips make up the variance, so the printed interval is wider than Student's t
    names = [str(number) for number in range(192)]
    lite = loss("litefocus", [1 + delta for delta in rare], clips=names)
    (table,) = probe_tables([probe_run(), loss("dense", [1.0] * 192, clips=names), lite])
    (cells,) = [dict(zip(table.keys, line, strict=True)) for line in table.rows if line[2] == "LiteFocus"]
    plain = ttest_1samp(100 * np.array(rare), 0).confidence_interval()
    printed = cells["difference_percent"]
    assert printed.high - printed.low > 1.3 * (plain.high - plain.low)
    assert cells["detectable_percent"] == pytest.approx(1.4295 * (printed.high - printed.low) / 2, rel=0.05)


def test_too_few_clips_print_no_interval_no_word_and_no_p(monkeypatch):
    monkeypatch.setitem(FEWEST, "mean", Floor(3, 3))
    monkeypatch.setitem(FEWEST, "difference", Floor(2, 4))

    def cells(clips):
        of = {"dense": 1.0, "litefocus": 1.1, "focus_only": 1.2}
        read = [loss(m, [base + 0.001 * i for i in range(len(clips))], clips=clips) for m, base in of.items()]
        read[1].losses[0] += 1e-4  # paired differences that are all equal have no interval at any number
        read[2].losses[1] += 1e-4
        (table,) = probe_tables([probe_run(), *read])
        found = {line[2]: dict(zip(table.keys, line, strict=True)) for line in table.rows}
        row = next(cells for name, cells in found.items() if "ocus only" in name or name == "focus_only")
        losses = [math.isfinite(found["Dense (SDPA)"]["loss"].low)]
        losses += [math.isfinite(row[key].low) for key in ("difference_percent", "difference_to_litefocus_percent")]
        return losses, row["difference_percent"].mark, row["detectable_percent"], REFUSED in table.notes

    assert cells("ab") == ([False] * 3, "", None, True)
    assert cells("abc") == ([True, False, False], "", None, True)
    whole, mark, detectable, refused = cells("abcd")
    assert (whole, mark, refused) == ([True] * 3, "worse", False)
    assert detectable > 0


def test_the_change_with_length_is_taken_clip_by_clip_from_the_shortest_to_the_longest():
    def read(method, short, long, clips="abc"):
        yield loss(method, short, clips=clips)
        yield loss(method, [9.0] * len(clips), duration=7.0, clips=clips)  # between the two: not looked at
        yield loss(method, long, duration=10.0, clips=clips[::-1])  # pairing goes by id

    records = [
        probe_run(durations=(5.0, 7.0, 10.0)),
        *read("dense", [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]),
        *read("litefocus", [1.2, 1.3, 1.4], [2.0, 2.1, 2.2]),
        *read("deleted", [1.3, 1.3, 1.3], [2.6, 2.6, 2.6]),
        loss("litefocus", [1.1, 1.1, 1.1], keys=1, clips="abc"),
        loss("short", [1.1, 1.1, 1.1], clips="abc"),
    ]
    lite, deleted = trend_rows(records)
    # LiteFocus: 20, 30 and 40% at 5 s; 10, 5 and 0% at 10 s. Changes -10, -25, -40 points.
    found = ttest_1samp([-10.0, -25.0, -40.0], 0)
    bounds = found.confidence_interval()
    assert (lite.method, lite.shortest_s, lite.longest_s, lite.clips) == ("litefocus", 5.0, 10.0, 3)
    assert lite.to_dense == pytest.approx((-25.0, bounds.low, bounds.high))
    assert lite.to_litefocus is None
    # Deletion costs 30% at both: no change to dense, and all that LiteFocus gains.
    assert deleted.to_dense.value == pytest.approx(0.0)
    assert deleted.to_litefocus.value == pytest.approx(25.0)
    table = {table.name: table for table in probe_tables(records)}["denoising_loss_trend"]
    (row, other) = [dict(zip(table.keys, line, strict=True)) for line in table.rows]
    assert row["change_percent"].p == pytest.approx(found.pvalue)
    assert row["change_percent"].mark == ""  # p is .10
    assert other["change_percent"].p != other["change_percent"].p
    assert "for 2 comparisons, all of both columns" in table.notes[1]


def test_a_change_with_an_adjusted_p_has_its_word():
    records = [probe_run(), loss("dense", [1.0] * 3, clips="abc"), loss("dense", [1.0] * 3, duration=10.0, clips="abc")]
    records += [loss("litefocus", [1.0] * 3, clips="abc")]
    records += [loss("litefocus", [0.9, 0.9001, 0.9002], duration=10.0, clips="abc")]
    (cells,) = next(table.rows for table in probe_tables(records) if table.name == "denoising_loss_trend")
    assert (cells[4].mark, cells[5], cells[6]) == ("falls", None, 3)


def test_a_loss_that_is_not_finite_is_a_gap():
    (table,) = probe_tables([probe_run(), loss("dense", [1.0, 1.0]), loss("litefocus", [1.0, math.nan])])
    (cells,) = [line for line in table.rows if line[2] == "LiteFocus"]
    assert cells[3:] == [None] * 7 + ["the loss of some clip is not finite"]


def test_structures_survive_their_record():
    records = [probe_run(), attention(), attention(site="b", frequency=(0.75, 0.25)), attention(site="b")]
    assert structures_by_length(records) == {5.0: [structure(), structure("b")]}
    (table,) = probe_tables(records)
    assert table.rows == [[5.0, 500, 2, Estimate(1, 1, 1), Estimate(0.25, 0.25, 0.25), Estimate(0.125, 0.125, 0.125)]]


def test_attention_is_shown_over_uniform_and_averaged_over_sites():
    structures = [structure(frequency=(1.0, 0.0)), structure("b")]
    assert attention_ratio(structures, "frequency").tolist() == [1.5, 0.5]
    assert attention_ratio(structures, "time").tolist() == [0.5, 1.5]
    with pytest.raises(ValueError, match="accepted are 'frequency' and 'time'"):
        attention_ratio(structures, "both")
    with pytest.raises(ValueError, match=r"one grid are needed, got time lengths \[2, 3\]"):
        attention_ratio([structure(), structure(time=(0.1, 0.1, 0.8))], "time")


def test_the_site_map_has_a_row_per_site_and_the_joint_map_a_column_per_octave(ax):
    plot_site_map([structure(frequency=(1.0, 0.25)), structure("b")], ax)
    assert ax.images[0].get_array().tolist() == [[1.0, -1.0], [0.0, 0.0]]
    plot_joint_map([structure(frequency=(1.0, 0.25))], ax)
    # Times 0 and 1 hold half and 1.5 times their share; bins 0 and 1 twice and half of theirs.
    assert ax.images[1].get_array().tolist() == [[0.0, math.log2(3.0)], [-2.0, math.log2(0.75)]]


def test_time_offsets_are_in_seconds(ax):
    plot_time({5.0: [structure(time=(0.25, 0.25, 0.25, 0.25))]}, ax)
    # Octaves 0, 1 and 2-3 at two frames a second.
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([0.0, 0.5, math.sqrt(6) / 2])


def test_loss_lines_leave_dense_out_and_gaps_open(ax):
    records = [loss("dense", [1.0, 1.0]), loss("litefocus", [1.5, 1.5]), loss("dense", [1.0, 1.0], duration=10.0)]
    plot_loss_difference(loss_rows(records), ax)
    (line,) = [container[0] for container in ax.containers]
    assert line.get_ydata().tolist() == [50.0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "10"]


def test_figures_are_written_where_the_records_allow_them_and_are_byte_stable(tmp_path):
    records = [probe_run(), loss("dense", [1.0, 1.1]), loss("litefocus", [1.2, 1.2]), attention()]
    first, second = probe_figures(records, tmp_path / "a"), probe_figures(records, tmp_path / "b")
    assert [path.name for path in first] == [
        f"{name}.{end}" for name in ("attention", "denoising_loss") for end in ("svg", "png", "pdf")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert "Gate: no reading" in first[0].read_text()
    assert probe_figures([probe_run()], tmp_path / "c") == []
    assert probe_figures([], tmp_path / "c") == []
    assert attention_figure({5.0: [structure()]}, tmp_path / "d", "x")
    assert loss_figure(loss_rows(records), tmp_path / "e", "x")
