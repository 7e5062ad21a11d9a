"""The library's own tests on other versions of torch, diffusers and transformers.

    python tests/matrix/run.py                         # every combination below, one after another
    python tests/matrix/run.py 2.13.0 0.41.0 5.22.2    # one: torch, diffusers, transformers

Each combination gets an environment of its own in .cache/matrix, removed when its tests are done; packages come by pip
as anyone's do. Prints a table of counts, and leaves each run's output in .cache/matrix/*.log.
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
NAMES = ("torch", "diffusers", "transformers")
# The minor release of diffusers and of transformers before the lock's, then the next release of torch and transformers.
COMBINATIONS = (("2.13.0", "0.41.0", "5.22.2"), ("2.14.1", "0.42.1", "5.24.0"))
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


def run(versions: tuple[str, ...]) -> dict[str, int]:
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
    wanted = [f"{package}=={version}" for package, version in zip(NAMES, versions, strict=True)]
    needed = [*wanted, *harness(), "accelerate", "pytest", "hypothesis"]
    commands = [
        [sys.executable, "-m", "venv", str(environment)],
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
    """One combination from the command line, or all; the exit code is 1 if any test failed."""
    given = tuple(sys.argv[1:])
    if given and (len(given) != len(NAMES) or not all(re.fullmatch(r"[\d.]+", version) for version in given)):
        sys.exit(f"got {' '.join(given)}; give versions of {', '.join(NAMES)}, or nothing for all combinations")
    failed = 0
    print(f"| {' | '.join(NAMES)} | passed | failed | skipped |\n|---|---|---|---|---|---|", flush=True)
    for versions in [given] if given else COMBINATIONS:
        found = run(versions)
        failed += found["failed"]
        print(f"| {' | '.join([*versions, *map(str, found.values())])} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
