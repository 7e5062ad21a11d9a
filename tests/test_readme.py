"""The tables in the README and in docs/ are those of the committed records."""

import re
from pathlib import Path

import pytest

from experiments.readme import stale_blocks

ROOT = Path(__file__).resolve().parents[1]
WITH_TABLES = (
    "README.md",
    "docs/performance.md",
    "docs/extensions.md",
    "docs/quality.md",
    "docs/submit.md",
    "docs/windows.md",
)


@pytest.mark.parametrize("name", WITH_TABLES)
def test_no_table_in_a_document_is_stale(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- results:" in text
    assert stale_blocks(text, ROOT / "results") == []


def test_every_document_with_tables_is_checked():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {str(p.relative_to(ROOT)) for p in documents if "<!-- results:" in p.read_text(encoding="utf-8")}
    assert found == set(WITH_TABLES)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "results" / "README.md"]
)
def test_every_relative_link_leads_somewhere(path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_readme_is_one_that_is_read_to_its_end():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
