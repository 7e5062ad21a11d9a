"""Files of votes that the listening page saved. They come from other people: every field is checked, none is trusted.

A file is one listener's: an object with format, version, run, material, listener and votes. A vote has prompt,
duration_s, seed, a and b (each with method and clip), winner ("a", "b" or "same") and took_s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FORMAT, VERSION = "litefocus votes", 1
WINNERS = ("a", "b", "same")
_MOST_BYTES = 32 * 2**20
_LONGEST_TEXT = 1000


class Side(NamedTuple):
    """What a listener heard as A or B."""

    method: str
    clip: str
    """Path of the audio in its run folder."""


class Vote(NamedTuple):
    """One listener's answer to one pair of clips of the same prompt, length and seed."""

    listener: str
    prompt: str
    duration_s: float
    seed: int
    a: Side
    b: Side
    winner: str
    """"a", "b" or "same"."""
    took_s: float


class Ballots(NamedTuple):
    """All votes on the clips of one run."""

    run: str
    material: str
    """Hash over clips and labels, the same in every file."""
    votes: list[Vote]


def read_votes(places: Sequence[Path]) -> Ballots:
    """Votes of files, and of all json files in folders.

    Raises:
        FileNotFoundError: a place is not there, or a folder holds no json file.
        ValueError: a file is no such file, two are of one listener or of different clips, or one clip has two methods.
    """
    paths = [path for place in places for path in _files(place)]
    votes: list[Vote] = []
    of_listener: dict[str, Path] = {}
    first: tuple[Path, str, str] | None = None
    for path in paths:
        run, material, listener, own = _read(path)
        if listener in of_listener:
            raise ValueError(
                f"{of_listener[listener]} and {path} are both of listener {listener!r}; keep the longer one, or give "
                "another name in one of them if they are two people"
            )
        of_listener[listener] = path
        first = first or (path, run, material)
        if material != first[2]:
            raise ValueError(f"{first[0]} and {path} are of different clips or labels; give the votes on one page")
        votes += own
    _check_clips(votes)
    if first is None or not votes:
        raise ValueError(f"{', '.join(map(str, places))}: no votes")
    return Ballots(first[1], first[2], votes)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        if found := sorted(place.glob("*.json")):
            return found
        raise FileNotFoundError(f"{place}: no json file in it; the listening page saves votes as one")
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file or folder of votes; the listening page saves them")
    return [place]


def _read(path: Path) -> tuple[str, str, str, list[Vote]]:
    """Run, material, listener and votes of a file."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: more than {_MOST_BYTES >> 20} MiB; no listener gives so many votes")
    try:
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_no_number)
        except ValueError as error:
            raise ValueError(f"no json ({error}); give a file that the listening page saved") from None
        return _checked(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of json")


def _checked(content: Any) -> tuple[str, str, str, list[Vote]]:
    fields = _object(content, "the file", ("format", "version", "run", "material", "listener", "votes"))
    if (fields["format"], fields["version"]) != (FORMAT, VERSION) or isinstance(fields["version"], bool):
        raise ValueError(f"not {FORMAT!r} of version {VERSION}; save the votes with the page of this repository")
    listener = _text(fields["listener"], "listener")
    if not isinstance(fields["votes"], list):
        raise ValueError("votes is no list")
    votes: dict[frozenset[str], Vote] = {}
    for number, entry in enumerate(fields["votes"], 1):
        try:
            vote = _vote(entry, listener)
            if votes.setdefault(frozenset((vote.a.clip, vote.b.clip)), vote) is not vote:
                raise ValueError("these two clips were voted on before")
        except ValueError as error:
            raise ValueError(f"vote {number}: {error}") from None
    return _text(fields["run"], "run"), _text(fields["material"], "material"), listener, [*votes.values()]


def _vote(entry: Any, listener: str) -> Vote:
    fields = _object(entry, "it", ("prompt", "duration_s", "seed", "a", "b", "winner", "took_s"))
    a, b = (_side(fields[side], side) for side in ("a", "b"))
    if a.method == b.method or a.clip == b.clip:
        raise ValueError("a and b are the same method or clip")
    if fields["winner"] not in WINNERS:
        raise ValueError(f"winner is {_shown(fields['winner'])}; accepted are {', '.join(WINNERS)}")
    return Vote(
        listener=listener,
        prompt=_text(fields["prompt"], "prompt", printable=False),
        duration_s=_number(fields["duration_s"], "duration_s", lambda value: value > 0),
        seed=_whole(fields["seed"]),
        a=a,
        b=b,
        winner=str(fields["winner"]),
        took_s=_number(fields["took_s"], "took_s", lambda value: value >= 0),
    )


def _side(entry: Any, name: str) -> Side:
    fields = _object(entry, name, ("method", "clip"))
    return Side(_text(fields["method"], f"{name}.method"), _text(fields["clip"], f"{name}.clip", printable=False))


def _object(entry: Any, name: str, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or set(entry) != set(keys):
        got = ", ".join(map(_shown, entry)) if isinstance(entry, dict) else _shown(entry)
        raise ValueError(f"{name} holds {got or 'nothing'}; it takes {', '.join(keys)}")
    return entry


def _text(value: Any, name: str, printable: bool = True) -> str:
    """A text that is not empty; where it will be shown, without a character that a terminal obeys."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
        raise ValueError(f"{name} is {_shown(value)}; give a text of 1 to {_LONGEST_TEXT} characters")
    if printable and not value.isprintable():
        raise ValueError(f"{name} is {_shown(value)}, with characters that cannot be printed")
    return value


def _number(value: Any, name: str, accepted: Callable[[float], bool]) -> float:
    # An integer of json has any length; a float has not.
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    if not fits or not math.isfinite(value) or not accepted(value):
        raise ValueError(f"{name} is {_shown(value)}; give seconds")
    return float(value)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(f"seed is {_shown(value)}; give a whole number")
    return value


def _shown(value: Any) -> str:
    """A value from a file, short and harmless in a terminal."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _check_clips(votes: Sequence[Vote]) -> None:
    """One clip has one method, prompt, length and seed, whoever votes: otherwise a file was edited."""
    known: dict[str, tuple[str, str, float, int]] = {}
    for vote in votes:
        for side in (vote.a, vote.b):
            said = (side.method, vote.prompt, vote.duration_s, vote.seed)
            if known.setdefault(side.clip, said) != said:
                raise ValueError(
                    f"{_shown(side.clip)} is {_shown(known[side.clip])} in one vote and {_shown(said)} in one of "
                    f"{vote.listener}"
                )
