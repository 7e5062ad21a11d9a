"""The sweep's statistics, choice and table on made-up losses, and one real run in the small."""

import json
from pathlib import Path

import pytest

from experiments.tables.formats import to_markdown
from experiments.testbed.assessment import linear_sweep
from experiments.testbed.assessment.linear_sweep import (
    DENSE,
    EXACT,
    MARGIN,
    SweepSettings,
    choice,
    increase,
    linear_config,
    pattern,
    run,
    select_records,
    sweep_configs,
    sweep_table,
)
from litefocus import TokenGrid

KEYS = {EXACT: 300, "linear_small": 50, "linear_large": 100}


def record(length, shifts, clips=4, weights="w"):
    """Losses around 1 whose settings lie above dense by the given shares, alike in every clip."""
    dense = [0.8, 1.0, 1.0, 1.2][:clips]
    losses = {DENSE: dense} | {name: [x + shift for x in dense] for name, shift in shifts.items()}
    return {"length": length, "levels": [500], "weights": weights, "keys_per_query": KEYS, "losses": losses}


def test_bound_by_hand():
    # Differences 0.01, 0.02, 0.03 over a dense mean of 2: mean 0.01, standard error 0.005 / sqrt(3), t(0.95, 2) = 2.92.
    found = increase([1.01, 2.02, 3.03], [1, 2, 3], [1, 2, 3])
    assert found.value == pytest.approx(0.01)
    assert found.bound == pytest.approx(0.01 + 2.91999 * 0.005 / 3**0.5, rel=1e-5)
    assert not found.noninferior
    # The bound decides, not the value: half the margin on average, but with too few clips to say so.
    unsure = increase([1.0, 2.01, 3.005], [1, 2, 3], [1, 2, 3])
    assert unsure.value < MARGIN < unsure.bound
    assert not unsure.noninferior
    # The pairing matters: unpaired, clips that differ by 1 could never show a difference of 0.001.
    assert increase([1.001, 2.001, 3.001], [1, 2, 3], [1, 2, 3]).noninferior


@pytest.mark.parametrize("clips", [([1], [1], [1]), ([1, 2], [1, 2], [1])])
def test_too_few_or_unequal_clips_are_refused(clips):
    with pytest.raises(ValueError, match="give the same, at least 2"):
        increase(*clips)


def test_the_cheapest_setting_within_the_margin_at_every_long_length_is_chosen():
    good, bad = MARGIN / 2, MARGIN * 2
    shifts = [
        {EXACT: 0.0, "linear_small": bad, "linear_large": bad},  # 1x does not count
        {EXACT: 0.0, "linear_small": good, "linear_large": good},
        {EXACT: 0.0, "linear_small": bad, "linear_large": good},
    ]
    records = [record(length, shift) for length, shift in zip((1, 4, 8), shifts, strict=True)]
    assert "non-inferior to dense at every length beyond 1x: linear_large." in choice(records)
    assert "non-inferior to dense at every length beyond 1x: linear_small." in choice(records[:2])
    assert "nothing is chosen" in choice(records[:1])


def test_where_nothing_matches_dense_the_exact_method_is_the_yardstick():
    shifts = {EXACT: 0.02, "linear_small": 0.04, "linear_large": 0.021}
    assert "non-inferior to exact LiteFocus at every length beyond 1x: linear_large." in choice([record(8, shifts)])
    shifts["linear_large"] = 0.03
    assert choice([record(8, shifts)]).startswith("No setting is non-inferior")


def test_table_is_sorted_by_cost_and_says_where_it_failed():
    shifts = {EXACT: 0.0, "linear_small": 0.02, "linear_large": 0.001}
    text = to_markdown(sweep_table([record(1, shifts), record(8, {**shifts, "linear_small": 0.001})]))
    rows = [line for line in text.splitlines() if line.startswith("| li")]
    assert [row.split("|")[1].strip() for row in rows] == ["linear_small", "linear_large", EXACT]
    assert "not shown at 1x" in rows[0]
    assert "+2.00" in rows[0]
    assert "yes" in rows[1]
    assert "Margin, fixed beforehand: 0.5%" in text


def test_settings_that_attend_alike_share_a_pattern():
    short, long = TokenGrid(40, 8), TokenGrid(320, 8)
    assert pattern(linear_config(20, 32), short) == pattern(linear_config(80, 128), short) == (40, 32)
    assert pattern(linear_config(20, 32), long) == (60, 32)
    assert pattern(linear_config(80, 0), long) == (240, 0)
    assert pattern(sweep_configs()[EXACT], long) == (320, 256)


def test_newest_record_of_these_weights_counts(tmp_path):
    path = tmp_path / "records.jsonl"
    lines = [
        record(8, {EXACT: 0.1}),
        record(1, {EXACT: 0.0}),
        record(8, {EXACT: 0.2}),
        record(2, {}, weights="x"),
        record(4, {}, clips=3),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = select_records(path, "w", 4)
    assert [r["length"] for r in found] == [1, 8]
    assert found[1]["losses"][EXACT][0] == pytest.approx(1.0)


def test_a_run_writes_its_records_and_resumes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(linear_sweep, "WINDOWS", (10,))
    monkeypatch.setattr(linear_sweep, "BUDGETS", (8,))
    monkeypatch.setattr(linear_sweep, "NOISE_LEVELS", (700,))
    settings = SweepSettings(clips=2, lengths="2", out=str(tmp_path))
    text = run(settings)
    (line,) = (tmp_path / "records.jsonl").read_text().splitlines()
    losses = json.loads(line)["losses"]
    assert set(losses) == {DENSE, EXACT, "linear_w10_k8"}
    assert len({tuple(values) for values in losses.values()}) == 3
    assert all(0.01 < value < 10 for values in losses.values() for value in values)
    assert json.loads(line)["keys_per_query"] == {EXACT: 80 + 64, "linear_w10_k8": 30 + 8}
    assert run(settings) == text
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "linear_sweep.csv").read_text().startswith("setting,keys_per_query,increase_2x_percent")
