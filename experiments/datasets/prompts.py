"""Prompts: captions with stable ids that are safe file names, from a text file, a csv or AudioCaps."""

import csv
import hashlib
import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from evaluation.files.captions import object_of
from evaluation.files.names import PairingError
from experiments.system.download import fetch

logger = logging.getLogger(__name__)

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl")
TAB = "\t"
MAX_CAPTION_CHARACTERS = 2000
AUDIOCAPS_URL = "https://raw.githubusercontent.com/cdjkim/audiocaps/master/dataset/test.csv"
AUDIOCAPS_SHA256 = "b91c4b7ded2f4f6e7db5b9c4983dc1e1dca3d556f505b61e3fd65cac7e1c638a"
AUDIOCAPS_SUBSETS = ("886", "964", "975x5")


@dataclass(frozen=True)
class Prompt:
    """A caption and its id. The id is a safe file name: letters, digits, '.', '_', '-', at most 64 characters."""

    id: str
    text: str


def safe_id(raw: str) -> str:
    """A file name for any id: unchanged if it is one already, else a readable part plus a hash of the whole.

    Different ids give different names, whatever they contain (paths, null bytes, emoji, 10,000 characters).
    """
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", raw):
        return raw
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:40].strip("-")
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{readable}-{digest}" if readable else digest


def check_caption(text: str, where: str) -> str:
    """The caption without surrounding space.

    Raises:
        ValueError: empty, too long, or with control characters (a null byte, a line break).
    """
    caption = text.strip()
    if not caption:
        raise ValueError(f"{where}: the caption is empty; give text or delete the line")
    if len(caption) > MAX_CAPTION_CHARACTERS:
        raise ValueError(
            f"{where}: the caption has {len(caption)} characters, accepted are up to {MAX_CAPTION_CHARACTERS}"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in caption):
        raise ValueError(f"{where}: the caption holds a control character; remove it")
    return caption


def check_prompts(prompts: Any, where: str) -> list[Prompt]:
    """What a loader returned as a list, checked before any clip is made for it.

    Raises:
        TypeError: anything but prompts. ValueError: none, an id that is no file name or occurs twice, or a bad caption.
    """
    items = list(prompts) if isinstance(prompts, Sequence) and not isinstance(prompts, str) else [prompts]
    for number, prompt in enumerate(items, start=1):
        if not isinstance(prompt, Prompt) or not isinstance(prompt.id, str) or not isinstance(prompt.text, str):
            raise TypeError(
                f"{where}: item {number} is {prompt!r:.80}; accepted is a list of "
                "experiments.datasets.prompts.Prompt(id, text), both texts"
            )
        if prompt.id != safe_id(prompt.id):
            raise ValueError(
                f"{where}: the id {prompt.id!r} is no file name; experiments.datasets.prompts.safe_id makes one of it"
            )
        check_caption(prompt.text, f"{where}, caption {number}")
    return take(items, None, where)


