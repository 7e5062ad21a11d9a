"""Quality tables by hand: who is bold, what is missing and why, and cells that stay cells in every format."""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from listen_material import METHODS, clip, failure, run_record, timing
from quality_material import DENSE, FOCUS, HOSTILE, LITE, THREE, difference, sweep_record, value
from ratio_material import times_faster

from experiments.records import FailureRecord
from experiments.records.provenance import OTHER_CAPTIONS, TESTBED_NOTE, quality_notes
from experiments.records.run import Run
from experiments.tables.escaping import latex_escape
from experiments.tables.formats import NO_INTERVAL, OF_TIMES, Estimate, ResultTable, decimals, to_csv, to_markdown
from experiments.tables.latex import to_latex
from experiments.tables.quality_rows import beats, differences, is_best, mechanisms, quality_rows, verdict
from experiments.tables.quality_tables import result_tables
from experiments.tables.run_tables import all_tables
from experiments.tables.speed_rows import speed_rows
from experiments.tables.speed_table import speed_table


def table(records, name="quality"):
    return next(found for found in result_tables(Run(records)) if found.name == name)


def cells(records, name="quality"):
    found = table(records, name)
    return [dict(zip(found.keys, row, strict=True)) for row in found.rows]


def bold(records):
    return [row["method"] for row in cells(records) if isinstance(row["fad"], Estimate) and row["fad"].best]


def test_bold_needs_a_paired_difference_to_every_other_method():
    assert bold(THREE) == []
    assert bold([*THREE, difference(LITE, DENSE, -2.0)]) == []
    assert bold([*THREE, difference(LITE, DENSE, -2.0), difference(LITE, FOCUS, -1.0)]) == ["LiteFocus"]
    # The same comparison told from the other side.
    assert bold([*THREE, difference(LITE, DENSE, -2.0), difference(FOCUS, LITE, 1.0)]) == ["LiteFocus"]
    # An interval that touches zero on one side.
    assert bold([*THREE, difference(LITE, DENSE, -2.0), difference(LITE, FOCUS, -0.1, half=0.1)]) == []


def as_shown(*args, **changes):
    """A difference as tables show it, alone in its family."""
    (found,) = differences(Run([run_record(["a"], [10.0]), difference(*args, **changes)]), "strict").values()
    return found


def test_the_direction_decides_who_is_better():
    down, up = as_shown(LITE, DENSE, -1.0), as_shown(LITE, DENSE, -1.0, higher_is_better=True)
    assert (verdict(down), verdict(up), verdict(as_shown(LITE, DENSE, 0.05))) == ("better", "worse", "")
    assert beats(down)
    assert not beats(up)
    assert beats(up, reverse=True)
    assert not beats(None)
    neither = as_shown(LITE, DENSE, -1.0, higher_is_better=None)
    assert (verdict(neither), beats(neither), beats(neither, reverse=True)) == ("differs", False, False)
    assert verdict(as_shown(LITE, DENSE, math.nan)) == ""


def test_a_metric_outside_the_main_table_keeps_its_difference_and_takes_no_part_in_the_family():
    kad = difference(LITE, DENSE, -2.0, name="kad")
    found = differences(Run([*THREE, difference(LITE, DENSE, -2.0), kad]), "strict")
    fad, other = (found[10.0, LITE, DENSE, name] for name in ("fad", "kad"))
    assert (fad.details["family"], verdict(fad)) == (1, "better")
    assert (other.value, verdict(other)) == (-2.0, "")


def test_a_difference_of_another_length_metric_or_preset_does_not_count():
    base = [*THREE[:3]]
    assert bold([*base, difference(LITE, DENSE, -2.0)]) == ["LiteFocus"]
    for change in ({"duration": 20}, {"name": "kl"}, {"preset": "published"}, {"window": 3}):
        records = [*base, difference(LITE, DENSE, -2.0, **change)]
        assert [r for r in cells(records) if getattr(r["fad"], "best", False)] == []


