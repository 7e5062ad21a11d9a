"""What a record's values must be before anything else looks at them: of their type, and harmless as a file name.

Records travel: they are copied from clusters, attached to issues, sent by strangers. Every reader goes through here.
"""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

# Fields that become parts of file names somewhere. An empty one says that there is none.
NAMES = ("run_id", "condition", "method", "preset", "metric", "baseline", "limit", "prompt_id")
# As free at the start as `prompts.safe_id`: ids of YouTube begin with "-" or "_" now and then.
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+-]{0,199}|")


def problems(record: Any) -> Iterator[str]:
    """What is wrong with a record's values, in words; nothing for a good one.

    Args:
        record: a dataclass instance whose fields are annotated with plain types and containers of them.
    """
    hints = typing.get_type_hints(type(record))
    for field in fields(record):
        value = getattr(record, field.name)
        if not is_a(value, hints[field.name]):
            yield f"{field.name} is {shown(value)}, accepted is {_name(hints[field.name])}"
        elif field.name in NAMES and not NAME.fullmatch(value):
            yield f"{field.name} is {shown(value)}, which is no safe name"
        elif field.name == "audio" and not is_inside(value):
            yield f"audio is {shown(value)}, which is no path below the run folder"


def is_a(value: Any, kind: Any) -> bool:
    """Whether a decoded JSON value has an annotated type, at any depth. A whole number counts as a float."""
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind) or kind
    if origin in (types.UnionType, typing.Union):
        return any(is_a(value, option) for option in arguments)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            is_a(k, arguments[0]) and is_a(v, arguments[1]) for k, v in value.items()
        )
    if origin is list:
        return isinstance(value, list) and all(is_a(entry, arguments[0]) for entry in value)
    if kind is Any:
        return not isinstance(value, str) or is_a(value, str)
    if kind is str:
        return isinstance(value, str) and _is_unicode(value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def is_inside(path: str) -> bool:
    """Whether a relative path stays below the folder it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\\" not in path and path.isprintable()


def _is_unicode(text: str) -> bool:
    """False for text with half a surrogate pair, which JSON can spell and no file can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def shown(value: Any) -> str:
    """A value in an error, cut to 80 characters: a damaged file can hold one of any size."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")
