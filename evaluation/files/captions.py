"""Captions by clip, from the layouts that data sets come in: one row a clip, one row a caption, or five columns.

| file | layout |
|---|---|
| ``.csv``, ``.tsv`` | a header with an id and a caption column (MusicCaps: ``ytid``), one row for each clip |
| AudioCaps | the same with several rows for each ``youtube_id`` |
| Clotho | ``file_name`` and ``caption_1`` to ``caption_5`` |
| ``.jsonl``, ``.json`` | objects with these keys, a line each or in one list, or id to text; several texts as a list |

UTF-8 with or without a byte order mark, any line ends.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.files.names import PairingError, clip_name

ID_COLUMNS = (
    "id", "file", "file_name", "filename", "fname", "path", "audio", "audio_path", "audio_filepath", "audiocap_id",
    "youtube_id", "ytid", "name",
)  # fmt: skip
CAPTION_COLUMNS = ("caption", "text", "prompt")
_SEVERAL = re.compile(r"captions|caption_?\d+")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_DELIMITERS = {".tsv": "\t", ".tab": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")

Captions = str | tuple[str, ...]
"""The text of a clip, or its several texts."""


class _Row(NamedTuple):
    where: str
    cells: Mapping[str, Any]


def texts_of(captions: Captions | None) -> tuple[str, ...]:
    """The texts of a clip, none, one or several."""
    if captions is None:
        return ()
    return (captions,) if isinstance(captions, str) else tuple(captions)


def read_captions(path: Path, wanted: Collection[str] = (), *, several: bool = False) -> dict[str, Captions]:
    """Captions by id from a file; see the module for its layouts.

    The id column is the first of :data:`ID_COLUMNS` that holds one of the ``wanted`` ids, or the first at all where
    none does (a folder and an audio ending are dropped); the caption column the first of :data:`CAPTION_COLUMNS`, or
    all of caption_1, caption_2, ... Names of columns may be in capitals.

    Args:
        path: the file.
        wanted: ids of the clips.
        several: whether a clip may have more than one caption; it then has a tuple, in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        PairingError: names the line: not UTF-8, csv or json, a column is missing, more fields than the header (a
            comma without quotes), an open quote, no id, an empty caption, several where one is wanted, or a column or
            key twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such captions file")
    rows = list(_json_rows(path) if path.suffix.lower() in _JSON else _table_rows(path))
    if not rows:
        raise PairingError(f"{path}: holds no caption")
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    id_column, caption_columns = _id_column(rows, columns, path, wanted), _caption_columns(columns, path)
    captions: dict[str, tuple[str, ...]] = {}
    for where, cells in rows:
        name = _name_in(cells, id_column)
        if not name:
            raise PairingError(f"{where}: no id in {id_column!r}; give each caption the id of its clip")
        texts = [text for column in caption_columns for text in _texts(cells.get(column))]
        if not texts or not all(texts):
            raise PairingError(f"{where}: {name!r} empty; give each id one caption")
        if any(_NO_TEXT.search(text) for text in texts):
            raise PairingError(
                f"{where}: the caption of {name!r} holds a NUL character or half of a pair (\\ud800 to \\udfff); write"
                " the file anew as UTF-8"
            )
        captions[name] = (*captions.get(name, ()), *texts)
        if len(captions[name]) > 1 and not several:
            raise PairingError(
                f"{where}: id {name!r} twice or with several captions; give each id one caption, or say which counts:"
                " several_captions=max, mean or first"
            )
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in captions.items()}


def _name_in(cells: Mapping[str, Any], column: str) -> str:
    """Name of the clip in a cell, empty where there is none; an id may be a number, 0 as well."""
    cell = cells.get(column)
    return "" if cell is None else clip_name(str(cell))


def _table_rows(path: Path) -> Iterator[_Row]:
    """Rows of a csv or tsv with a header."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        # Strict: a quote that is never closed would make one caption of the rest of the file.
        reader = csv.reader(file, delimiter=_DELIMITERS.get(path.suffix.lower(), ","), strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            if not header:
                raise PairingError(f"{path}: columns are []; {_needed(ID_COLUMNS)}")
            _refuse_twice([name for name in header if name], str(path))
            for fields in reader:
                if len(fields) > len(header):
                    raise PairingError(
                        f"{path}:{reader.line_num}: {len(fields)} fields where the header has {len(header)}; "
                        f'a caption with a comma needs quotes: "a dog, barking"'
                    )
                if any(field.strip() for field in fields):  # A spreadsheet ends a table with rows of commas.
                    yield _Row(f"{path}:{reader.line_num}", dict(zip(header, fields, strict=False)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise PairingError(f"{path}:{reader.line_num}: not a csv in UTF-8 ({error})") from error


def _json_rows(path: Path) -> Iterator[_Row]:
    """Objects of a jsonl file, or of the list that a json file holds."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairingError(f"{path}: not in UTF-8 ({error})") from error
    if path.suffix.lower() == ".json":
        entries = _parsed(text, str(path))
        if isinstance(entries, dict):
            entries = [{"id": name, "caption": text} for name, text in entries.items()]
        if not isinstance(entries, list):
            raise PairingError(
                f"{path}: holds a {type(entries).__name__}; accepted are a list of objects and id to text"
            )
        numbered = [(f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1)]
    else:
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        numbered = [(where, _parsed(line, where)) for where, line in lines]
    for where, entry in numbered:
        if not isinstance(entry, dict):
            raise PairingError(f"{where}: no json object; accepted is one like {{'id': 'a', 'caption': 'rain'}}")
        columns = [key.strip().lower() for key in entry]
        _refuse_twice(columns, where)
        yield _Row(where, dict(zip(columns, entry.values(), strict=True)))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: object_of(pairs, where))
    except PairingError:
        raise
    except (ValueError, RecursionError) as error:
        raise PairingError(f"{where}: no json ({error})") from error


def object_of(pairs: Sequence[tuple[str, Any]], where: str) -> dict[str, Any]:
    """A json object; Python's own takes the last of two equal keys without a word. Raises PairingError for two."""
    _refuse_twice([key for key, _ in pairs], where)
    return dict(pairs)


def _refuse_twice(names: Sequence[str], where: str) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise PairingError(f"{where}: {twice[0]!r} stands twice; keep one")


def _id_column(rows: Sequence[_Row], columns: Sequence[str], path: Path, wanted: Collection[str]) -> str:
    present = [name for name in ID_COLUMNS if name in columns]
    if not present:
        raise PairingError(f"{path}: columns are {list(columns)}; {_needed(ID_COLUMNS)}")
    holding = (n for n in present if any(_name_in(row.cells, n) in wanted for row in rows))
    return next(holding, present[0])


def _caption_columns(columns: Sequence[str], path: Path) -> list[str]:
    single = [name for name in CAPTION_COLUMNS if name in columns][:1]
    found = single or [name for name in columns if _SEVERAL.fullmatch(name)]
    if not found:
        raise PairingError(f"{path}: columns are {list(columns)}; {_needed(CAPTION_COLUMNS)}")
    return found


def _needed(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)} is needed"


def _texts(cell: object) -> list[str]:
    """The captions of a cell, stripped; anything but text is as good as none."""
    entries = cell if isinstance(cell, list) else [cell]
    return [entry.strip() if isinstance(entry, str) else "" for entry in entries]
