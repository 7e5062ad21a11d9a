"""Which generated file belongs to which reference and caption: by name, with a report, never by directory order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluation.files.captions import Captions, read_captions, texts_of
from evaluation.files.names import AUDIO_SUFFIXES, PairingError, normal, some

_WAYS_OUT = "strict=false scores the common clips, paired=false two sets whose names do not match"


@dataclass(frozen=True)
class Clip:
    """One generated clip with what it is compared to.

    Attributes:
        id: unique name of the clip.
        generated: its file.
        prompt: what several seeds of one prompt share: the id of the reference and of the caption. Also the unit that
            intervals resample.
        caption: its text or texts, if known.
    """

    id: str
    generated: Path
    prompt: str
    caption: Captions | None = None

    @property
    def captions(self) -> tuple[str, ...]:
        """Its texts: none, one or several."""
        return texts_of(self.caption)


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
        return [f"{len(ids)} {what}: {some(ids)}" for what, ids in named.items() if ids]


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
    captions: Path | Mapping[str, str | Sequence[str]] | None = None,
    *,
    id_pattern: str | None = None,
    strict: bool = True,
    paired: bool = True,
    several_captions: bool = False,
) -> Pairing:
    """Match two folders, and captions, by file name without its ending.

    Args:
        reference: folder of reference audio, or None where no metric needs one.
        generated: folder of generated audio.
        captions: a file (see ``evaluation.files.captions``), or id to caption; None where no metric needs them.
        id_pattern: regular expression with one group that takes the prompt's id out of a generated file's name, such
            as ``(.*)_[0-9]+`` for "<prompt>_<seed>"; None where the names are equal.
        strict: raise on any mismatch; otherwise keep what matches and report the rest.
        paired: False keeps every reference, whatever it is called: a background set.
        several_captions: whether a clip may have more than one caption.

    Raises:
        FileNotFoundError: a folder or the captions file does not exist.
        PairingError: a mismatch (``strict``), duplicates that make a pair ambiguous, an empty caption, or no clip left.
    """
    generated_files, twice, other = list_audio(generated)
    references, twice_reference, other_reference = _list_references(reference, paired)
    clips = [Clip(name, path, _prompt_of(name, id_pattern)) for name, path in generated_files.items()]
    prompts = {clip.prompt for clip in clips}
    texts = _captions(captions, prompts, several_captions)
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
        raise PairingError(f"{generated}: {'; '.join(report.problems())} ({_WAYS_OUT})")
    unmatched = {
        **dict.fromkeys(report.missing_caption, "no caption"),
        **dict.fromkeys(report.missing_reference, "no reference"),
    }
    matching = [clip for clip in clips if clip.prompt not in unmatched]
    kept = tuple(replace(clip, caption=None if texts is None else texts[clip.prompt]) for clip in matching)
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
    belonging = {name: path for name, path in references.items() if name in used or not paired}
    return Pairing(kept, belonging, report, left_out, frozenset({*wanted, *prompts, *doubled}), paired)


def _captions(
    captions: Path | Mapping[str, str | Sequence[str]] | None, wanted: Collection[str], several: bool
) -> dict[str, Captions] | None:
    """Captions by id out of a file or a mapping, checked alike."""
    if captions is None or isinstance(captions, Path):
        return None if captions is None else read_captions(captions, wanted, several=several)
    found: dict[str, Captions] = {}
    for name, value in captions.items():
        if value is not None and not isinstance(value, str | Sequence):
            raise PairingError(f"captions: {name!r} has {value!r}; give text, or several texts")
        texts = (value,) if isinstance(value, str) else tuple(value or ())
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise PairingError(f"captions: {name!r} empty; give each id one caption")
        if len(texts) > 1 and not several:
            raise PairingError(
                f"captions: {name!r} has {len(texts)}; say which counts: several_captions=max, mean or first"
            )
        found[normal(str(name))] = texts[0] if len(texts) == 1 else texts
    return found


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
    found = f" but {some(other)}" if other else ""
    return f"it holds no audio{found}; endings that are read: {' '.join(AUDIO_SUFFIXES)}"


def common_clips(first: Pairing, second: Pairing) -> tuple[Pairing, Pairing]:
    """Both pairings with the clips that both have and their references; the reports name the others.

    Raises:
        PairingError: no clip in common.
    """
    ids = [{clip.id for clip in pairing.clips} for pairing in (first, second)]
    shared = ids[0] & ids[1]
    if not shared:
        raise PairingError(f"the folder and its baseline have no clip in common: {some(sorted(ids[0] | ids[1]))}")
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
        by_name.setdefault(normal(path.stem), []).append(path)
    twice = [name for name, paths in by_name.items() if len(paths) > 1]
    return {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}, twice, other


def _audio_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files with an audio ending, sorted, and the names of the others and of folders, except hidden ones."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of audio")
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    audio = [path for path in entries if path.suffix.lower() in AUDIO_SUFFIXES and not path.is_dir()]
    taken = set(audio)
    return audio, [f"{p.name}/" if p.is_dir() else p.name for p in entries if p not in taken]


def _prompt_of(name: str, id_pattern: str | None) -> str:
    if id_pattern is None:
        return name
    try:
        match = re.fullmatch(id_pattern, name)
    except re.error as error:
        raise PairingError(f"id_pattern {id_pattern!r} is no regular expression ({error})") from error
    if match is None or match.re.groups != 1 or match[1] is None:
        raise PairingError(f"id_pattern {id_pattern!r} does not match {name!r} with exactly one group")
    return match[1]
