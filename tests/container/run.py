"""The Dockerfile without Docker: its lines, one after another, in an empty Debian of their own (root, debootstrap).

    python tests/container/run.py FOLDER                      # build, then what a container would start: make demo
    python tests/container/run.py FOLDER 'make test' 'make docs'    # build, or what stands in FOLDER, then these

Prints the seconds of each step and the megabytes that it added. FOLDER/root is the container's file system, left there
for a next call; delete the folder when done. Debian's own Python takes the place of the base image's. What is copied
is a clone of HEAD, so nothing that git ignores gets in. Of the environment, pip's and the certificates' settings are
passed on, with the files that they name, because a machine may reach its registry by these alone.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
PASSED_ON = ("PIP_", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, its text) of each line that is neither empty nor a comment."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def megabytes(folder: Path) -> float:
    """What a folder takes on disk."""
    done = subprocess.run(["du", "-sxk", folder], capture_output=True, text=True)
    return int(done.stdout.split()[0]) / 1000


class Container:
    """The state between the Dockerfile's lines: the file system, the working folder, the arguments."""

    def __init__(self, folder: Path):
        self.root, self.clone = folder / "root", folder / "clone"
        self.workdir, self.arguments, self.command = Path("/"), {}, [""]
        self.settings = {name: text for name, text in os.environ.items() if name.startswith(PASSED_ON)}

    def inside(self, path: Path | str) -> Path:
        """Where a path of the container lies on this machine."""
        return self.root / str(self.workdir / path).lstrip("/")

    def base(self) -> None:
        """An empty Debian with Python, and the files that pip's settings name."""
        packages = "--include=ca-certificates,python3,python3-venv"
        command = ["debootstrap", "--variant=minbase", packages, "bookworm", self.root]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        for named in {Path(text) for text in self.settings.values() if text.startswith("/")}:
            target = self.inside(named)
            if named.is_dir() and not target.exists():
                shutil.copytree(named, target)
            elif named.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(named, target)

    def shell(self, command: str) -> None:
        """One command in the container, in a namespace of mounts and processes that ends with it."""
        environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", "HOME": "/root", **self.settings, **self.arguments}
        start = ["chroot", str(self.root), "/usr/bin/env", "-i", "-C", str(self.workdir)]
        start += [f"{name}={text}" for name, text in environment.items()] + ["bash", "-ec", command]
        root = shlex.quote(str(self.root))
        mounts = f"mount -t proc proc {root}/proc; mkdir -p {root}/dev/shm; mount -t tmpfs tmpfs {root}/dev/shm"
        script = f"{mounts}; exec {shlex.join(start)}"
        command = ["unshare", "--mount", "--pid", "--fork", "bash", "-ec", script]
        subprocess.run(command, stdout=sys.stderr, check=True)

    def copy(self, text: str) -> None:
        """COPY FILE... FOLDER, from the clone."""
        *names, target = text.split()
        for name in names:
            source = self.clone / name
            if source.is_dir():
                shutil.copytree(source, self.inside(target), dirs_exist_ok=True, symlinks=True)
            else:
                self.inside(target).mkdir(parents=True, exist_ok=True)
                shutil.copy(source, self.inside(target))

    def step(self, name: str, text: str, built: bool) -> None:
        """One line of the Dockerfile; of a container that is built, only what later commands need to know."""
        if name == "WORKDIR":
            self.workdir = Path(text)
            self.inside(".").mkdir(parents=True, exist_ok=True)
        elif name == "ARG":
            key, _, value = text.partition("=")
            self.arguments[key] = value
        elif name == "CMD":
            self.command = json.loads(text)
        elif name not in {"FROM", "RUN", "COPY"}:
            raise ValueError(f"Dockerfile: {name} is not known here; FROM, RUN, COPY, WORKDIR, ARG, CMD are")
        elif not built:
            {"FROM": lambda _: self.base(), "RUN": self.shell, "COPY": self.copy}[name](text)


def main() -> None:
    """Build, unless FOLDER holds a container that was built; then the commands."""
    if len(sys.argv) < 2 or os.geteuid() != 0:
        print(f"got {' '.join(sys.argv[1:]) or 'no folder'}; give a folder, and run it as root", file=sys.stderr)
        sys.exit(2)
    folder, commands = Path(sys.argv[1]).resolve(), sys.argv[2:]
    container, built = Container(folder), (folder / "built").exists()
    if not built:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "-q", SOURCE, container.clone], check=True)

    def measured(label: str, *step: str | bool) -> None:
        before, start = megabytes(container.root) if container.root.exists() else 0.0, time.monotonic()
        container.step(*step) if len(step) == 3 else container.shell(*step)
        spent, added = time.monotonic() - start, megabytes(container.root) - before
        print(f"| {label} | {spent:.0f} | {added:.0f} |", flush=True)

    print("| step | seconds | MB |\n|---|---|---|", flush=True)
    for name, text in instructions((SOURCE / "Dockerfile").read_text(encoding="utf-8")):
        if built or name in {"WORKDIR", "ARG", "CMD"}:
            container.step(name, text, built)
        else:
            measured(f"{name} {text}", name, text, built)
    (folder / "built").touch()
    for command in commands or [shlex.join(container.command)]:
        measured(command, command)


if __name__ == "__main__":
    main()