def test_clips_of_one_window_say_so_where_longer_ones_have_a_drift():
    both = [value(DENSE), value(DENSE, duration=20), value(DENSE, "consistency", duration=20)]
    rows = cells([*both, value(DENSE, "fad_drift", 0.5, duration=20)])
    assert rows[0]["note"] == "no consistency, FAD drift: clips of one window"
    assert rows[1]["note"] == ""
    # Where the same length has a drift, a missing consistency has another reason.
    other = [value(LITE, duration=20), value(LITE, "fad_drift", duration=20)]
    assert cells([*both, *other])[-1]["note"] == "no consistency: no clips generated"


def test_a_method_alone_is_not_the_best():
    rows = quality_rows(Run([value(LITE)]), "strict")
    assert not is_best(rows[0], "fad", rows, {})


def test_the_newest_record_counts_and_rows_follow_the_run():
    records = [run_record(["a"], [20.0, 10.0]), value(FOCUS), value(DENSE, number=1.0), value(DENSE, number=9.0)]
    rows = quality_rows(Run(records), "strict")
    assert [(row.duration_s, row.label) for row in rows] == [
        (duration, label) for duration in (10.0, 20.0) for label in METHODS.values()
    ]
    assert rows[0].metrics["fad"].value == 9.0


def test_every_gap_says_why():
    wav = b"x"
    records = [
        run_record(["a"], [10.0]),
        value(DENSE),
        value(DENSE, "kl", math.nan, n_scored=1),
        clip("c", LITE, 10.0, "a", "Rain", 0, "audio/c/a_0.wav", wav),
        failure("c", FOCUS, 10.0, "a", 0, "out of memory"),
    ]
    notes = {row["method"]: row["note"] for row in cells(records)}
    assert notes == {
        "Dense (SDPA)": "KL undefined from 1 clip",
        "LiteFocus": "no FAD, KL: 1 clip generated, not scored",
        "Focus only": "no FAD, KL: generate: out of memory",
    }
    assert cells(records)[0]["kl"] is None
    assert (
        quality_rows(Run([run_record(["a"], [10.0]), value(DENSE)]), "strict")[2].note == "no FAD: no clips generated"
    )


def test_a_value_without_an_interval_stands_alone_and_says_why():
    records = [run_record(["a"], [10.0]), value(DENSE), value(LITE, half=math.nan, n_scored=2)]
    lite = cells(records)[1]
    assert lite["note"] == "2 clips are too few for intervals"
    text = to_markdown(table(records))
    assert "nan" not in text
    assert "| 2.00 [1.90, 2.10]" in text
    assert re.search(r"\| LiteFocus +\| 2.00 +\|", text)


def test_a_metric_that_never_has_an_interval_is_not_blamed_on_the_number_of_clips():
    assert cells([run_record(["a"], [10.0]), value(DENSE, half=math.nan, n_scored=64)])[0]["note"] == ""


def test_a_half_finished_run_says_how_much_is_missing():
    asked = run_record(["a", "b"], [10.0], seeds=(0, 1))
    records = [
        asked,
        value(DENSE),
        value(LITE),
        *(clip("c", DENSE, 10.0, p, "Rain", 0, f"audio/c/{p}_0.wav", b"x") for p in "ab"),
    ]
    records += [clip("c", LITE, 10.0, p, "Rain", s, f"audio/c/{p}_{s}.wav", b"x") for p in "ab" for s in (0, 1)]
    notes = {row["method"]: row["note"] for row in cells(records)}
    assert notes["Dense (SDPA)"] == "2 of 4 clips not generated"
    assert notes["LiteFocus"] == ""
    assert notes["Focus only"] == "no FAD: no clips generated"


def test_a_clip_of_one_window_has_no_drift_and_the_note_says_so():
    records = [run_record(["a"], [5.0, 10.0]), value(DENSE, duration=5), value(DENSE), value(DENSE, "fad_drift")]
    notes = {(row["duration_s"], row["method"]): row["note"] for row in cells(records)}
    assert notes[5.0, "Dense (SDPA)"] == "no FAD drift: clips of one window"
    assert notes[10.0, "Dense (SDPA)"] == ""


def test_a_start_that_only_timed_asks_for_no_clips():
    timed = run_record(["a"], [80.0], stages=["timing", "report"])
    assert {row.duration_s for row in quality_rows(Run([timed, value(DENSE)]), "strict")} == {10}


