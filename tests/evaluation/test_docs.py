"""The metrics page names presets, metrics and tests that exist, and leaves none of the first two out."""

import re
from pathlib import Path

from evaluation.presets import PRESETS
from evaluation.scoring.registry import OWN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    written = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 30
    assert named <= written, sorted(named - written)


def test_every_preset_has_its_row():
    section = PAGE.partition("## Presets")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)) == set(PRESETS)


def test_every_metric_is_named_as_it_is_asked_for():
    assert [metric for metric in OWN if f"`{metric}`" not in PAGE] == []
