"""The rules of the house: which way imports point, how large files and functions are, what a fresh import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("litefocus", "evaluation", "experiments")
# A folder imports itself and folders below it. In experiments the commands stand at the top, "" here; a file at the
# top of evaluation has a floor of its own.
FLOORS = {"experiments": [
    {"system"}, {"records"}, {"methods", "datasets", "tables"}, {"figures", "pipelines"}, {"listen", "matrix"},
    {"stages", "claims", "tracking"}, {"checks"}, {""}, {"benchmark", "testbed", "coverage"},
], "evaluation": [
    {"statistics"}, {"audio"}, {"metrics", "files", "listening"}, {"embedders", "results"}, {"embedding"}, {"presets"},
    {"material"}, {"metric"}, {"scoring"}, {"run"}, {"evaluate"}, {"", "__main__"},
], "litefocus": [
    {"config", "context", "grid", "repair", "sites"}, {"attention", "keys", "reference"}, {"windowed"}, {"processor"},
    {"patch"}, {"schedule"}, {"cost", "levers", "long_audio"}, {""},
]}  # fmt: skip
TESTBED_ORDER = ["corpus", "models", "plugin", "training", "assessment"]
MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES = 14, 300, 60


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = {name_of(path): path for path in FILES}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}


def imports_of(tree):
    """Modules of this repository that a file names in its import statements, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else node.module for name in inner]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] in PACKAGES)


ARROWS = sorted({(module, target) for module, tree in TREES.items() for target in imports_of(tree) if target != module})


def folder_of(module):
    parts = module.split(".")
    if parts[0] != "experiments":
        return parts[1] if len(parts) > 1 else ""
    return parts[1] if len(parts) > 2 or ((ROOT / Path(*parts)).is_dir() and len(parts) > 1) else ""


def test_every_import_names_a_module_of_this_tree():
    assert [(source, target) for source, target in ARROWS if target not in MODULES] == []


def test_the_libraries_import_no_sibling():
    siblings = [
        (source, target)
        for source, target in ARROWS
        if source.split(".")[0] in ("litefocus", "evaluation") and source.split(".")[0] != target.split(".")[0]
    ]
    assert siblings == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_points_up_between_the_folders_of(package):
    floor = {folder: number for number, floor in enumerate(FLOORS[package]) for folder in floor}
    own = [(s, t) for s, t in ARROWS if {s.split(".")[0], t.split(".")[0]} == {package}]
    assert {folder_of(module) for pair in own for module in pair} == set(floor)
    upward = [(s, t) for s, t in own if folder_of(s) != folder_of(t) and floor[folder_of(s)] <= floor[folder_of(t)]]
    assert upward == []


def test_nothing_outside_the_testbed_imports_it():
    assert [
        (s, t) for s, t in ARROWS if ".testbed" in t and not s.startswith("experiments.testbed")
    ] == []  # fmt: skip


def test_no_arrow_points_up_inside_the_testbed():
    def place(module):
        return TESTBED_ORDER.index(module.split(".")[2])

    inside = [
        (s, t) for s, t in ARROWS if min(s.count("."), t.count(".")) > 2 and ".testbed." in s and ".testbed." in t
    ]
    assert len(inside) > 50
    assert [(s, t) for s, t in inside if place(s) < place(t)] == []


def test_no_folder_has_more_files_than_a_reader_can_survey():
    counts = {}
    for path in FILES:
        counts[path.parent.relative_to(ROOT).as_posix()] = counts.get(path.parent.relative_to(ROOT).as_posix(), 0) + 1
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES} == {}


def docstring_lines(node):
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first.end_lineno - first.lineno + 1 if is_docstring and isinstance(first.value.value, str) else 0


def test_files_and_functions_are_short():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: n for module, n in lengths.items() if n > MOST_LINES} == {}
    functions = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in functions.items() if n > MOST_FUNCTION_LINES} == {}


def test_no_test_imports_a_test():
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [(path.name, name) for name in names if name.split(".")[-1].startswith("test_")]
    assert found == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("experiments.report", {"torch", "diffusers", "transformers"}),
        ("litefocus", {"hydra", "pandas", "matplotlib", "scipy", "evaluation", "experiments"}),
        ("evaluation", {"torch", "hydra", "scipy", "soundfile", "experiments", "litefocus"}),
    ],
)
def test_what_a_fresh_import_loads(module, absent):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert absent & set(done.stdout.split()) == set()