def test_the_power_table_stands_beside_the_differences():
    records = [*THREE, difference(LITE, DENSE, -2.0, half=0.98), difference(FOCUS, DENSE, math.nan, half=math.nan)]
    (lite, focus) = cells(records, "power")
    # Half width 0.98: standard error 0.5, 80% power from 2.80 of them.
    assert (lite["method"], lite["fad"]) == ("LiteFocus", 1.4)
    assert (focus["method"], focus["fad"]) == ("Focus only", None)


def test_any_new_metric_appears_with_its_arrow():
    records = [*THREE, value(DENSE, "hit_rate", 0.9, higher_is_better=True)]
    found = table(records)
    assert "hit rate ↑" in found.header
    assert cells(records)[1]["note"] == "no hit rate: no clips generated"


def test_clips_that_were_not_scored_are_counted_with_the_reason():
    records = [
        run_record(["a"], [10.0]),
        value(DENSE, n_scored=61, n_failed=3),
        FailureRecord("r", "score", "c", DENSE, 10.0, "a_0.wav is empty", "a"),
        FailureRecord("r", "timing", "", DENSE, 10.0, "other matter"),
    ]
    assert cells(records)[0]["note"] == "3 of 64 clips not scored: a_0.wav is empty"


def test_mechanisms_come_from_the_configuration():
    options = {"same_frequency": True, "cross_frequency": True, "sparse_ratio": 0.2}
    assert mechanisms({"patch": {"config": options}}) == (True, True, 0.2)
    assert mechanisms({"patch": {"config": {**options, "cross_frequency": False}}}) == (True, False, 0.0)
    assert mechanisms({"patch": {"_target_": "contextlib.nullcontext"}}) is None
    assert mechanisms({}) is None


def test_sparsity_and_ablation_tables_appear_where_the_methods_make_them():
    timed = timing(dense=[4.0, 4.0], litefocus=[2.0, 1.0])
    records = [sweep_record(), timed, *(value(name) for name in (DENSE, LITE, FOCUS, "more", "rest"))]
    # A sweep's own table comes first, and no second one repeats its rows.
    assert [t.name for t in result_tables(Run(records))] == ["sparsity", "quality", "all_metrics"]
    one_share = [sweep_record(), *(value(name) for name in (LITE, FOCUS, "rest"))]
    del one_share[0].config["methods"]["more"]
    assert [t.name for t in result_tables(Run(one_share))] == ["quality", "all_metrics", "ablation"]
    assert [t.name for t in result_tables(Run(THREE))] == ["quality", "all_metrics"]
    rows = {row["method"]: row for row in cells(records, "sparsity")}
    assert [rows[name]["sparse_ratio"] for name in (LITE, FOCUS, "more")] == [0.1, 0.0, 0.4]
    assert (rows[FOCUS]["same_frequency"], rows[FOCUS]["cross_frequency"]) == ("yes", "no")
    assert rows["Dense (SDPA)"]["same_frequency"] == ""
    faster = rows[LITE]["speedup"]
    assert (faster.value, faster.low, faster.high) == times_faster(2.0, 4.0)
    assert rows[FOCUS]["speedup"] is None


def test_the_difference_table_says_better_and_worse():
    records = [*THREE, difference(LITE, DENSE, -2.0), difference(FOCUS, DENSE, 0.5), difference(LITE, FOCUS, 0.01)]
    text = to_markdown(table(records, "difference_dense"))
    assert "-2.00 [-2.10, -1.90] better" in text
    assert "+0.50 [0.40, 0.60] worse" in text
    assert "+0.01" not in text
    assert "Dense (SDPA) (same prompts" in text
    assert [t.name for t in result_tables(Run(records))][2:] == ["difference_dense", "difference_focus_only", "power"]


def test_sweeps_of_several_presets_come_first_and_in_the_order_of_the_presets():
    records = [sweep_record(), *(value(n, preset=p) for p in ("strict", "tango") for n in (DENSE, LITE, "more"))]
    names = [found.name for found in result_tables(Run(records))]
    assert names[:3] == ["sparsity_strict", "sparsity_tango", "quality_strict"]


def test_presets_never_share_a_table():
    records = [*THREE, value(DENSE, number=50.0, preset="stable-audio")]
    tables = {t.name: t for t in result_tables(Run(records))}
    assert list(tables) == [
        f"{name}_{preset}" for preset in ("strict", "stable_audio") for name in ("quality", "all_metrics")
    ]
    assert [row[2] and row[2].value for row in tables["quality_stable_audio"].rows] == [50.0, None, None]


