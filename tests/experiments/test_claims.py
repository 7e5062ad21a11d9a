"""Claims: effects from records, p adjusted over the file, verdicts that follow, and the committed file fresh."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from listen_material import make_run, run_record, timing
from probe_material import attention, loss, probe_run
from quality_material import DENSE, LITE, clips_behind, difference, value
from scipy.stats import ttest_1samp

from experiments.claims import __main__ as program
from experiments.claims.claim import Claim, Endpoint, Measured, load_claims, to_yaml
from experiments.claims.sources import trace_cell
from experiments.claims.table import claims_table
from experiments.claims.verdicts import measure_claims, verdict
from experiments.records import append_record
from experiments.records.run import Run

RESULTS = Path(__file__).resolve().parents[2] / "results"
LOSS = Endpoint("probe", "denoising_loss", "5 500 litefocus", "difference_percent")


def claim(name="a", endpoint=LOSS, **changes):
    changes |= {} if {"above", "below"} & set(changes) else {"below": 0.0}
    return Claim(name, "ours", "a sentence", endpoint, "somewhere", "a command", **changes)


def with_probe(results, litefocus, deleted=(2.0, 2.1, 2.2)):
    folder = results / "probe"
    folder.mkdir(parents=True)
    dense = loss("dense", [1.0, 1.0, 1.0], clips="abc")
    for record in (
        probe_run(),
        dense,
        loss("litefocus", litefocus, clips="abc"),
        loss("deleted", deleted, clips="abc"),
    ):
        append_record(folder, record)
    return results


@pytest.mark.parametrize(
    ("threshold", "value", "p", "expected"),
    [
        ({"below": 0.0}, -1.0, 0.01, "supported"),
        ({"below": 0.0}, 1.0, 0.01, "refuted"),
        ({"above": 0.0}, 1.0, 0.01, "supported"),
        ({"above": 2.0}, 1.9, 0.01, "refuted"),
        ({"above": 0.0}, 1.0, 0.05, "bounded"),
        ({"above": 0.0}, 1.0, math.nan, "bounded"),
        ({"above": 0.0, "not_testable": "no GPU"}, 1.0, 0.01, "not testable here"),
    ],
)
def test_a_verdict_follows_the_side_and_the_adjusted_p(threshold, value, p, expected):
    found = Measured(value, None, None, "x", 3, "clips", 0.0, None, "", [])
    assert verdict(claim(**threshold), found, p) == expected


@pytest.mark.usefixtures("intervals_of_few_clips")
def test_a_loss_is_held_against_its_threshold_over_clips(tmp_path):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    (found,) = measure_claims([claim(below=-2.0)], tmp_path)
    deltas = np.array([-10.0, -5.0, -6.0])
    assert found.measured.value == pytest.approx(deltas.mean())
    assert found.measured.p == pytest.approx(ttest_1samp(deltas, -2.0).pvalue, rel=1e-4)
    low, high = ttest_1samp(deltas, 0).confidence_interval()
    assert (found.measured.low, found.measured.high) == (pytest.approx(low, rel=1e-4), pytest.approx(high, rel=1e-4))
    assert (found.measured.count, found.measured.of, found.measured.starts) == (3, "clips", ["p"])


@pytest.mark.usefixtures("intervals_of_few_clips")
def test_p_is_adjusted_over_the_claims_that_can_be_tested(tmp_path):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    other = Endpoint("probe", "denoising_loss", "5 500 deleted", "difference_percent")
    asked = [claim("a"), claim("b", endpoint=other, above=0.0), claim("c", not_testable="no weights", below=0.0)]
    first, second, third = (found.measured for found in measure_claims(asked, tmp_path))
    assert second.p < first.p
    assert second.p_adjusted == pytest.approx(2 * second.p, rel=1e-4)
    assert first.p_adjusted == pytest.approx(max(first.p, 2 * second.p), rel=1e-4)
    assert third.p == first.p
    assert (third.p_adjusted, third.verdict) == (None, "not testable here")


@pytest.mark.usefixtures("intervals_of_few_clips")
def test_a_family_is_adjusted_apart(tmp_path):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    other = Endpoint("probe", "denoising_loss", "5 500 deleted", "difference_percent")
    asked = [
        claim("a", family="primary endpoints"),
        claim("b", endpoint=other, above=0.0, family="primary endpoints"),
        claim("c", endpoint=other, above=0.0),
    ]
    measured = measure_claims(asked, tmp_path)
    first, second, third = (found.measured for found in measured)
    assert second.p_adjusted == pytest.approx(2 * second.p, rel=1e-4)
    assert third.p_adjusted == third.p == second.p
    table = claims_table(measured)
    shown = [row[table.keys.index("p_adjusted")] for row in table.rows]
    assert shown == [f"{first.p_adjusted:.2g} (2)", f"{second.p_adjusted:.2g} (2)", f"{third.p_adjusted:.2g}"]
    assert table.notes[1] == "p (2): adjusted over these alone, the 2 primary endpoints."
    headline = claims_table([replace(measured[0], headline=True), *measured[1:]], headlines=True)
    assert [row[0] for row in headline.rows] == [table.rows[0][0]]
    assert headline.rows[0][table.keys.index("p_adjusted")] == shown[0]  # of a family of two, though one is shown


@pytest.mark.usefixtures("intervals_of_few_clips")
def test_a_loss_is_compared_with_litefocus_too(tmp_path):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    place = Endpoint("probe", "denoising_loss", "5 500 deleted", "difference_to_litefocus_percent")
    (found,) = measure_claims([claim(endpoint=place, above=100.0)], tmp_path)
    deltas = 100 * (np.array([2.0, 2.1, 2.2]) - [0.9, 0.95, 0.94])
    assert found.measured.value == pytest.approx(deltas.mean(), rel=1e-4)
    assert found.measured.p == pytest.approx(ttest_1samp(deltas, 100.0).pvalue, rel=1e-4)
    assert found.measured.starts == ["p"]


@pytest.mark.usefixtures("intervals_of_few_clips")
def test_a_change_with_length_is_held_against_its_threshold(tmp_path):
    folder = tmp_path / "probe"
    folder.mkdir()
    read = {
        "dense": ([1.0] * 3, [1.0] * 3),
        "litefocus": ([1.1] * 3, [1.0] * 3),
        "deleted": ([2.0] * 3, [2.2, 2.0, 2.1]),
    }
    append_record(folder, probe_run(durations=(5.0, 10.0)))
    for method, ends in read.items():
        for length, losses in zip((5.0, 10.0), ends, strict=True):
            append_record(folder, loss(method, losses, duration=length, clips="abc"))
    of = {column: Endpoint("probe", "denoising_loss_trend", "500 deleted", column) for column in
          ("change_percent", "change_to_litefocus_percent")}  # fmt: skip
    claims = measure_claims([claim(name=column, endpoint=place, above=5.0) for column, place in of.items()], tmp_path)
    expected = {"change_percent": [20.0, 0.0, 10.0], "change_to_litefocus_percent": [30.0, 10.0, 20.0]}
    for found in claims:
        changes = expected[found.id]
        assert found.measured.value == pytest.approx(np.mean(changes), rel=1e-4)
        assert found.measured.p == pytest.approx(ttest_1samp(changes, 5.0).pvalue, rel=1e-4)
        assert (found.measured.unit, found.measured.count) == ("points of % of dense", 3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("above", True, "claim 0.above: Input should be a valid number"),
        ("above", math.nan, "claim 0.above: Input should be a finite number"),
        ("id", "", "claim 0.id: String should have at least 1 character"),
    ],
)
def test_numbers_and_names_of_claims_are_what_they_say(tmp_path, field, value, message):
    node = yaml.safe_load(to_yaml([claim(above=1.0)]))[0]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([node | {field: value}]))
    with pytest.raises(ValueError, match=message):
        load_claims(tmp_path / "claims.yaml")


def test_a_family_is_spelt_in_one_way_or_its_claims_would_be_adjusted_apart(tmp_path):
    claims = [claim("a", family="the study's plan"), claim("b", family="the  Study's plan")]
    (tmp_path / "claims.yaml").write_text(to_yaml(claims))
    with pytest.raises(ValueError, match="families .* differ in their spelling; write one of them"):
        load_claims(tmp_path / "claims.yaml")


def test_a_file_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "claims.yaml").write_bytes(to_yaml([claim()]).encode("utf-16"))
    with pytest.raises(ValueError, match=r"claims.yaml: not a yaml file: 'utf-8' codec"):
        load_claims(tmp_path / "claims.yaml")


def test_a_score_is_held_against_a_margin(tmp_path):
    """Not inferior by 4: the p of a difference of 4 from the interval's own degrees of freedom."""
    (tmp_path / "run").mkdir()
    deltas = np.random.default_rng(0).normal(1.0, 6.0, 64)
    interval = ttest_1samp(deltas, 0).confidence_interval()
    mean = float(deltas.mean())
    for record in (
        run_record(["a"], [10.0]),
        *clips_behind(value(DENSE)),
        value(DENSE, number=3.0),
        value(LITE, number=3.0 + mean),
        difference(LITE, DENSE, mean, half=(interval.high - interval.low) / 2),
    ):
        append_record(tmp_path / "run", record)
    place = Endpoint("run", "difference_dense", f"10 {LITE}", "fad")
    (found,) = measure_claims([claim(endpoint=place, below=4.0)], tmp_path)
    assert found.measured.value == pytest.approx(mean, rel=1e-4)
    assert found.measured.p == pytest.approx(ttest_1samp(deltas, 4.0).pvalue, rel=1e-3)
    assert found.measured.verdict == "supported"


