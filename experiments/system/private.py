"""What stays on the machine: records travel, home folders, user names, tokens and environment variables do not."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

HIDDEN = "***"
SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
# Shorter values (a flag, a port) are no secrets and would be found inside ordinary words.
SECRET_CHARACTERS = 8


def publishable(config: Mapping[Any, Any], unresolved: Any) -> dict[str, Any]:
    """A resolved configuration as records keep it.

    Absolute paths are reduced to their last part; a value taken from the environment stays the reference to it;
    secrets are masked; of the tracker, whose options name accounts, only its own name is kept.

    Args:
        unresolved: the same configuration with its interpolations as written.
    """
    public = _publish(config, unresolved, _secrets())
    if "tracking" in public:
        public["tracking"] = {"name": public["tracking"]["name"]}
    return public


def _publish(value: Any, written: Any, secrets: list[str]) -> Any:
    if isinstance(written, str) and "${oc.env" in written:
        return written
    if isinstance(value, Mapping):
        inner = written if isinstance(written, Mapping) else {}
        return {str(key): _publish(entry, inner.get(key), secrets) for key, entry in value.items()}
    if isinstance(value, list):
        inner_list = written if isinstance(written, list) else [None] * len(value)
        return [_publish(entry, text, secrets) for entry, text in zip(value, inner_list, strict=True)]
    return without_private(value, secrets) if isinstance(value, str) else value


def without_private(text: str, secrets: list[str] | None = None) -> str:
    """One text without folders of the machine and without secrets of the environment."""
    for secret in _secrets() if secrets is None else secrets:
        text = text.replace(secret, HIDDEN)
    home = Path.home()
    path: PurePath = PureWindowsPath(text) if re.match(r"[A-Za-z]:\\", text) else PurePath(text.removeprefix("file://"))
    if path.is_absolute() or text.startswith("~"):
        return "~" if path == home else path.name
    # A relative path may climb out of a home folder and back: ../../home/me/clips.
    return re.sub(rf"(^|/){re.escape(home.name)}(?=/)", rf"\1{HIDDEN}", text) if home.name else text


def _secrets() -> list[str]:
    """Values of environment variables whose names say that they are secret, the longest first."""
    found = {
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SECRET_CHARACTERS
    }
    return sorted(found, key=len, reverse=True)
