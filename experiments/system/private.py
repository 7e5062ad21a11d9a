"""What stays on the machine: records travel, home folders, user names, tokens and environment variables do not."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers.oc import env as oc_env

HIDDEN = "***"
ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\b")
# The default of a reference, ${oc.env:NAME,DEFAULT}, where it is a folder.
DEFAULT = re.compile(r"(,\s*)[/~][^{}]*\}")
GROUP_CHOICE = re.compile(r"[a-z0-9_]+")
MARK = re.compile(r"OcEnv__(.*?)__End")
SECRET_NAME = re.compile(
    r"(key|token|secret|pass(word|wd|phrase)?|credentials?|auth|cookie|_(pat|pwd|dsn|ur[il])|connection_string)$",
    re.IGNORECASE,
)
# Shorter values (a flag, a port) are no secrets and would be found inside ordinary words.
SECRET_CHARACTERS = 8


def publishable(config: Mapping[Any, Any], unresolved: Any, marked: Any = None) -> dict[str, Any]:
    """A resolved configuration as records keep it.

    Absolute paths are reduced to their last part; a value taken from the environment stays the reference to it;
    secrets are masked; of the tracker, whose options name accounts, only its own name is kept.

    Args:
        unresolved: the same configuration with its interpolations as written.
        marked: the same, resolved with a mark in place of each environment variable's value (`without_environment`):
            where it differs, a value came from the environment by whatever way.
    """
    public = _publish(config, unresolved, config if marked is None else marked, _secrets())
    if "tracking" in public:
        public["tracking"] = {"name": public["tracking"]["name"]}
    return public


def _publish(value: Any, written: Any, marked: Any, secrets: list[str]) -> Any:
    if isinstance(written, str) and ENVIRONMENT.search(written):
        return _reference(written, secrets)
    if isinstance(value, Mapping):
        inner = written if isinstance(written, Mapping) else {}
        own = marked if isinstance(marked, Mapping) else dict.fromkeys(value, HIDDEN)
        return {str(key): _publish(entry, inner.get(key), own.get(key), secrets) for key, entry in value.items()}
    if isinstance(value, list):
        inner_list = written if isinstance(written, list) and len(written) == len(value) else [None] * len(value)
        own_list = marked if isinstance(marked, list) and len(marked) == len(value) else [HIDDEN] * len(value)
        return [_publish(*entry, secrets) for entry in zip(value, inner_list, own_list, strict=True)]
    if marked != value:
        if not isinstance(marked, str) or not MARK.search(marked):
            return HIDDEN
        return _reference(MARK.sub(r"${oc.env:\1}", marked), secrets)
    if isinstance(value, str):
        return without_private(value, secrets)
    return HIDDEN if str(value) in secrets else value


def _reference(text: str, secrets: list[str]) -> str:
    """A text that refers to the environment, without the folders that stand before the reference or as its default."""
    before, sign, after = text.partition("${")
    if PurePath(before).is_absolute() or before.startswith("~") or PureWindowsPath(before).drive:
        before = re.split(r"[/\\]", before)[-1]
    return without_private(before, secrets) + sign + DEFAULT.sub(rf"\1{HIDDEN}}}", after)


def public_overrides(overrides: Iterable[str], public: Mapping[str, Any]) -> list[str]:
    """A command line's overrides as records keep them: each value as the published configuration has it.

    A choice of a configuration group stays where it is a plain name; what is neither is masked.

    Args:
        public: the configuration of that command line, after `publishable`.
    """
    return [_public_override(override, public) for override in overrides]


def _public_override(override: str, public: Mapping[str, Any]) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return key
    node: Any = public
    *parents, last = key.lstrip("+~").split(".")
    for part in parents:
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, Mapping) and last in node and not isinstance(node[last], Mapping):
        return f"{key}={json.dumps(node[last], ensure_ascii=False)}"
    is_group = not parents or "@" in key
    return f"{key}={value if is_group and GROUP_CHOICE.fullmatch(value) else HIDDEN}"


def without_environment(config: Any) -> Any:
    """The resolved configuration as plain data, a mark in place of every value that the environment gives.

    HIDDEN where an expression does not resolve without the value.
    """
    OmegaConf.register_new_resolver("oc.env", lambda name, *_: f"OcEnv__{name}__End", replace=True)
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:
        return HIDDEN
    finally:
        OmegaConf.register_new_resolver("oc.env", oc_env, replace=True)


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