def test_the_gate_and_the_limits_of_the_testbed_stand_beside_its_tables():
    record = run_record(["a"], [10.0])
    assert quality_notes([record]) == []
    record.pipeline["name"] = "testbed"
    assert quality_notes([record])[0] == TESTBED_NOTE
    assert "no claim about quality" in quality_notes([record])[1]
    record.config["durations"] = [5.0, 10.0, 20.0, 40.0]
    record.pipeline["training_length_s"] = 10.0
    record.pipeline["gate"] = [
        {"length": 1, "verdicts": {"same_frequency": True, "deletion": True}},
        {"length": 4, "verdicts": {"same_frequency": True, "deletion": False}},
        {"length": 2, "verdicts": {"same_frequency": True, "deletion": True}},
    ]
    notes = quality_notes([record])
    assert notes[1] == "Gate at 0.5x: no reading, so no claim about quality can be made there."
    assert notes[2] == "Gate at 1x, 2x: passed (2 of 2 criteria)."
    assert notes[3].startswith("Gate at 4x: FAILED (deletion): the method's effect on quality is not testable")
    for written in (to_markdown(table([record, value(DENSE)])), to_latex(table([record, value(DENSE)]))):
        assert all(note in written for note in notes)


def test_a_gate_read_on_other_captions_or_lengths_is_not_claimed():
    record = run_record(["a"], [10.0])
    record.pipeline.update(name="testbed", training_length_s=10.0, gate=[{"length": 2, "verdicts": {"deletion": True}}])
    record.config["data"] = {"_target_": "experiments.testbed.plugin.load_prompts.load_prompts"}
    none = "Gate at 1x: no reading, so no claim about quality can be made there."
    assert quality_notes([record]) == [TESTBED_NOTE, none]
    record.config["data"] = {"_target_": "experiments.datasets.prompts.load_captions"}
    assert quality_notes([record]) == [TESTBED_NOTE, none, OTHER_CAPTIONS]


def test_every_table_says_its_settings_and_only_the_notes_that_apply():
    record = run_record(["a"], [10.0])
    record.config.update(steps=8, guidance=3.0, seeds=[0, 1])
    tables = result_tables(Run([record, value(DENSE), value(LITE), difference(LITE, DENSE, 1.0)]))
    said = {table.name: " ".join(table.notes) for table in tables}
    assert list(said) == ["quality", "all_metrics", f"difference_{DENSE}", "power"]
    assert all("1 prompt, 2 seeds, 8 steps, guidance 3, preset strict." in notes for notes in said.values())
    assert [name for name, notes in said.items() if "Bold:" in notes] == ["quality"]
    assert [name for name, notes in said.items() if "Intervals: 95%" in notes] == list(said)[:3]
    bare = result_tables(Run([record, value(DENSE, low=math.nan, high=math.nan)]))
    said = " ".join(note for table in bare for note in table.notes)
    assert "Intervals" not in said
    assert "Bold" not in said  # nothing can be bold without differences


def test_equal_differences_are_said_and_not_a_power_of_zero():
    equal = [difference(LITE, DENSE, 0.1, half=0.0), difference(FOCUS, DENSE, 0.1, half=1e-17)]
    records = [*THREE, *equal, difference(LITE, DENSE, 2.0, name="kl")]
    (power,) = (table for table in result_tables(Run(records)) if table.name == "power")
    assert [row[2] for row in power.rows] == ["all equal", "all equal"]
    assert any(note.startswith("All equal: every clip gave the same difference") for note in power.notes)
    undefined = difference(LITE, DENSE, 0.1, low=math.nan, high=math.nan)
    assert "power" not in [table.name for table in result_tables(Run([*THREE, undefined]))]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(1337.259, "1337"), (-0.00123456, "-0.00123"), (12.345, "12.3"), (0.0, "0.00"), (1.69e-5, "0.0000169")],
)
def test_a_value_without_interval_has_three_significant_digits(number, shown):
    cells = [[Estimate(number, math.nan, math.nan)], [Estimate(2.0, 1.5, 2.5)]]
    lines = to_markdown(ResultTable("t", "T", ["x"], ["x"], cells)).splitlines()
    assert lines[4].strip("| ") == shown
    assert lines[5].strip("| ") == "2.00 [1.50, 2.50]"


