"""The second environment's set-up: an offline hub cache, before anything imports a tokenizer."""

import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

PACKAGES = ("laion_clap", "frechet_audio_distance", "torchvggish", "hear21passt")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

if not MISSING:
    # Only in the second environment: the packages read these when they are imported.
    HOME = Path(tempfile.mkdtemp(prefix="local_hub_"))
    os.environ.update(HF_HOME=str(HOME), HF_HUB_OFFLINE="1", WANDB_MODE="disabled")
    sys.path.insert(0, str(Path(__file__).parent))
    import local_hub

    local_hub.build(HOME)
    sys.argv = sys.argv[:1]  # laion_clap.training parses them when it is imported.

DIFFERENCES = {}


def agree(what, distribution, found, expected, rtol=0.0, atol=0.0):
    """Assert that our numbers are the package's, and keep the largest difference for the table at the end."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    before = DIFFERENCES.get((what, distribution), (0.0, 0.0))
    DIFFERENCES[what, distribution] = max(before[0], difference), max(before[1], scale)


def pytest_terminal_summary(terminalreporter):
    """Table of docs/published-tools.md: what was compared with which package, and how far apart the two are at most."""
    if DIFFERENCES:
        terminalreporter.write_line("| what | package | largest difference | largest value |")
        terminalreporter.write_line("|---|---|---|---|")
    for (what, distribution), (difference, scale) in DIFFERENCES.items():
        package = f"`{distribution}` {importlib.metadata.version(distribution)}"
        terminalreporter.write_line(f"| {what} | {package} | {difference:.1e} | {scale:.2g} |")
