"""Which generated file belongs to which reference and caption: by name, with a report, never by directory order."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

# What libsndfile reads by its content; a raw or text file is none of these.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64",
)  # fmt: skip
_ID_COLUMNS = ("id", "file", "file_name", "filename", "audiocap_id", "youtube_id", "name")
_CAPTION_COLUMNS = ("caption", "text", "prompt")
_SHOWN = 5


class PairingError(ValueError):
    """Folders and captions that do not match; the text names the files."""


@dataclass(frozen=True)
class Clip:
    """One generated clip with what it is compared to.

    Attributes:
        id: unique name of the clip.
        generated: its file.
        prompt: what several seeds of one prompt share: the id of the reference and of the caption. Also the unit that
            intervals resample.
        caption: its text, if known.
    """

    id: str
    generated: Path
    prompt: str
    caption: str | None = None


@dataclass(frozen=True)
class PairingReport:
    """What did not match, by id; empty lists mean that everything did."""

    missing_generated: list[str] = field(default_factory=list)
    missing_reference: list[str] = field(default_factory=list)
    missing_caption: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    not_audio: list[str] = field(default_factory=list)
    not_in_both: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """One line per kind of mismatch. Files that are not audio are no mismatch."""
        named = {
            "without a generated clip": self.missing_generated,
            "without a reference": self.missing_reference,
            "without a caption": self.missing_caption,
            "present more than once": self.duplicates,
            "in the folder or in its baseline only": self.not_in_both,
        }
        return [f"{len(ids)} {what}: {_some(ids)}" for what, ids in named.items() if ids]


@dataclass(frozen=True)
class Pairing:
    """The clips to score, their reference files by prompt, and what did not match.

    Attributes:
        left_out: id to reason of what was asked for and is not among the clips.
        prompts: all that were asked for, scored or not.
        paired: whether the references belong to single clips.
    """

    clips: tuple[Clip, ...]
    references: dict[str, Path]
    report: PairingReport
    left_out: dict[str, str] = field(default_factory=dict)
    prompts: frozenset[str] = frozenset()
    paired: bool = True


def pair_folders(
    reference: Path | None,
    generated: Path,
    captions: Path | Mapping[str, str] | None = None,
    *,
    id_pattern: str | None = None,
    strict: bool = True,
    paired: bool = True,
) -> Pairing:
    """Match two folders, and captions, by file name without its ending.

    Args:
        reference: folder of reference audio, or None where no metric needs one.
        generated: folder of generated audio.
        captions: csv with an id and a caption column, or id to caption; None where no metric needs them.
        id_pattern: regular expression with one group that takes the prompt's id out of a generated file's name, such
            as ``(.*)_[0-9]+`` for "<prompt>_<seed>"; None where the names are equal.
        strict: raise on any mismatch; otherwise keep what matches and report the rest.
        paired: False keeps every reference, whatever it is called: a background set.

    Raises:
        FileNotFoundError: a folder or the csv does not exist.
        PairingError: a mismatch (``strict``), duplicates that make a pair ambiguous, an empty caption, or no clip left.
    """
    generated_files, twice, other = list_audio(generated)
    references, twice_reference, other_reference = _list_references(reference, paired)
    clips = [Clip(name, path, _prompt_of(name, id_pattern)) for name, path in generated_files.items()]
    prompts = {clip.prompt for clip in clips}
    texts = read_captions(captions, prompts) if isinstance(captions, Path) else captions
    if empty := [name for name, text in (texts or {}).items() if not (text or "").strip()]:
        raise PairingError(f"captions: {empty[0]!r} empty; give each id one caption")
    named = reference is not None and paired
    wanted = set(references) if named else set(texts or {})
    report = PairingReport(
        missing_generated=sorted(wanted - prompts),
        missing_reference=sorted(prompts - set(references)) if named else [],
        missing_caption=sorted(prompts - set(texts)) if texts is not None else [],
        duplicates=sorted({*twice, *twice_reference}),
        not_audio=sorted([*other, *other_reference]),
    )
    if strict and report.problems():
        raise PairingError(
            f"{generated}: {'; '.join(report.problems())} (strict=false scores the"
            " common clips, paired=false two sets whose names do not match)"
        )
    unmatched = dict.fromkeys(report.missing_caption, "no caption") | dict.fromkeys(
        report.missing_reference, "no reference"
    )
    kept = tuple(
        Clip(clip.id, clip.generated, clip.prompt, None if texts is None else texts[clip.prompt])
        for clip in clips
        if clip.prompt not in unmatched
    )
    if not kept:
        problems = "; ".join(report.problems()) or _no_audio(report.not_audio)
        raise PairingError(f"{generated}: no clip matches; {problems}")
    used = {clip.prompt for clip in kept}
    doubled = {_prompt_of(name, id_pattern) for name in twice}
    left_out = {
        **{name: "no generated clip" for name in report.missing_generated if name not in doubled},
        **{clip.id: unmatched[clip.prompt] for clip in clips if clip.prompt in unmatched},
        **dict.fromkeys(twice, "present more than once"),
    }
    return Pairing(
        kept,
        {name: path for name, path in references.items() if name in used or not paired},
        report,
        left_out,
        frozenset({*wanted, *prompts, *doubled}),
        paired,
    )


def _list_references(folder: Path | None, paired: bool) -> tuple[dict[str, Path], list[str], list[str]]:
    """As :func:`list_audio`; files of a background set are never the same, so they keep their endings."""
    if folder is None:
        return {}, [], []
    if paired:
        return list_audio(folder)
    paths, other = _audio_files(folder)
    if not paths:
        raise PairingError(f"{folder}: {_no_audio(other)}")
    return {path.name: path for path in paths}, [], other


def _no_audio(other: list[str]) -> str:
    found = f" but {_some(other)}" if other else ""
    return f"it holds no audio{found}; endings that are read: {' '.join(AUDIO_SUFFIXES)}"


def common_clips(first: Pairing, second: Pairing) -> tuple[Pairing, Pairing]:
    """Both pairings with the clips that both have and their references; the reports name the others.

    Raises:
        PairingError: no clip in common.
    """
    ids = [{clip.id for clip in pairing.clips} for pairing in (first, second)]
    shared = ids[0] & ids[1]
    if not shared:
        raise PairingError(f"the folder and its baseline have no clip in common: {_some(sorted(ids[0] | ids[1]))}")
    apart = sorted(ids[0] ^ ids[1])
    return _restricted(first, shared, apart), _restricted(second, shared, apart)


def _restricted(pairing: Pairing, shared: Collection[str], apart: list[str]) -> Pairing:
    clips = tuple(clip for clip in pairing.clips if clip.id in shared)
    used = {clip.prompt for clip in clips}
    references = {name: path for name, path in pairing.references.items() if name in used or not pairing.paired}
    left_out = dict.fromkeys(apart, "in the folder or in its baseline only") | pairing.left_out
    return replace(
        pairing,
        clips=clips,
        references=references,
        report=replace(pairing.report, not_in_both=apart),
        left_out=left_out,
    )


def list_audio(folder: Path) -> tuple[dict[str, Path], list[str], list[str]]:
    """Audio files of a folder by name without ending, sorted; names with two files (left out); other files.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    found, other = _audio_files(folder)
    by_name: dict[str, list[Path]] = {}
    for path in found:
        by_name.setdefault(path.stem, []).append(path)
    twice = [name for name, paths in by_name.items() if len(paths) > 1]
    return {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}, twice, other


