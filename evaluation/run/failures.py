"""Which clips and references have no number: one that fails for one network has none for any metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.audio.io import AudioError
from evaluation.embedding.embed import EmbeddedSet
from evaluation.files.pairing import Clip
from evaluation.presets import Role

Sets = Mapping[Role | None, EmbeddedSet]


def refuse_duplicates(name: str, clips: Sequence[Clip]) -> None:
    """Raise ValueError for two clips of one id."""
    twice = [clip_id for clip_id, count in Counter(clip.id for clip in clips).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: {len(twice)} clip ids are given twice, first {twice[0]}; give every clip its own")


def reasons_in(found: Sets) -> dict[str, str]:
    """Name to reason of every file that failed in any role."""
    return {failure.clip_id: failure.reason for embedded in found.values() for failure in embedded.failures}


def failed_clips(
    clips: Sequence[Clip], generated: Sets, reference: Sets, files: Mapping[str, Path], paired: bool
) -> dict[str, str]:
    """Reason of every clip that failed or, in paired sets, whose reference failed or is not there."""
    of_clip = reasons_in(generated)
    of_prompt = {name: f"reference {reason}" for name, reason in reasons_in(reference).items()} if paired else {}
    if reference and paired:
        of_prompt |= {clip.prompt: f"no reference for {clip.prompt}" for clip in clips if clip.prompt not in files}
    found = {clip.id: of_clip.get(clip.id) or of_prompt.get(clip.prompt) for clip in clips}
    return {clip: reason for clip, reason in found.items() if reason is not None}


def scored_references(reference: Sets, scored: Sequence[Clip], paired: bool) -> dict[Role | None, EmbeddedSet]:
    """The references that have features in every role.

    In paired sets those of the scored clips: a clip that failed leaves both sides, or the sets would differ.

    Raises:
        AudioError: no reference is left.
    """
    failed = reasons_in(reference).keys()
    kept = {clip.prompt for clip in scored} if paired else None
    left = {
        role: found.select([c for c in found.clip_ids if c not in failed and (kept is None or c in kept)])
        for role, found in reference.items()
    }
    if empty := [found for found in left.values() if not found.clip_ids]:
        first = next((failure.reason for failure in empty[0].failures), "there is none")
        raise AudioError(f"none of the references could be scored; the first: {first}")
    return left