def test_a_speed_up_is_the_geometric_mean_of_its_rounds(tmp_path):
    (tmp_path / "run").mkdir()
    make_run(tmp_path / "run", {"a": "Rain"}, [0.1])
    append_record(tmp_path / "run", timing(0.1, dense=[4.0, 4.0, 4.0], litefocus=[2.0, 1.0, 2.0]))
    (found,) = measure_claims(
        [claim(endpoint=Endpoint("run", "speed", "0.1 litefocus", "speedup"), above=1.5)], tmp_path
    )
    logs = np.log([2.0, 4.0, 2.0])
    test = ttest_1samp(logs, math.log(1.5))
    assert found.measured.value == pytest.approx(16 ** (1 / 3), rel=1e-4)
    assert found.measured.p == pytest.approx(test.pvalue, rel=1e-4)
    assert found.measured.low == pytest.approx(math.exp(test.confidence_interval().low), rel=1e-4)


def test_a_ratio_has_no_threshold_of_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    make_run(tmp_path / "run", {"a": "Rain"}, [0.1])
    append_record(tmp_path / "run", timing(0.1, dense=[4.0, 4.1], litefocus=[2.0, 2.0]))
    place = Endpoint("run", "speed", "0.1 litefocus", "speedup")
    with pytest.raises(ValueError, match="claim a: its threshold is 0; that of a ratio is above 0"):
        measure_claims([claim(endpoint=place, above=0.0)], tmp_path)