def _audio_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files with an audio ending, sorted, and the names of the others; hidden files and folders are neither."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of audio")
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and not path.is_dir()]
    audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    return audio, [path.name for path in files if path.suffix.lower() not in AUDIO_SUFFIXES]


def read_captions(path: Path, wanted: Collection[str] = ()) -> dict[str, str]:
    """Captions by id from a csv with a header.

    The id column is the first of id, file, file_name, filename, audiocap_id, youtube_id, name that holds one of the
    ``wanted`` ids, or the first at all where none does (an audio ending is dropped); the caption column the first of
    caption, text, prompt.

    Raises:
        FileNotFoundError: no such file.
        PairingError: no csv in UTF-8, a column is missing, a line has more fields than the header (a comma without
            quotes), an id is empty or given twice, or a caption is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such captions file")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            return _read_captions(reader, path, wanted)
        except (csv.Error, UnicodeDecodeError) as error:
            raise PairingError(f"{path}:{reader.line_num}: not a csv in UTF-8 ({error})") from error


def _read_captions(reader: csv.DictReader[str], path: Path, wanted: Collection[str]) -> dict[str, str]:
    first, caption_column = (_column(reader, names, path) for names in (_ID_COLUMNS, _CAPTION_COLUMNS))
    rows = [(reader.line_num, row) for row in reader]
    columns = [name for name in _ID_COLUMNS if name in (reader.fieldnames or [])]
    holding = [name for name in columns if any(_stem(row[name] or "") in wanted for _, row in rows)]
    id_column = next(iter(holding), first)
    captions: dict[str, str] = {}
    for line, row in rows:
        if None in row:  # DictReader's place for the fields beyond the header
            raise PairingError(
                f"{path}:{line}: {len(row) - 1 + len(row[None])} fields where the header has {len(row) - 1}; "
                f'a caption with a comma needs quotes: "a dog, barking"'
            )
        name, text = _stem(row[id_column] or ""), (row[caption_column] or "").strip()
        if not name or not text or name in captions:
            problem = "no id" if not name else f"id {name!r} twice" if name in captions else f"{name!r} empty"
            raise PairingError(f"{path}:{line}: {problem}; give each id one caption")
        captions[name] = text
    return captions


def _column(reader: csv.DictReader[str], accepted: tuple[str, ...], path: Path) -> str:
    header = list(reader.fieldnames or [])
    for name in accepted:
        if name in header:
            return name
    raise PairingError(f"{path}: columns are {header}; one of {', '.join(accepted)} is needed")


def _stem(name: str) -> str:
    name = name.strip()
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in AUDIO_SUFFIXES else name


def _prompt_of(name: str, id_pattern: str | None) -> str:
    if id_pattern is None:
        return name
    try:
        match = re.fullmatch(id_pattern, name)
    except re.error as error:
        raise PairingError(f"id_pattern {id_pattern!r} is no regular expression ({error})") from error
    if match is None or match.re.groups != 1:
        raise PairingError(f"id_pattern {id_pattern!r} does not match {name!r} with exactly one group")
    return match[1]


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
