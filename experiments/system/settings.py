"""key=value command lines for the testbed's programs, checked against a dataclass."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

S = TypeVar("S")


def parse_settings(cls: type[S], arguments: list[str]) -> S:
    """Builds the dataclass `cls` from "key=value" words; values take the type of the default.

    Raises:
        SystemExit: a word that is not key=value, an unknown key, or a value of the wrong type.
    """
    defaults: dict[str, Any] = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        if key not in defaults or not text:
            accepted = " ".join(f"{name}={default}" for name, default in defaults.items())
            raise SystemExit(f"got {argument!r}; accepted (with defaults): {accepted}")
        try:
            values[key] = _convert(text, defaults[key])
        except ValueError as error:
            raise SystemExit(f"{key} must be a {type(defaults[key]).__name__}, got {text!r}") from error
    return cls(**values)


def _convert(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return type(default)(text)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one, else the CPU."""
    import torch  # not every program with settings needs it

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
