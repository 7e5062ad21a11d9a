"""Does constraints.txt still resolve, and does it pin all that it should? Asks the registry for metadata alone.

    python tests/matrix/lock.py

One resolution by uv for every Python that pyproject.toml allows and every platform; torch and what its builds bring are
left out of the lock, because machines differ in the build. Prints what is not pinned; the exit code is then 1.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The extras that make and CI install; the others (ray, peers) are for machines of their own.
EXTRAS = ("app", "dataset", "dev", "devices", "docs", "slurm", "wandb")
OF_TORCH = re.compile(r"torch|triton|cuda-.*|nvidia-.*")
# What other systems than Linux ask for.
ELSEWHERE = re.compile(r"sys_platform == '(?!linux)")


def names(lines: str) -> dict[str, str]:
    """Normalised name to version of each `name==version ; marker`, those of other systems left out."""
    pins = [line.partition(";") for line in lines.splitlines() if "==" in line.partition(";")[0]]
    pairs = [pin.strip().split("==") for pin, _, marker in pins if not ELSEWHERE.search(marker)]
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}


def main() -> None:
    """Resolve, compare, say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-q", "--universal", "--no-header"]
    command += [
        "--no-annotate",
        "--no-emit-index-url",
        "--python-version",
        project["requires-python"].removeprefix(">="),
    ]
    command += ["-c", "constraints.txt", *(f"--extra={extra}" for extra in EXTRAS), "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(done.returncode)
    pinned, found = names((ROOT / "constraints.txt").read_text(encoding="utf-8")), names(done.stdout)
    missing = {name: version for name, version in found.items() if name not in pinned and not OF_TORCH.fullmatch(name)}
    for name, version in sorted(missing.items()):
        print(f"not pinned: {name}=={version}")
    print(f"constraints.txt resolves: {len(found)} packages, {len(missing)} not pinned")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
