"""Prompts: captions with stable ids that are safe file names, from a text file, a csv or AudioCaps."""

import csv
import hashlib
import io
import logging
import re
import unicodedata
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from experiments.system.download import fetch

logger = logging.getLogger(__name__)

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


def take(prompts: list[Prompt], limit: int | None, where: str) -> list[Prompt]:
    """The first `limit` prompts, checked to be some, with ids that differ even where case does not count."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"data.limit {limit!r}: accepted are whole numbers from 1, or null for all")
    if not prompts:
        raise ValueError(f"{where}: no captions found; give at least one")
    seen: dict[str, tuple[int, Prompt]] = {}
    for number, prompt in enumerate(prompts, start=1):
        if (other := seen.get(prompt.id.lower())) is not None:
            raise ValueError(
                f"{where}: the id {other[1].id!r} occurs twice, captions {other[0]} and {number} "
                f"({prompt.text[:60]!r}); delete one, or name a column of ids that differ (data.id_column)"
            )
        seen[prompt.id.lower()] = (number, prompt)
    return prompts[:limit]


def load_captions(
    file: str, column: str = "caption", id_column: str | None = None, limit: int | None = None
) -> list[Prompt]:
    """Read prompts from a .txt (one caption per line) or a .csv file.

    Args:
        file: path of a UTF-8 file.
        column: caption column of a csv.
        id_column: id column of a csv; None makes the id from the caption's text.
        limit: the first so many; None for all.
    Raises:
        FileNotFoundError, ValueError: with the file, what was got and what is accepted.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no caption file at {path}; set data.file to a .txt or .csv file")
    if path.suffix.lower() == ".csv":
        rows = read_csv(path, [column] + ([id_column] if id_column else []))
        pairs = [(row[id_column] if id_column else row[column].strip(), row[column]) for row in rows]
    else:
        lines = read_text(path).split("\n")
        pairs = [(line.strip(), line) for line in lines if line.strip()]
    prompts = [
        Prompt(safe_id(raw_id), check_caption(text, f"{path.name}, caption {number}"))
        for number, (raw_id, text) in enumerate(pairs, start=1)
    ]
    return take(prompts, limit, path.name)


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


def read_csv(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Rows of a csv as dictionaries, with the named columns present and filled in every row."""
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        header = reader.fieldnames or []
        if missing := [column for column in columns if column not in header]:
            raise ValueError(f"{path.name}: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}")
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: not a valid csv ({error})") from error
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise ValueError(f"{path.name}, row {number}: fewer fields than the header names")
    return rows


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
    rows = {row["audiocap_id"]: row["caption"] for row in read_csv(path, ["audiocap_id", "caption"])}
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
