"""Which intervals are printed and what is called better: bounds by an independent library, adjustment by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from listen_material import run_record
from quality_material import DENSE, LITE, difference, value
from scipy import stats

from evaluation.results.interval_floors import FEWEST, REFUSED
from experiments.records.run import Run
from experiments.tables.intervals import (
    ALL_EQUAL,
    PERCENTILE,
    SAME_PROMPTS,
    STUDENT,
    Intervals,
    holm,
    p_value,
    prompt_of,
    with_family,
)
from experiments.tables.quality_tables import result_tables

PROMPTS = [f"p{number}" for number in range(FEWEST["difference"].clips)]


def scored(values, metric="clap", seeds=(0, 1), **changes):
    """Records of a metric for both methods and of their difference; `values` (2, prompts, seeds)."""
    found = []
    for method, rows in zip((DENSE, LITE), values, strict=True):
        named = [f"{prompt}_{seed}" for prompt in PROMPTS[: len(rows)] for seed in seeds]
        per_clip = {name: float(number) for name, number in zip(named, np.ravel(rows), strict=True)}
        kept = {"n_scored": len(per_clip), "unit": "prompt", **changes}
        record = value(method, metric, float(np.mean(rows)), details={"per_clip": per_clip}, **kept)
        found.append(replace(record, condition=method))
    change = float(np.mean(values[1]) - np.mean(values[0]))
    details = {"baseline_condition": DENSE, "p_value": 0.5}
    paired = difference(LITE, DENSE, change, name=metric, details=details, **kept)
    return [*found, replace(paired, condition=LITE)]


def test_the_interval_of_a_mean_is_student_t_over_prompts_out_of_single_clips():
    values = np.random.default_rng(0).normal(0.3, 0.1, (2, 100, 2))
    *_, paired = records = scored(values)
    found = Intervals(records, "strict").of(paired)
    changes = (values[1] - values[0]).mean(axis=1)
    test = stats.ttest_1samp(changes, 0)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-9)
    assert found.details["p"] == pytest.approx(test.pvalue, rel=1e-9)


@pytest.mark.parametrize("metric", ["clap", "hit_rate"])
def test_below_the_number_of_clips_that_was_measured_there_is_no_interval(metric):
    floor, fewest = FEWEST["difference"], FEWEST["mean"].prompts
    seeds = math.ceil(floor.clips / floor.prompts)
    values = np.random.default_rng(0).normal(0.3, 0.1, (2, floor.clips, seeds + 1))
    sizes = {
        (floor.clips, 1): (True, True),
        (floor.clips - 1, 1): (True, False),
        (floor.prompts, seeds): (True, True),
        (floor.prompts, seeds - 1): (True, False),
        (floor.prompts - 1, seeds + 1): (True, False),  # clips enough, of too few prompts
        (fewest, 1): (True, False),
        (fewest - 1, seeds + 1): (False, False),
    }
    for (prompts, several), (of_mean, of_difference) in sizes.items():
        own, _, paired = records = scored(values[:, :prompts, :several], metric, seeds=range(several))
        intervals = Intervals(records, "strict")
        assert math.isfinite(intervals.of(own).low) is of_mean
        found = intervals.of(paired)
        assert math.isfinite(found.low) is of_difference
        assert math.isfinite(found.details["p"]) is of_difference


def test_equal_differences_have_no_interval_and_say_so():
    values = np.zeros((2, 96, 2))
    *_, paired = records = scored(values)
    found = Intervals(records, "strict").of(paired)
    assert (math.isnan(found.low), math.isnan(found.details["p"]), found.details[ALL_EQUAL]) == (True, True, True)


def test_a_percentile_bootstrap_of_before_is_not_printed_and_what_is_recorded_as_t_is():
    before = difference(LITE, DENSE, 1.0, name="clap_drift", n_scored=64, details={})
    assert math.isnan(Intervals([before], "strict").of(before).low)
    now = difference(LITE, DENSE, 1.0, name="clap_drift", n_scored=192, details={"interval": STUDENT})
    assert Intervals([now], "strict").of(now).low == pytest.approx(0.9)


def notes_of(*records):
    run = Run([run_record(["a"], [10.0]), *records])
    return {table.name: " ".join(table.notes) for table in result_tables(run)}


def test_a_note_stands_where_its_metric_stands():
    """Of KAD under tables of FAD and CLAP, and of old bootstraps under a fresh run of two clips: neither applies."""
    notes = notes_of(*(value(method, name) for method in (DENSE, LITE) for name in ("fad", "clap", "kad")))
    assert SAME_PROMPTS in notes["all_metrics"]
    assert SAME_PROMPTS not in notes["quality"]
    few = notes_of(value(DENSE, "clap"), value(DENSE, "clap_drift", n_scored=2))
    assert REFUSED in few["quality"]
    assert PERCENTILE not in few["quality"]
    before = notes_of(value(DENSE, "clap"), value(DENSE, "clap_drift", details={}))
    assert PERCENTILE in before["quality"]


def test_the_p_value_of_a_jackknife_has_its_degrees_of_freedom():
    fad = difference(LITE, DENSE, 1.0, half=2.093024, n_scored=64, details={})
    assert Intervals([fad], "strict").of(fad).details["p"] == pytest.approx(2 * stats.t.sf(1.0, 19), rel=1e-6)
    assert math.isnan(p_value(1.0, 0.0, 19))
    assert math.isnan(p_value(1.0, math.nan, 19))


def test_holm_by_hand():
    # Sorted: .01 x 4, .02 x 3, .03 x 2 (not below the one before), .5 x 1; a missing one counts for none.
    assert holm([0.03, 0.01, math.nan, 0.5, 0.02]) == pytest.approx([0.06, 0.04, math.nan, 0.5, 0.06], nan_ok=True)
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    pair = {name: difference(LITE, DENSE, 1.0, details={"p": p}) for name, p in (("a", 0.02), ("b", 0.04))}
    family = with_family(pair)
    assert [(d.details["p_holm"], d.details["family"]) for d in family.values()] == [(0.04, 2), (0.04, 2)]


def test_the_prompt_of_a_clip():
    assert [prompt_of(name) for name in ("rain_0", "a_b_12", "a_b", "x")] == ["rain", "a_b", "a_b", "x"]
