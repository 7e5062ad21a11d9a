"""The tables in the README are those of the committed records."""

from pathlib import Path

from experiments.readme import stale_blocks

ROOT = Path(__file__).resolve().parents[1]


def test_no_table_in_the_readme_is_stale():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- results:" in text
    assert stale_blocks(text, ROOT / "results") == []
