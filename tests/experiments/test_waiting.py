"""Commands let OpenMP's threads sleep at once on a busy machine, else soon; nothing else changes the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import os, sys
sys.argv[0], os.getloadavg = sys.argv[1], lambda: (float(sys.argv[2]), 0.0, 0.0)
import experiments
assert "torch" not in sys.modules
import torch
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("program", "load", "given", "expected", "spins"),
    [
        ("-m", "2.0", {}, "passive None", "0"),  # python -m experiments.run beside other work
        ("-m", "0.1", {}, "None 1000", "1000"),  # alone, but perhaps not for long
        ("-m", "2.0", {"OMP_WAIT_POLICY": "active"}, "active None", "30000000000"),  # what the user says stays
        ("-m", "2.0", {"GOMP_SPINCOUNT": "7"}, "None 7", "7"),
        ("mine.py", "2.0", {}, "None None", "300000"),  # a program that imports the package
    ],
)
def test_the_wait_is_set_before_torch_and_reaches_its_openmp(program, load, given, expected, spins):
    """OMP_DISPLAY_ENV makes torch's OpenMP itself say how long it spins."""
    environment = {key: text for key, text in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= given | {"OMP_DISPLAY_ENV": "verbose"}
    command = [sys.executable, "-c", START, program, load]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
