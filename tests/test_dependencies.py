"""The dependency rule: litefocus and evaluation import no sibling; importing a package has no side effects."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("litefocus", "evaluation", "experiments")


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ["litefocus", "evaluation"])
def test_libraries_import_no_sibling(package):
    siblings = set(PACKAGES) - {package}
    offenders = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imported_packages(path)
        if name in siblings
    }
    assert offenders == set()
    assert list((ROOT / package).rglob("*.py"))


BLOCKED = """
import socket, sys
def refuse(*a, **k): raise RuntimeError('network at import')
socket.socket.connect = refuse
socket.create_connection = refuse
import torch
state = torch.random.get_rng_state().clone()
import {package}
assert torch.equal(state, torch.random.get_rng_state()), 'import moved the global RNG'
"""


@pytest.mark.parametrize("package", ["litefocus", "evaluation", "experiments.run"])
def test_import_touches_neither_network_nor_rng(package):
    subprocess.run([sys.executable, "-c", BLOCKED.format(package=package)], check=True, cwd=ROOT)


def test_importing_litefocus_costs_little_more_than_importing_torch():
    heavy = ("torch._dynamo", "diffusers", "transformers", "hydra", "pandas", "matplotlib", "scipy")
    code = f"import litefocus, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_the_reading_side_does_not_import_the_programs_that_call_it():
    """Records to tables to figures to commands: nothing that makes a table or a figure imports a command."""
    commands = {"benchmark.report", "benchmark.run", "readme", "report", "run", "probe", "tracking"}
    below = [
        path
        for folder in ("records", "tables", "figures", "listen")
        for path in sorted((ROOT / "experiments" / folder).glob("*.py"))
    ]
    offenders = {
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in below
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").removeprefix("experiments.") in commands
    }
    assert offenders == set()
    assert len(below) > 20
