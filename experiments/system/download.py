"""Fetch one public file, checked against its sha256."""

import hashlib
import urllib.request
from pathlib import Path

from experiments.system.files import write_whole

TIMEOUT_S = 30


def fetch(url: str, sha256: str, path: Path, option: str) -> Path:
    """Return `path`, fetching it from `url` if it is not there; the content must hash to `sha256`.

    Args:
        option: the configuration key that takes a local path instead, named in errors.
    Raises:
        ValueError: the file, local or fetched, has another hash.
        ConnectionError: the source cannot be reached.
    """
    if path.exists():
        check(path.read_bytes(), sha256, f"{path}", option)
        return path
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            content = response.read()
    except OSError as error:
        raise ConnectionError(
            f"cannot reach {url} ({error}); put the file at {path} or set {option} to a local copy"
        ) from error
    check(content, sha256, url, option)
    write_whole(path, content, shared=True)
    return path


def check(content: bytes, sha256: str, where: str, option: str) -> None:
    """Refuse content whose hash is not the pinned one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{where}: sha256 is {found}, expected {sha256}; delete it or set {option} to the right file")
