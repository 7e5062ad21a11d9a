"""What the quality and probe figures show: the numbers behind the ink, gaps, and equal bytes for equal records."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from listen_material import METHODS, make_run, run_record, timing
from quality_material import DENSE, LITE, difference, sweep_record, value

from experiments.figures import quality_figures as quality_module
from experiments.figures.quality_figures import (
    against_baseline,
    plot_difference,
    plot_profile,
    plot_quality,
    quality_figures,
    without_controls,
)
from experiments.figures.step_time_figure import StepShare, plot_step_time, step_shares, step_time_figure
from experiments.figures.sweep_figures import plot_pareto, plot_sparsity
from experiments.listen.spectrogram_figure import spectrogram_figure
from experiments.records.provenance import TESTBED_NOTE
from experiments.records.run import Run
from experiments.tables.quality_rows import differences, quality_rows
from experiments.tables.quality_tables import result_tables


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def lines(ax):
    """label -> (x, y) of the error bar lines."""
    handles, labels = ax.get_legend_handles_labels()
    return {label: tuple(map(list, handle[0].get_data())) for handle, label in zip(handles, labels, strict=True)}


def bars(ax, label):
    """[(low, high)] of an error bar line."""
    handles, labels = ax.get_legend_handles_labels()
    (collection,) = handles[labels.index(label)][2]
    return [(segment[0][1], segment[1][1]) for segment in collection.get_segments()]


def test_quality_against_length_shows_values_and_intervals(ax):
    records = [run_record(["a"], [10.0, 20.0]), value(DENSE, number=3.0), value(DENSE, number=4.0, duration=20)]
    records.append(value(LITE, number=2.0, half=0.5))
    plot_quality(quality_rows(Run(records), "strict"), "fad", ax)
    shown = lines(ax)
    assert shown["Dense (SDPA)"][1] == [3.0, 4.0]
    assert shown["LiteFocus"][1] == [2.0]
    assert bars(ax, "LiteFocus") == [(1.5, 2.5)]
    assert "Focus only" not in shown
    assert ax.get_ylabel() == "FAD ↓"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "20"]


def test_differences_to_the_baseline_are_the_paired_ones(ax):
    records = [run_record(["a"], [10.0]), value(DENSE, number=3.0), value(LITE, number=1.0)]
    records += [difference(LITE, DENSE, -1.5, half=0.25), difference(DENSE, LITE, 7.0)]
    label, rows = against_baseline(quality_rows(Run(records), "strict"), differences(Run(records), "strict"))
    plot_difference(rows, "fad", ax)
    assert label == "Dense (SDPA)"
    assert lines(ax) == {"LiteFocus": ([10.0], [-1.5])}
    assert bars(ax, "LiteFocus") == [(-1.75, -1.25)]
    assert ax.get_ylabel() == "Δ FAD ↓"


def test_without_differences_there_is_nothing_to_set_against_the_baseline():
    assert against_baseline(quality_rows(Run([value(DENSE)]), "strict"), {}) == ("", [])
    bare = [value(DENSE), value(LITE), difference(LITE, DENSE, -1.0, half=math.nan)]
    assert against_baseline(quality_rows(Run(bare), "strict"), differences(Run(bare), "strict")) == ("", [])


def test_controls_are_left_out_where_they_would_set_the_scale():
    records = [run_record(["a"], [10.0]), *(value(name) for name in (DENSE, LITE, "deleted"))]
    rows = quality_rows(Run(records), "strict")
    drawn, said = without_controls(rows)
    assert [row.method for row in drawn] == [row.method for row in rows if row.method != "deleted"] != []
    assert said == ["Not drawn, for the scale, but in the table: deleted."]
    assert without_controls(drawn) == (drawn, [])
    controls = [row for row in rows if row.method == "deleted"]
    assert without_controls(controls) == (controls, [])


def test_a_value_outside_its_interval_is_drawn_not_refused(ax):
    plot_quality(quality_rows(Run([value(DENSE, number=1.0, low=1.1, high=1.2)]), "strict"), "fad", ax)
    assert bars(ax, "dense") == [(1.0, 1.2)]


def sweep_rows():
    """A sweep: with the own bin at 0 (focus only), 0.1 (LiteFocus) and 0.4 (more); differences to dense by name."""
    timed = timing(dense=[4.0], litefocus=[2.0], more=[3.2], focus_only=[1.0])
    records = [sweep_record(), timed, value(DENSE)]
    for name, gap in (("more", -2.0), (LITE, -1.5), ("focus_only", 1.0)):
        records += [value(name), difference(name, DENSE, gap, half=0.5)]
    return against_baseline(quality_rows(Run(records), "strict"), differences(Run(records), "strict"))[1]


def test_a_sweep_joins_a_family_in_the_order_of_its_share_of_keys(ax):
    plot_sparsity(sweep_rows(), "fad", ax)
    shares, gaps = lines(ax)["With the own frequency bin"]
    assert np.round(shares, 1).tolist() == [0.0, 0.1, 0.4]
    assert gaps == [1.0, -1.5, -2.0]
    assert bars(ax, "With the own frequency bin")[1] == (-2.0, -1.0)
    assert ax.get_ylabel() == "Δ FAD ↓"


def test_pareto_sets_the_differences_against_speed(ax):
    plot_pareto(sweep_rows(), "fad", ax)
    assert lines(ax) == {"With the own frequency bin": ([4.0, 2.0, 1.25], [1.0, -1.5, -2.0])}
    assert [text.get_text() for text in ax.texts] == ["0", "0.1", "0.4"]
    assert ax.get_legend_handles_labels()[0][0][0].get_linestyle() == "None"


def test_a_profile_stands_at_the_middle_of_its_windows(ax):
    records = [value(DENSE, number=float(k), window=k) for k in (1, 0, 2)]
    plot_profile(records, 5.0, {DENSE: "Dense"}, ax)
    (line,) = ax.get_lines()
    assert line.get_xydata().tolist() == [[2.5, 0.0], [7.5, 1.0], [12.5, 2.0]]


def test_a_steps_time_is_split_at_the_limit_arm():
    timed = timing(dense=[4.0, 6.0], litefocus=[3.0, 3.0], no_attention=[2.0, 3.0], dense_again=[4.0, 6.0])
    shares = step_shares(Run([timing(dense=[9.0], no_attention=[1.0]), timed]))
    assert [(share.attention_s, share.rest_s) for share in shares] == [(2.5, 2.5), (0.5, 2.5), (0.0, 2.5)]
    assert step_shares(Run([timing(dense=[4.0])])) == []


def test_step_time_bars_stack(ax):
    plot_step_time([StepShare(10.0, "Dense", 3.0, 1.0), StepShare(10.0, "Limit", 0.0, 1.0)], ax)
    assert [bar.get_width() for bar in ax.patches] == [1.0, 1.0, 3.0, 0.0]
    assert ax.patches[2].get_x() == 1.0
    assert [text.get_text().strip() for text in ax.texts] == ["75%", "0%"]


def everything():
    record = sweep_record()
    record.pipeline["name"] = "testbed"
    timed = timing(dense=[4.0], litefocus=[2.0], more=[3.2], no_attention=[1.0])
    scored = [value(name, number=2.0 + i) for i, name in enumerate((DENSE, LITE, "more"))]
    curve = [value(DENSE, window=k) for k in range(3)]
    return [record, timed, *scored, difference(LITE, DENSE, -0.5), *curve]


def draw(folder):
    return quality_figures(Run(everything()), folder) + step_time_figure(Run(everything()), folder / "step_time")


def test_every_figure_that_the_records_can_fill_is_written_and_byte_stable(tmp_path):
    first = draw(tmp_path / "a")
    names = ("sparsity_10s", "pareto_10s", "profile", "step_time")
    assert [path.name for path in first] == [f"{name}.{end}" for name in names for end in ("svg", "png", "pdf")]
    second = draw(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    for path in first[:9:3]:
        assert TESTBED_NOTE.split(":")[0] in path.read_text()
        assert "Gate: no reading" in path.read_text()


def test_the_timing_baseline_is_the_main_one_where_there_are_differences_to_it():
    record = run_record(["a"], [10.0], timing={"baseline": DENSE})
    records = [record, value(DENSE), value(LITE), value("focus_only"), difference("focus_only", LITE, 0.5)]
    assert (
        against_baseline(quality_rows(Run(records), "strict"), differences(Run(records), "strict"), DENSE)[0]
        == "LiteFocus"
    )
    records.append(difference(LITE, DENSE, -0.5))
    label, rows = against_baseline(quality_rows(Run(records), "strict"), differences(Run(records), "strict"), DENSE)
    assert (label, [row.method for row in rows]) == ("Dense (SDPA)", [LITE])
    (power,) = [table for table in result_tables(Run(records)) if table.name == "power"]
    assert "smallest difference to Dense (SDPA)" in power.title


@pytest.mark.parametrize(("config", "window_s"), [({"metrics": {"window_s": 5.12}}, 5.12), ({}, 10.0)])
def test_a_profile_takes_its_window_from_what_scored(tmp_path, monkeypatch, config, window_s):
    seen = []
    monkeypatch.setattr(quality_module, "plot_profile", lambda records, window, labels, ax: seen.append(window))
    records = [value(DENSE, duration=12.8, window=k) for k in (0, 1)]
    quality_figures(Run([run_record(["a"], [12.8], **config), value(DENSE, duration=12.8), *records]), tmp_path)
    assert seen == [window_s]


def test_nothing_is_drawn_from_nothing(tmp_path):
    assert quality_figures(Run([]), tmp_path) == []
    assert quality_figures(Run([run_record(["a"], [10.0])]), tmp_path) == []
    assert step_time_figure(Run([timing(dense=[4.0])]), tmp_path / "step_time") == []
    assert list(tmp_path.iterdir()) == []


def test_only_a_sweep_of_one_length_goes_without_figures_against_length(tmp_path):
    plain = [run_record(["a"], [10.0]), value(DENSE), value(LITE), difference(LITE, DENSE, -0.5)]
    written = quality_figures(Run(plain), tmp_path)
    assert [path.stem for path in written][::3] == ["quality", "difference"]
    assert "Quality against length, 95% intervals" in written[0].read_text()
    bare = quality_figures(Run([plain[0], value(DENSE, half=math.nan)]), tmp_path / "bare")
    assert "95%" not in bare[0].read_text()
    longer = [*everything(), value(DENSE, duration=20)]
    names = [path.stem for path in quality_figures(Run(longer), tmp_path)][::3]
    assert names == ["sparsity_10s", "pareto_10s", "quality", "difference", "profile"]


def test_presets_have_their_own_figures(tmp_path):
    names = {path.stem for path in quality_figures(Run([value(DENSE), value(DENSE, preset="tango")]), tmp_path)}
    assert names == {"quality_strict", "quality_tango"}


def test_spectrograms_show_the_prompt_with_most_methods_at_the_longest_length(tmp_path):
    captions = {"a": "Rain", "b": "Wind $x$ <b>"}
    make_run(tmp_path, captions, [0.1, 0.3], skip=[("a", 0.3, "dense")])
    svg, *_ = spectrogram_figure(Run.load(tmp_path), tmp_path / "figures" / "spectrograms")
    text = svg.read_text()
    assert "“Wind $x$ &lt;b&gt;”, seed 0" in text
    assert all(label in text for label in METHODS.values())
    svg, *_ = spectrogram_figure(Run.load(tmp_path), tmp_path / "figures" / "other", "a")
    assert "Rain" in svg.read_text()
    assert "Dense" not in svg.read_text()
    assert spectrogram_figure(Run.load(tmp_path), tmp_path / "none", "absent") == []


def test_spectrograms_of_a_folder_without_audio_are_not_drawn(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.1])
    for path in (tmp_path / "audio").rglob("*.wav"):
        path.unlink()
    assert spectrogram_figure(Run.load(tmp_path), tmp_path / "spectrograms") == []


def test_nan_intervals_still_show_the_value(ax):
    plot_quality(quality_rows(Run([value(DENSE, low=np.nan, high=np.nan)]), "strict"), "fad", ax)
    assert lines(ax)["dense"][1] == [2.0]


@pytest.mark.parametrize(("clips", "shown"), [(2, False), (40, True)])
def test_a_profile_of_few_clips_has_no_band(tmp_path, monkeypatch, clips, shown):
    """Two clips of equal hits gave a band of hit rates from -2 to 4."""
    seen = []
    monkeypatch.setattr(quality_module, "plot_profile", lambda records, window, labels, ax: seen.extend(records))
    records = [value(DENSE, "clap", duration=12.8, window=k, n_scored=clips) for k in (0, 1)]
    quality_figures(Run([run_record(["a"], [12.8]), value(DENSE, duration=12.8), *records]), tmp_path)
    assert [not math.isnan(record.low) for record in seen] == [shown, shown]