def test_what_was_taken_again_counts_once(tmp_path):
    """A probe's second start: the newest reading of a place, as in the table."""
    folder = tmp_path / "probe"
    folder.mkdir()
    again = replace(probe_run(), run_id="again")
    first = [attention(site=site, frequency=(0.75, 0.25)) for site in "ab"]
    second = [replace(attention(site=site, frequency=mass), run_id="again") for site, mass in
              zip("ab", ((0.5, 0.5), (0.875, 0.125)), strict=True)]  # fmt: skip
    losses = [loss(method, values, clips="ab") for method, values in (("dense", [1.0, 1.0]), ("litefocus", [1.0, 2.0]))]
    for record in (probe_run(), *first, *losses, again, *second, *(replace(r, run_id="again") for r in losses)):
        append_record(folder, record)
    run = Run.load(folder)
    assert trace_cell(run, "attention", "5 500", "own_bin_over_uniform").records == second
    found = trace_cell(run, "denoising_loss", "5 500 litefocus", "difference_percent").records
    assert [(r.run_id, r.method) for r in found] == [("again", "dense"), ("again", "litefocus")]


def test_attention_is_a_ratio_over_sites(tmp_path):
    (tmp_path / "probe").mkdir()
    append_record(tmp_path / "probe", probe_run())
    for site, share in (("a", 0.8), ("b", 0.9), ("c", 0.7)):
        append_record(tmp_path / "probe", attention(site=site, frequency=(share, 1 - share)))
    place = Endpoint("probe", "attention", "5 500", "own_bin_over_uniform")
    (found,) = measure_claims([claim(endpoint=place, above=1.0)], tmp_path)
    logs = np.log([1.6, 1.8, 1.4])
    assert found.measured.value == pytest.approx(math.exp(logs.mean()), rel=1e-4)
    assert found.measured.p == pytest.approx(ttest_1samp(logs, 0).pvalue, rel=1e-4)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Endpoint("probe", "denoising_loss", "5 500 litefocus", "loss"), "claim a: loss of denoising_loss is no diff"),
        (Endpoint("probe", "denoising_loss", "9 500 litefocus", "loss"), "claim a: no row '9 500 litefocus'"),
    ],
)
def test_an_endpoint_without_an_effect_is_refused_by_name(tmp_path, place, message):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    with pytest.raises(ValueError, match=message):
        measure_claims([claim(endpoint=place)], tmp_path)


