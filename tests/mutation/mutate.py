"""Mutation testing: change one operator or constant at a time, and count the changes that a module's own tests notice.

    python tests/mutation/mutate.py                       every module below
    python tests/mutation/mutate.py evaluation/metrics/kl.py      one of them
    python tests/mutation/mutate.py sample=40 seed=1 ...  a random part of each

What the tests import from other packages is imported once; a mutant is a forked process that imports the changed
module in place of the real one and runs pytest until the first failure. Nothing is written into the tree. Exit code 1
where a module's rate lies below 85%. Strings, annotations and docstrings are left alone: a test of an error's exact
text guards nothing. mutmut 3.8.1 was tried in its place: it cannot leave texts alone, so it makes 291 mutants of
`evaluation/metrics/kl.py` where 97 are made here, each a forked process too, and it copies the tree to work in.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "litefocus/attention.py": "tests/litefocus/test_attention.py tests/litefocus/test_kernels.py",
    "evaluation/metrics/fad.py": "tests/evaluation/metrics/test_fad.py",
    "evaluation/metrics/kl.py": "tests/evaluation/metrics/test_kl.py",
    "experiments/records/store.py": "tests/experiments/records/test_records.py",
}
REQUIRED = 0.85
SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, and the changed module."""

    line: int
    change: str
    tree: ast.Module


def mutants(source: str) -> list[Mutant]:
    """Every single change of a module's source, in the order of its lines."""
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for part in _not_code(node) for inner in ast.walk(part)}
    found = []
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for variant in _variants(node):
            changed = copy.deepcopy(tree)
            target = next(inner for index, inner in enumerate(ast.walk(changed)) if index == number)
            before = ast.unparse(target)
            variant(target)
            change = f"{before}  ->  {ast.unparse(ast.fix_missing_locations(target))}"
            found.append(Mutant(getattr(node, "lineno", 0), change.replace("\n", " ")[:160], changed))
    return sorted(found, key=lambda mutant: mutant.line)


def _not_code(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, which are never evaluated, and guards that only a type checker reads."""
    for name in ("annotation", "returns"):
        if (part := getattr(node, name, None)) is not None:
            yield part
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and "Literal" in ast.unparse(node.value):
        yield node.value
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        yield node


def _variants(node: ast.AST) -> Iterator:
    """Functions that each make one change to a copy of the node."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        for other in SWAPS.get(type(node.op), ()):
            yield lambda n, other=other: setattr(n, "op", other())
    elif isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            for other in SWAPS.get(type(op), ()):
                yield lambda n, i=index, other=other: n.ops.__setitem__(i, other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        # Applied twice, an operator is undone; the node keeps its place in the tree.
        yield lambda n: setattr(n, "operand", ast.UnaryOp(n.op, n.operand))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield lambda n: setattr(n, "value", ast.Constant(None))
    elif isinstance(node, ast.Break):
        yield lambda n: setattr(n, "__class__", ast.Continue)


class _MutantLoader(importlib.machinery.SourceFileLoader):
    tree: ast.Module

    def get_code(self, fullname: str):
        return compile(self.tree, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Hands out the changed module under the real one's name."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.loader = name, _MutantLoader(name, str(path))
        self.loader.tree = tree

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


def notices(module: str, tree: ast.Module, cpu_s: int, modules: Path | None = None) -> tuple[bool, float]:
    """Whether the module's tests fail with this tree in its place, and the seconds of CPU that took.

    The names of all modules of other packages that the tests imported go into the file ``modules``: the mutant must be
    the first to import anything of this repository.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        _run_tests(module, tree, cpu_s, modules)
    _, status = os.waitpid(child, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = os.waitstatus_to_exitcode(status)
    if code in (4, 5):
        raise RuntimeError(f"pytest could not run {TESTS[module]} (exit code {code})")
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    return code != 0, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run_tests(module: str, tree: ast.Module, cpu_s: int, modules: Path | None) -> None:
    """In the child: never returns. An endless loop runs into the limit on CPU time and counts as noticed."""
    import pytest

    code = 3
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        name = module.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, _Finder(name, ROOT / module, tree))
        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", f"--basetemp={folder}/t"]
            code = int(pytest.main([*options, *(str(ROOT / path) for path in TESTS[module].split())]))
        if modules is not None:
            others = [
                name for name, found in sys.modules.items() if "site-packages" in str(found.__dict__.get("__file__"))
            ]
            modules.write_text("\n".join(others), encoding="utf-8")
    finally:
        os._exit(code)


def survivors(module: str, sample: int | None, seed: int) -> tuple[list[Mutant], int]:
    """Mutants that the tests do not notice, and how many there were."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # Its thread would be in the way of forking.
    source = (ROOT / module).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "modules"
        failed, cost_s = notices(module, ast.parse(source), 600, names)
        if failed:
            raise RuntimeError(f"{TESTS[module]} fails without any change; mutants would tell nothing")
        for name in names.read_text(encoding="utf-8").split():
            with contextlib.suppress(ImportError):  # A name that only exists once its package has run.
                importlib.import_module(name)
    chosen = mutants(source)
    if sample is not None and sample < len(chosen):
        chosen = [chosen[i] for i in sorted(random.Random(seed).sample(range(len(chosen)), sample))]
    limit = int(5 * cost_s + 10)
    alive = [m for m in tqdm(chosen, desc=module) if not notices(module, m.tree, limit)[0]]
    return alive, len(chosen)


def main(words: list[str]) -> int:
    """Run the modules named, or all; see the module's docstring."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    modules = [word for word in words if "=" not in word] or list(TESTS)
    if unknown := [*(set(options) - {"sample", "seed"}), *(set(modules) - set(TESTS))]:
        print(f"{unknown[0]!r} is unknown; give sample=N, seed=N, or some of {', '.join(TESTS)}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sample = int(options["sample"]) if "sample" in options else None
    good = True
    for module in modules:
        alive, count = survivors(module, sample, int(options.get("seed", 0)))
        rate = 1 - len(alive) / count
        good &= rate >= REQUIRED
        print(f"{module}: {count - len(alive)} of {count} mutants noticed, {rate:.1%} (at least {REQUIRED:.0%})")
        for mutant in alive:
            print(f"  {module}:{mutant.line}: {mutant.change}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
