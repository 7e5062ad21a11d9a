"""The model card's measured tables are those of the files beside them, and say pass or FAIL as the gate does."""

from experiments.testbed.card import fill, gate_table, share
from experiments.testbed.load import WEIGHTS


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


def test_the_shipped_card_is_not_stale() -> None:
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert card.count("<!-- card:") == 3
    assert fill(card) == card
