"""The one entry of programs whose options are a dataclass: key=value words, help, one-line errors.

Programs that run the harness take Hydra's configuration instead (`experiments.system.cli`); a word key=value means the
same in both. Here a value is text that becomes the type of its default and is never parsed as a language.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.system.cli import one_line_errors, print_help_if_asked

if TYPE_CHECKING:
    import torch

S = TypeVar("S")


def program(cls: type[S], run: Callable[[S], Any], help_text: str | None) -> None:
    """Run a program with the settings that its command line gives; a text or path that it returns is printed.

    torch works in `settings.threads` threads, in one where there is no such option.

    Args:
        cls: a dataclass with a default for every option; its docstring explains them.
        run: the program. help_text: its module's docstring.
    """
    words = sys.argv[1:]
    print_help_if_asked(words, usage(cls, help_text))
    with one_line_errors():
        settings = parse_settings(cls, words)
        logging.basicConfig(level=logging.INFO)
        import torch

        torch.set_num_threads(getattr(settings, "threads", 1))
        result = run(settings)
        if isinstance(result, str | Path):
            print(result)


def usage(cls: type[Any], help_text: str | None) -> str:
    """What --help prints: what the program does, its options with their defaults, and what they mean."""
    options = "\n".join(f"  {field.name}={field.default}" for field in fields(cls))
    told = (base.__doc__ or "" for base in reversed(cls.__mro__) if is_dataclass(base))
    lines = [line.strip() for text in told for line in text.splitlines()]
    meaning = "\n".join(f"  {line}" for line in lines if line and line != "Attributes:")
    return f"{(help_text or '').strip()}\n\nOptions, with their defaults:\n{options}\n\n{meaning}"


def parse_settings(cls: type[S], arguments: list[str]) -> S:
    """Builds the dataclass `cls` from "key=value" words; values take the type of the default.

    Raises:
        ValueError: a word that is not key=value, an unknown key, or a value of the wrong type.
    """
    defaults: dict[str, Any] = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        if key not in defaults or not text:
            accepted = " ".join(f"{name}={default}" for name, default in defaults.items())
            raise ValueError(f"got {argument!r}; accepted (with defaults): {accepted}")
        try:
            values[key] = _convert(text, defaults[key])
        except ValueError as error:
            raise ValueError(f"{key} must be a {type(defaults[key]).__name__}, got {text!r}") from error
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