def take(prompts: list[Prompt], limit: int | None, where: str, places: Sequence[str] = ()) -> list[Prompt]:
    """The first `limit` prompts, checked to be some, with ids that differ even where case does not count.

    Args:
        places: of each prompt, for errors, like "line 3"; by default its number.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"data.limit {limit!r}: accepted are whole numbers from 1, or null for all")
    if not prompts:
        raise ValueError(f"{where}: no captions found; give at least one")
    seen: dict[str, str] = {}
    for place, prompt in zip(places or [f"caption {n + 1}" for n in range(len(prompts))], prompts, strict=True):
        here, name = f"{place} ({prompt.text[:60]!r})", prompt.id.lower()
        if name in seen:
            raise ValueError(
                f"{where}: {seen[name]} and {here} have the same id; delete one, or name a column of ids that differ, "
                "not in case alone (data.id_column)"
            )
        seen[name] = here
    return prompts[:limit]


def load_captions(
    file: str, column: str = "caption", id_column: str | None = None, limit: int | None = None
) -> list[Prompt]:
    """Read prompts from a .txt (one caption per line), .csv, .tsv or .jsonl (one object per line) file.

    Args:
        file: path of a UTF-8 file.
        column: where a row or object has its caption.
        id_column: where it has its id; None makes the id from the caption's text.
        limit: the first so many; None for all.
    Raises:
        FileNotFoundError, ValueError: with the file, what was got and what is accepted.
    """
    for key, value in (("data.file", file), ("data.column", column), ("data.id_column", id_column or "")):
        if not isinstance(value, str):
            raise ValueError(f"{key} {value!r}: accepted are texts; put one that looks like a number in quotes")
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no caption file at {path}; set data.file to one of {', '.join(SUFFIXES)}")
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ValueError(f"data.file {path.name}: accepted are files of {', '.join(SUFFIXES)}; convert or rename it")
    if suffix == ".txt":
        if id_column:
            raise ValueError(f"data.id_column {id_column}: {path.name} has no columns; a csv, tsv or jsonl has")
        column = "caption"
        rows = {number: {column: line} for number, line in _lines(path)}
    else:
        read = read_jsonl if suffix == ".jsonl" else read_csv
        rows = read(path, [column] + ([id_column] if id_column else []))
    prompts = [
        Prompt(
            safe_id(row[id_column] if id_column else row[column].strip()),
            check_caption(row[column], f"{path.name}, line {line}"),
        )
        for line, row in rows.items()
    ]
    return take(prompts, limit, path.name, [f"line {line}" for line in rows])


def load_demo(limit: int | None = None) -> list[Prompt]:
    """The captions that ship with the package."""
    with resources.as_file(resources.files("experiments") / "datasets" / "demo_captions.txt") as path:
        return load_captions(str(path), limit=limit)


def read_text(path: Path) -> str:
    """A UTF-8 text file (with or without byte order mark), its line ends as \\n."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: not UTF-8 text ({error.reason} at byte {error.start}); convert it") from error


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that hold anything, with their numbers from 1."""
    return [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]


def read_csv(path: Path, columns: list[str]) -> dict[int, dict[str, str]]:
    """Line -> row of a .csv, or a .tsv with tabs, with the named columns present and filled in every row."""
    delimiter = TAB if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True, delimiter=delimiter)
    try:
        header = list(reader.fieldnames or [])
        _check_columns(path.name, columns, header)
        if twice := [column for column in columns if header.count(column) > 1]:
            raise ValueError(f"{path.name}: {header.count(twice[0])} columns are named {twice[0]}; rename all but one")
        rows = {}
        for row in reader:
            rows[reader.line_num] = row
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: not a valid {path.suffix[1:]} ({error})") from error
    for line, row in rows.items():
        if any(row[column] is None for column in columns):
            raise ValueError(f"{path.name}, line {line}: fewer fields than the header names")
        if None in row:  # what a caption with a comma and without quotes leaves over
            raise ValueError(
                f"{path.name}, line {line}: more fields than the {len(header)} of the header; put a "
                f"caption that holds {'a tab' if delimiter == TAB else 'a comma'} in double quotes"
            )
    return rows


def read_jsonl(path: Path, columns: list[str]) -> dict[int, dict[str, str]]:
    """Line -> object of a .jsonl, with the named keys present: texts, or whole numbers as text."""
    rows = {}
    for number, line in _lines(path):
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=partial(object_of, where=where))
        except PairingError:
            raise
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not valid JSON ({error}); give one object per line") from error
        if not isinstance(row, dict):
            raise ValueError(f'{where}: got {line.strip()[:60]}; accepted are objects, like {{"{columns[0]}": "..."}}')
        _check_columns(where, columns, row)
        if wrong := [c for c in columns if not isinstance(row[c], str | int) or isinstance(row[c], bool)]:
            raise ValueError(f"{where}: {wrong[0]} is {row[wrong[0]]!r:.60}; accepted are texts")
        rows[number] = {column: str(row[column]) for column in columns}
    return rows


def _check_columns(where: str, columns: list[str], found: Iterable[str]) -> None:
    if missing := [column for column in columns if column not in found]:
        raise ValueError(
            f"{where}: no column {', '.join(missing)}; it has {', '.join(found) or 'none'} (data.column names that of "
            "the captions, data.id_column that of the ids)"
        )


def load_audiocaps(
    csv: str | None = None,
    subset: str = "886",
    limit: int | None = None,
    cache_dir: str = "~/.cache/litefocus",
) -> list[Prompt]:
    """AudioCaps v1 test captions (Kim et al., 2019), one clip each, in the order of the id list.

    Args:
        csv: path of dataset/test.csv; None fetches it (academic use) and checks its sha256.
        subset: "886" (Tango's list), "964" (AudioLDM's list) or "975x5" (all 4,875 captions).
    Raises:
        ValueError: an unknown subset, or a csv that lacks ids of the subset.
    """
    name = str(subset)
    if name not in AUDIOCAPS_SUBSETS:
        raise ValueError(f"data.subset {subset!r}: accepted are {', '.join(AUDIOCAPS_SUBSETS)}")
    path = Path(csv).expanduser() if csv else fetch_audiocaps(Path(cache_dir).expanduser())
    if not path.is_file():
        raise FileNotFoundError(f"no AudioCaps csv at {path}; set data.csv to dataset/test.csv")
    read = read_csv(path, ["audiocap_id", "caption"]).values()
    rows = {row["audiocap_id"]: row["caption"] for row in read}
    ids = list(rows) if name == "975x5" else subset_ids(name)
    if missing := [i for i in ids if i not in rows]:
        raise ValueError(f"{path.name}: {len(missing)} ids of subset {name} are missing, the first is {missing[0]}")
    prompts = [Prompt(safe_id(i), check_caption(rows[i], f"{path.name}, audiocap_id {i}")) for i in ids]
    return take(prompts, limit, path.name)


def subset_ids(name: str) -> list[str]:
    """The audiocap_ids of a published one-caption-per-clip list."""
    return (resources.files("experiments") / "datasets" / f"audiocaps_{name}.txt").read_text().split()


def fetch_audiocaps(cache_dir: Path) -> Path:
    """Fetch AudioCaps' test.csv once; its licence allows academic use only."""
    logger.info("AudioCaps captions: academic use only (see the data set's README)")
    return fetch(AUDIOCAPS_URL, AUDIOCAPS_SHA256, cache_dir / "audiocaps_test.csv", option="data.csv")