def test_a_ratio_of_one_round_has_no_interval_and_the_table_says_so():
    records = [run_record(["a"], [10.0]), timing(dense=[2.0], litefocus=[1.0])]
    table = speed_table(speed_rows(Run(records)), records[0], ["made here"])
    text = to_markdown(table)
    assert "[2.0" not in text
    assert list(table.notes) == [NO_INTERVAL, "made here"]
    several = [records[0], timing(litefocus=[1.0, 1.1], dense=[2.0, 2.0])]
    table = speed_table(speed_rows(Run(several)), records[0], [])
    cell = table.rows[0][6]
    assert (cell.value, cell.low, cell.high) == times_faster(2.0, 2.0 / 1.1)
    assert list(table.notes) == [OF_TIMES, NO_INTERVAL]  # the second is of dense over itself


def test_seconds_of_clips_say_where_they_were_made_unless_as_the_steps_were_timed():
    timed = run_record(["a"], [10.0])
    alone = clip("x_10s_2steps_g3.5", "litefocus", 10.0, "a", "Rain", 0, "audio/x_10s_2steps_g3.5/a_0.wav", b"x")

    def notes(made, clips):
        starts = [made, replace(timed, run_id="timed")]
        records = [*starts, *clips, replace(timing(dense=[2.0], litefocus=[1.0]), run_id="timed")]
        return [note for note in all_tables(Run(records, Path()))["speed"].notes if note.startswith("s/clip")]

    assert notes(timed, [alone]) == notes(timed, []) == []
    other = replace(timed, environment={**timed.environment, "threads": 7})
    (note,) = notes(other, [alone])
    assert "(7 threads)" in note
    sharded = replace(timed, config={**timed.config, "shard": {"index": 0, "count": 2}})
    (note,) = notes(sharded, [alone])
    assert note.endswith(", 2 processes side by side.")


def test_decimals_show_two_digits_of_the_narrowest_interval():
    assert decimals([Estimate(1.0, 0.9, 1.1), Estimate(1.0, 0.5, 1.5)]) == 2
    assert decimals([Estimate(100.0, 70.0, 130.0)]) == 0
    assert decimals([Estimate(0.0, -1e-9, 1e-9)]) == 4
    assert decimals([None, "x", 3.0]) == 2
    assert decimals([Estimate(1.0, 1.0, 1.0), Estimate(1.0, math.nan, math.nan)]) == 2


def hostile_table():
    return ResultTable("t", "T | <b>", ["m", "v"], ["m", "v"], [[text, None] for text in HOSTILE], ["n\n| <i>"])


