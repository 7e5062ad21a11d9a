"""Commands on a busy machine let OpenMP's threads sleep while they wait; nothing else changes the environment."""

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
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("program", "load", "given", "policy"),
    [
        ("-m", "2.0", None, "passive"),  # python -m experiments.run beside other work
        ("-m", "0.1", None, "None"),  # alone
        ("-m", "2.0", "active", "active"),  # what the user says stays
        ("mine.py", "2.0", None, "None"),  # a program that imports the package
    ],
)
def test_the_policy_is_set_before_torch_for_commands_on_a_busy_machine(program, load, given, policy):
    environment = {key: text for key, text in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    command = [sys.executable, "-c", START, program, load]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == policy
