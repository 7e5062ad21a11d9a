"""Where a number was measured: the commit is that of this checkout."""

import subprocess
from pathlib import Path

import pytest

from experiments.machine.environment import package_versions, source_revision

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_is_that_of_this_checkout():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert source_revision()["commit"] == head.stdout.strip()


def test_the_build_of_torch_is_named_where_its_metadata_leaves_it_out(monkeypatch):
    monkeypatch.setattr("torch.__version__", "9.9.9+cu130")
    assert package_versions()["torch"] == "9.9.9+cu130"