def test_hostile_text_stays_in_its_cell():
    lines = to_markdown(hostile_table()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert "<script" not in "\n".join(rows)
    read = list(csv.reader(io.StringIO(to_csv(hostile_table()))))
    assert [row[0] for row in read[1:]] == ["'=cmd()", *HOSTILE[1:]]
    latex = to_latex(hostile_table())
    assert r"50\% \& \$x\_1\textasciicircum{}2\$ \#\textasciitilde{}\{\}\textbackslash{}" in latex
    assert latex.count(r" \\") == 1 + len(HOSTILE)


def test_latex_numbers_and_rules():
    found = ResultTable("t", "T", ["m ↓", "v"], ["m", "v"], [["x", Estimate(-1.0, -1.2, 0.8, True)], ["–", None]])
    latex = to_latex(found)
    assert r"x & \textbf{$-$1.0} [$-$1.2, 0.8] \\" in latex
    assert r"-- & -- \\" in latex
    assert r"m $\downarrow$ & v \\" in latex
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert latex_escape("a–b") == "a--b"


def test_the_main_table_shows_the_headline_metrics_and_the_other_table_all():
    records = [*THREE, value(DENSE, "repetition", 0.5, n_scored=7, n_failed=1), value(DENSE, "clap_drift", 0.1)]
    assert table(records).keys == ["duration_s", "method", "fad", "clap_drift", "note"]
    rows = [row[1:3] + row[4:] for row in table(records, "all_metrics").rows]
    assert ["Dense (SDPA)", "repetition ↓", 7, 1] in rows
    assert len(rows) == 5


def test_every_metric_shows_its_own_digits_whatever_stands_beside_it():
    nan = math.nan
    numbers = (("fad", 2024.0, 400.0), ("kad", 0.000123, nan), ("clap", 0.40123, 0.0042), ("repetition", 31.25, nan))
    records = [run_record(["a"], [10.0]), *(value(DENSE, name, number, half=half) for name, number, half in numbers)]
    found = table(records, "all_metrics")
    shown = [row.split("|")[4].strip() for row in to_markdown(found).splitlines() if "Dense" in row]
    assert shown == ["2024 [1624, 2424]", "0.000123", "0.4012 [0.3970, 0.4054]", "31.2"]
    assert "& 0.000123 " in to_latex(found)


def test_csv_keeps_every_digit():
    third = 1 / 3
    records = [run_record(["a"], [10.0]), value(DENSE, number=third)]
    (row, *_) = csv.DictReader(io.StringIO(to_csv(table(records))))
    assert float(row["fad"]) == third
    assert float(row["fad_low"]) == third - 0.1
    assert row["duration_s"] == "10.0"


@pytest.mark.parametrize(("name", "shown"), [("audioldm2", "1.99x"), ("testbed", "")])
def test_published_figures_are_only_what_the_abstract_states(name, shown):
    record = run_record(["a"], [10.0])
    record.pipeline["name"] = name
    timings = [timing(d, dense=[4.0], litefocus=[2.0], no_attention=[1.0]) for d in (40.0, 80.0)]
    found = speed_table(speed_rows(Run(timings)), record, [])
    published = {tuple(row[:2]): row[found.keys.index("published")] for row in found.rows}
    assert published.pop((80.0, "x"), None) is not None
    texts = [row[found.keys.index("published")] for row in found.rows]
    assert [text for text in texts if text] == ([shown] if shown else [])


def test_differences_are_kept_apart_by_baseline():
    found = differences(Run([difference(LITE, DENSE, 1.0), difference(LITE, FOCUS, 2.0)]), "strict")
    assert {key[2]: record.value for key, record in found.items()} == {DENSE: 1.0, FOCUS: 2.0}


def test_a_metric_of_a_users_own_is_shown_with_its_label_unit_and_direction():
    own = {"label": "Brightness", "unit": "Hz"}
    records = [
        *THREE,
        value(DENSE, "brightness", details=own, higher_is_better=True),
        value(LITE, "brightness", details=own, higher_is_better=True),
        value(LITE, "brightness_drift", details=own, higher_is_better=None),
        difference(LITE, DENSE, 1.0, name="brightness"),
    ]
    tables = {table.name: table for table in result_tables(Run(records))}
    assert "Brightness (Hz) ↑" in tables["quality"].header
    assert not any("drift" in heading for heading in tables["quality"].header if "Brightness" in heading)
    assert "Brightness drift (Hz)" in [row[2] for row in tables["all_metrics"].rows]
    assert any("Brightness (Hz)" in heading for heading in tables[f"difference_{DENSE}"].header)


def test_what_a_preset_could_not_compute_and_whom_its_judge_does_not_know_is_said():
    own = [
        run_record(["a"], [10.0]),
        *(clip("c", DENSE, 10.0, p, c, 0, f"audio/c/{p}_0.wav", b"") for p, c in CAPTIONS.items()),
    ]
    clap = value(DENSE, "clap", higher_is_better=True)
    notes = table([*own, clap]).notes
    assert "Not computed without reference audio (data.references): FAD, FAD pooled, FD, KAD, KL." in notes
    assert any(note.startswith("1 of 2 captions hold letters that are not Latin, first '犬が吠える'") for note in notes)
    # Nothing is missing where the metrics were chosen or are there, and no judge reads captions without CLAP.
    own[0].config["metrics"] = {"metrics": ["level"]}
    notes = " ".join(table([*own, value(DENSE, "level")]).notes)
    assert "Not computed" not in notes
    assert "Latin" not in notes


CAPTIONS = {"a": "Ein Hund bellt – über 2 Höfe", "b": "犬が吠える"}
