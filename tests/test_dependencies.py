"""The dependency rule: litefocus and evaluation import no sibling; importing a package has no side effects; what is
imported is what pyproject.toml installs."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("litefocus", "evaluation", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Imported by nothing here: diffusers loads weights through it where it is installed.
USED_BY_OTHERS = {"accelerate"}


def imported_packages(path, nodes=ast.walk):
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
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
    commands = {"benchmark.report", "benchmark.run", "readme", "report", "run", "probe", "tracking.tracker"}
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


def requirements(*extras):
    """Normalised names of what `pip install '.[extras]'` asks for; an extra of this project is followed."""
    found, lines = set(), [*PROJECT["dependencies"], *(f"litefocus[{extra}]" for extra in extras)]
    while lines:
        name, inner = re.match(r"([\w.-]+)(?:\[(\w+)\])?", lines.pop()).groups()
        if name == PROJECT["name"]:
            lines += PROJECT["optional-dependencies"][inner]
        else:
            found.add(normalised(name))
    return found


def normalised(distribution):
    return re.sub("[-_.]+", "-", distribution).lower()


def third_party(package, nodes=ast.walk):
    """Distributions behind every import of a package that is neither the standard library nor of this repository."""
    names = {name for path in (ROOT / package).rglob("*.py") for name in imported_packages(path, nodes)}
    behind = importlib.metadata.packages_distributions()
    return {
        normalised(behind.get(name, [name])[0]) for name in names - set(PACKAGES) if name not in sys.stdlib_module_names
    }


def test_litefocus_needs_torch_and_nothing_else_until_a_pipeline_is_there():
    assert third_party("litefocus", ast.iter_child_nodes) == requirements() == {"torch"}
    assert third_party("litefocus") <= requirements("diffusers")


def test_the_harness_extra_installs_what_the_harness_imports_and_nothing_else():
    imported = third_party("evaluation") | third_party("experiments")
    asked = requirements("harness")
    assert (
        imported - asked == {"wandb", "gradio", "starlette", "mlcroissant"} <= requirements("wandb", "app", "dataset")
    )
    assert asked - imported == USED_BY_OTHERS


def test_every_extra_that_the_code_the_documents_and_make_name_exists():
    files = [ROOT / "Makefile", ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "conf").rglob("*.yaml")]
    files += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    named = {
        extra
        for path in files
        for group in re.findall(r"'(?:\.|litefocus)\[([\w,]+)\]'", path.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert named >= {"harness", "dev", "slurm", "peers", "wandb"}
    assert named <= set(PROJECT["optional-dependencies"])
