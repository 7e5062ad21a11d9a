"""The model card's measured tables are those of the files beside them, and say pass or FAIL as the gate does."""

import json
from pathlib import Path

from experiments.testbed.assessment.card import (
    RESULTS,
    RUNS,
    fill,
    first_and_last,
    gate_table,
    generator_table,
    judges_note,
    share,
    steps_table,
    training_table,
)
from experiments.testbed.plugin.load import WEIGHTS, judge_hashes


def test_a_share_shows_its_interval_and_n() -> None:
    assert share({"value": 0.905, "low": 0.87, "high": 0.93, "n": 512}) == "90.5% (87.0%-93.0%, n=512)"


def test_one_failed_criterion_fails_a_length() -> None:
    names = ("same_frequency", "entropy_gap", "deletion", "focus_beats_deleted", "compensation_worse")
    reading = {
        "length": 8, "same_frequency_ratio": 3.0, "entropy_gap_nat": 1.1, "deletion_share": {"500": 1.9, "700": 0.05},
        "verdicts": {name: name != "compensation_worse" for name in names},
    }  # fmt: skip
    last = gate_table({"readings": [reading]}).splitlines()[-1]
    assert last == "| 8x | 3.00 | 1.10 | 190% at 500, 5% at 700 | pass | FAIL | FAIL |"


def test_a_table_of_other_judges_is_flagged() -> None:
    shipped = judge_hashes(WEIGHTS / "classifier.safetensors", WEIGHTS / "clap")
    assert judges_note({"judges": shipped}).startswith("Judges: the shipped ones (classifier ")
    other = judges_note({"judges": shipped | {"clap": "0" * 12}})
    assert other == "**Not known to be of the shipped judges (clap 000000000000): measure again.**\n\n"
    assert "(classifier not recorded, clap not recorded)" in judges_note({})


def test_distances_state_their_rows_and_the_ratio_above_the_floor() -> None:
    quality = json.loads((RESULTS / "generator_quality.json").read_text())
    quality["frechet_distance"] |= {
        "real": 9.4, "round_trip": 34.0, "generated": 206.0, "n": 80, "n_reference": 512,
        "generated_over_round_trip": 6.06, "generated_over_round_trip_low": 5.5, "generated_over_round_trip_high": 6.6,
    }  # fmt: skip
    quality["rate"]["without"] = ["helicopter", "wind_chimes"]
    text = generator_table(quality)
    assert "| Fréchet distance of 80 clips to 512 other real ones | 9.4 | 34.0 | 206.0 |" in text
    assert "| 6.06 (5.50-6.60, n=80) | 2.02 (a third of the study's 206 / 34) |" in text
    assert "| 0 | 1 | 7.99 | 2.66 (a third of the study's (206 - 9.4) / (34 - 9.4)) |" in text
    assert "| rate word obeyed (without helicopter, wind chimes: the measure misreads their real renders) |" in text


def test_numbers_of_steps_stand_side_by_side() -> None:
    few = json.loads((RESULTS / "generator_quality.json").read_text())
    distance = {"generated": 100.0, "n": 80, "generated_over_round_trip": 1.5} | dict.fromkeys(
        ("generated_over_round_trip_low", "generated_over_round_trip_high"), 1.25
    )
    few |= {"frechet_distance": distance}
    many = few | {"settings": {"steps": 25}, "frechet_distance": distance | {"generated": 90.0}}
    lines = steps_table([few, many]).splitlines()
    assert lines[2] == "| measure | 8 steps | 25 steps |"
    assert lines[-2:] == [
        "| Fréchet distance | 100.0 | 90.0 |",
        "| - over its own round trip |" + 2 * " 1.50 (1.25-1.25, n=80) |",
    ]
    assert lines[4].count(share(few["single"]["generated"]["hit_rate"])) == 2


def test_losses_are_the_first_and_last_entries_of_the_records(tmp_path: Path) -> None:
    lines = ['{"settings": {}}', '{"step": 1, "loss": 2.0}', '{"step": 2, "loss": 1.0}', '{"slots": 1}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "b.json").write_text('{"losses": [{"total": 5.0}, {"total": 4.0}, {"total": 3.0}]}')
    assert first_and_last(tmp_path / "a.jsonl") == (2.0, 1.0)
    assert first_and_last(tmp_path / "b.json") == (5.0, 3.0)
    lines = training_table().splitlines()
    assert lines[5] == "| UNet, continued | 3700 x 8, 12,000 scenes | 0.001 | 64 | 0.38 -> 0.37 |"
    assert sum("no record kept" in line for line in lines) == sum(not run[-2] for run in RUNS) == 1


def test_the_shipped_card_is_not_stale() -> None:
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert card.count("<!-- card:") == 5
    assert fill(card) == card