def test_the_file_comes_back_as_it_was_written(tmp_path):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    measured = measure_claims([claim("a", above=0.0), claim("b", headline=True)], tmp_path)
    (tmp_path / "claims.yaml").write_text(to_yaml(measured))
    assert load_claims(tmp_path / "claims.yaml") == measured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"above": 1.0}, "claim a: give exactly one of above and below"),
        ({"below": None}, "claim a: give exactly one of above and below"),
        ({"statement": None}, "claim 0.statement: "),
        ({"verdict": "supported"}, "claim 0.verdict: "),
        ({"endpoint": {"run": "x"}}, "claim 0.endpoint.table: "),
    ],
)
def test_a_claim_that_says_too_little_or_too_much_is_one_line(tmp_path, changes, message):
    (entry,) = yaml.safe_load(to_yaml([claim()]))
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([{**entry, **changes}]))
    with pytest.raises(ValueError, match=message) as error:
        load_claims(tmp_path / "claims.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["- [", "- id: ${unclosed", "!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_yaml_is_one_line(tmp_path, text):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"claims.yaml: ") as error:
        load_claims(tmp_path / "claims.yaml")
    assert "\n" not in str(error.value)


def test_two_claims_of_one_name_and_a_claim_that_was_not_measured_are_refused(tmp_path):
    (tmp_path / "claims.yaml").write_text(to_yaml([claim(), claim()]))
    with pytest.raises(ValueError, match="two claims are called 'a'"):
        load_claims(tmp_path / "claims.yaml")
    with pytest.raises(ValueError, match="claim a was not measured yet; run python -m experiments.claims"):
        claims_table([claim()])


def test_the_command_writes_the_file_and_says_what_is_stale(tmp_path, monkeypatch, capsys):
    with_probe(tmp_path, [0.9, 0.95, 0.94])
    (tmp_path / "claims.yaml").write_text(to_yaml([claim()]))
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["claims", "check"])
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'claims.yaml'}: stale: a; run ")
    monkeypatch.setattr(sys, "argv", ["claims"])
    program.main()
    monkeypatch.setattr(sys, "argv", ["claims", "check"])
    program.main()
    assert load_claims(tmp_path / "claims.yaml")[0].measured.value == pytest.approx(-7.0)


def test_every_committed_effect_and_verdict_follows_from_the_committed_records():
    claims = load_claims(RESULTS / "claims.yaml")
    assert len(claims) > 15
    assert measure_claims(claims, RESULTS) == claims
