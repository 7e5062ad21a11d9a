"""The factorisation table on made-up records: paired speed-ups, the product of the parts, the verdict."""

import math

import pytest
from start_material import ENVIRONMENT

from experiments.records import ClipRecord, MetricRecord, RunRecord
from experiments.records.audio_path import audio_path
from experiments.records.run import Run
from experiments.tables.formats import to_markdown
from experiments.tables.intervals import STUDENT
from experiments.tables.lever_table import has_factors, lever_table, speedup, within_margin

METHODS = {
    "dense": {},
    "fast": {"steps": 25},
    "thin": {},
    "both": {"steps": 25, "parts": ["fast", "thin"]},
}
LOOP_S = {"dense": 40.0, "fast": 5.0, "thin": 20.0, "both": 4.0}


def run_record(methods=METHODS):
    nodes = {
        name: {"name": name, "label": f"label {name}", "timing_only": False, "patch": {}, **extra}
        for name, extra in methods.items()
    }
    config = {
        "methods": nodes,
        "steps": 200,
        "guidance": 3.0,
        "timing": {"baseline": "dense"},
        "durations": [8],
        "seeds": [0],
        "metrics": {"margins": {"clap": 0.02, "kl": 0.1}},
    }
    return RunRecord("r", "now", config, ENVIRONMENT, {"name": "tiny", "trained": True}, ["p0", "p1"])


def clip(method, prompt, factor=1.0, steps=200):
    return ClipRecord(
        "r", method, method, 8.0, steps, 3.0, prompt, "text", 0, audio_path(method, prompt, 0), "", 16000, 1,
        latency_s=LOOP_S[method] * factor + 1.0, step_s=0.1, decode_s=1.0,
    )  # fmt: skip


def metric(method, name, value, low, high, better, baseline=""):
    details = {"interval": STUDENT}
    return MetricRecord(
        "r", method, method, 8.0, "testbed", name, value, low, high, 192, 0, "clip", better, baseline, details=details
    )


def records():
    clips = [
        clip(name, prompt, factor, METHODS[name].get("steps", 200))
        for name in METHODS
        for prompt, factor in (("p0", 1.0), ("p1", 3.0))
    ]
    values = [metric(name, "clap", 0.4, 0.3, 0.5, True) for name in METHODS]
    values += [metric(name, "kl", 1.0, 0.9, 1.1, False) for name in METHODS]
    differences = [
        metric("fast", "clap", 0.0, -0.019, 0.1, True, "dense"),
        metric("fast", "kl", 0.0, -0.5, 0.09, False, "dense"),
        metric("both", "clap", 0.0, -0.021, 0.1, True, "dense"),
        metric("both", "kl", 0.0, -0.5, 0.11, False, "dense"),
    ]
    return [run_record(), *clips, *values, *differences]


def rows():
    table = lever_table(Run(records()))
    return {row[1]: dict(zip(table.keys, row, strict=True)) for row in table.rows}


def test_speed_is_paired_and_leaves_decoding_out():
    # Clip p1 takes three times as long in both arms: unpaired medians would still give 8, unpaired extremes would not.
    ratio = rows()["label fast"]["speedup"]
    assert ratio.value == pytest.approx(8.0)
    assert math.isnan(ratio.low)  # both clips say 8: no range to show
    assert rows()["label fast"]["steps"] == 25
    assert rows()["label dense"]["loop_s"] == 80.0


def test_product_of_the_parts_stands_beside_the_measured_combination():
    both = rows()["label both"]
    assert both["product"] == pytest.approx(16.0)
    assert both["speedup"].value == pytest.approx(10.0)
    assert rows()["label fast"]["product"] is None


def test_a_part_that_was_not_run_gives_no_product():
    methods = {**METHODS, "both": {"steps": 25, "parts": ["fast", "elsewhere"]}}
    table = lever_table(Run([run_record(methods), *records()[1:]]))
    assert dict(zip(table.keys, table.rows[3], strict=True))["product"] is None


def test_verdict_takes_the_worse_end_of_the_interval_in_each_metrics_direction():
    found = rows()
    assert found["label fast"]["verdict"] == "within the margin"
    assert found["label both"]["verdict"] == "not shown: CLAP, KL"
    assert found["label thin"]["verdict"] == "not scored"
    assert found["label dense"]["verdict"] == "baseline"
    assert not within_margin(metric("x", "kl", 0.0, float("nan"), float("nan"), False, "dense"), 1.0)
    assert within_margin(metric("x", "kl", 0.0, -1.0, 0.1, False, "dense"), 0.1)


def test_margins_are_those_that_the_run_fixed_and_none_are_made_up_afterwards():
    assert "fixed in the configuration of the run): CLAP 0.02, KL 0.1." in to_markdown(lever_table(Run(records())))
    unfixed = records()
    unfixed[0].config.pop("metrics")
    table = lever_table(Run(unfixed))
    assert {row[-1] for row in table.rows} == {"baseline", "no margin", "not scored"}
    assert "No margin was fixed beforehand" in to_markdown(table)


def test_only_a_run_with_a_combination_has_the_table():
    assert has_factors(run_record())
    assert not has_factors(run_record({"dense": {}, "fast": {"steps": 25}}))


def test_a_combination_alone_has_no_baseline_and_so_no_table():
    assert not has_factors(run_record({"both": METHODS["both"], "fast": METHODS["fast"]}))


def test_without_a_common_clip_there_is_no_ratio():
    assert speedup([clip("dense", "p0"), clip("fast", "p1")], "fast", "dense") is None
    assert speedup([clip("dense", "p0"), clip("fast", "p0")], "fast", "dense").mean == pytest.approx(8.0)
