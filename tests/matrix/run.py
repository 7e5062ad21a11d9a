"""The library's own tests on other versions of Python, torch, diffusers and transformers.

    python tests/matrix/run.py                              # every combination below, one after another
    python tests/matrix/run.py 3.11 2.13.0 0.41.0 5.22.2    # one: Python, torch, diffusers, transformers

Each combination gets an environment of its own in .cache/matrix, removed when its tests are done: made by the python3.N
on the PATH, packages come by pip as anyone's do. Prints a table of counts, and leaves each run's output in
.cache/matrix/*.log. An interpreter that is not there is a row that says so, and the exit code 1.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "matrix"
NAMES = ("Python", "torch", "diffusers", "transformers")
# The lowest release of each that pyproject.toml allows, the releases since, and every Python that it names.
COMBINATIONS = (
    ("3.11", "2.13.0", "0.41.0", "5.22.2"),
    ("3.11", "2.14.1", "0.42.1", "5.24.0"),
    ("3.12", "2.14.1", "0.42.1", "5.23.0"),
    ("3.13", "2.15.0", "0.42.1", "5.24.0"),
)
# Pinned by the lock to suit its own diffusers and transformers: here each release takes what it asks for.
FREE = ("diffusers", "transformers", "tokenizers", "huggingface_hub", "accelerate", "safetensors")


def constraints() -> str:
    """The lock without what a combination chooses."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.partition("==")[0] not in FREE) + "\n"


def harness() -> list[str]:
    """What the extra `harness` asks for, which some tests need, without the floors of what a release chooses."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    names = [(re.split(r"[\[>=]", line)[0], line) for line in extras["harness"]]
    return [name if name.replace("-", "_") in FREE else line for name, line in names if name != "litefocus"]


def counts(report: Path) -> dict[str, int]:
    """Of pytest's junit report: passed, failed (errors too), skipped."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    found = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = found["failures"] + found["errors"]
    return {"passed": found["tests"] - failed - found["skipped"], "failed": failed, "skipped": found["skipped"]}


def interpreter(version: str) -> str | None:
    """`python3.N` of the PATH, the first that starts and is that version; None without one."""
    for folder in os.get_exec_path():
        path = shutil.which(f"python{version}", path=folder)
        check = f"import sys; sys.exit(sys.version_info[:2] != ({version.replace('.', ', ')}))"
        if path and not subprocess.run([path, "-c", check], capture_output=True).returncode:
            return path
    return None


def run(python_path: str, versions: tuple[str, ...]) -> dict[str, int]:
    """Install one combination, run tests/litefocus on it, and count.

    Raises:
        RuntimeError: the packages do not install together; names the log.
    """
    name = "-".join(versions)
    environment, log, report = FOLDER / name, FOLDER / f"{name}.log", FOLDER / f"{name}.xml"
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "constraints.txt").write_text(constraints(), encoding="utf-8")
    report.unlink(missing_ok=True)
    python = environment / "bin" / "python"
    wanted = [f"{package}=={version}" for package, version in zip(NAMES[1:], versions[1:], strict=True)]
    needed = [*wanted, *harness(), "accelerate", "pytest", "hypothesis"]
    commands = [
        [python_path, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "-q", "-c", str(FOLDER / "constraints.txt"), *needed],
        [str(python), "-m", "pytest", "tests/litefocus", f"--junit-xml={report}", "-p", "no:cacheprovider"],
    ]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    try:
        with log.open("w", encoding="utf-8") as file:
            for command in commands:
                done = subprocess.run(command, cwd=ROOT, env=own, stdout=file, stderr=subprocess.STDOUT)
                if done.returncode and not report.exists():
                    raise RuntimeError(f"{name}: {' '.join(command[1:4])} ended with {done.returncode}; see {log}")
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    return counts(report)


def main() -> None:
    """One combination from the command line, or all; the exit code is 1 if a test failed or a row was not run."""
    given = tuple(sys.argv[1:])
    if given and (len(given) != len(NAMES) or not all(re.fullmatch(r"\d[\d.]*", version) for version in given)):
        print(f"got {' '.join(given)}; give versions of {', '.join(NAMES)}, or nothing for all", file=sys.stderr)
        sys.exit(2)
    complete = True
    print(f"| {' | '.join(NAMES)} | passed | failed | skipped |\n|{'---|' * (len(NAMES) + 3)}", flush=True)
    for versions in [given] if given else COMBINATIONS:
        python_path = interpreter(versions[0])
        found = run(python_path, versions) if python_path else None
        complete &= found is not None and not found["failed"]
        cells = map(str, found.values()) if found else ("not run: no such Python on the PATH", "", "")
        print(f"| {' | '.join([*versions, *cells])} |", flush=True)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
