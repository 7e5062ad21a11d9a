"""Where a number was measured: the commit is that of this checkout."""

import subprocess
from pathlib import Path

import pytest

from experiments.machine.environment import source_revision

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_is_that_of_this_checkout():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert source_revision()["commit"] == head.stdout.strip()
