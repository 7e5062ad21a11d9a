"""Embeddings on disk, keyed by content.

A key is a hash over the bytes of the audio file, the embedder's identity and the preprocessing. File names, folders
and dates play no part in it: a renamed file is found again, a changed sample, another checkpoint or another window
is not. Entries are float32 npz files without pickles, written under a temporary name and then renamed.
"""

from __future__ import annotations

import logging
import threading
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.embedders.protocol import Array, Features, identity_of
from evaluation.files.whole import whole_file

logger = logging.getLogger(__name__)

FORMAT = 1
SAMPLES = "samples"
"""Beside a network's outputs: (W,), the length of each window."""

_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile make of a damaged file; a byte may call for a password or an unknown compression."""


class KeptEmbeddings:
    """The embeddings behind a study's scores, in one file: they are computed again from it without the audio.

    What a network gives is rounded to half precision before it is scored, so that the file holds all that a score saw.

    Args:
        contents: audio file -> sha256 of what it held; a file that is gone is looked up by it.
        entries: what is known already, by the keys of :class:`EmbeddingCache`.

    Threads may share one: files are looked up in several.
    """

    def __init__(self, contents: Mapping[Path, str], entries: Mapping[str, Features] | None = None) -> None:
        self.contents = contents
        self.entries: dict[str, Features] = dict(entries or {})

    @classmethod
    def read(cls, path: Path, contents: Mapping[Path, str]) -> KeptEmbeddings:
        """What :meth:`write` wrote. ValueError, naming the file, for anything else."""
        entries: dict[str, Features] = {}
        try:
            with np.load(path, allow_pickle=False) as archive:
                for group in sorted({member.rpartition("/")[0] for member in archive.files}):
                    name = group.partition("/")[0]
                    for key, array in zip(*_ungrouped(archive, group), strict=True):
                        entries.setdefault(key, {})[name] = array
        except _DAMAGE as error:
            raise ValueError(f"{path}: no file of embeddings ({' '.join(str(error).split())})") from None
        return cls(contents, entries)

    def add(self, key: str, features: Features) -> Features:
        """Keep what another place gave; returns it as it is kept.

        Raises:
            ValueError: a number beyond what half precision holds.
        """
        return self.entries.setdefault(key, {name: _rounded(name, array) for name, array in features.items()})

    def write(self, path: Path) -> int:
        """Write all entries, compressed, whole or not at all; the same entries give the same bytes.

        Returns:
            How many entries.
        """
        groups: dict[str, dict[str, Array]] = {}
        for key, features in sorted(self.entries.items()):
            for name, array in features.items():
                # One group per kind of array: tens of thousands of small members would take more room than the numbers.
                groups.setdefault("/".join([name, *map(str, array.shape[1:])]), {})[key] = array
        members: dict[str, Array] = {}
        for group, arrays in sorted(groups.items()):
            members[f"{group}/keys"] = np.array(list(arrays))
            members[f"{group}/rows"] = np.array([len(array) for array in arrays.values()])
            members[f"{group}/values"] = _stored(group.partition("/")[0], np.concatenate(list(arrays.values())))
        with whole_file(path) as file:
            np.savez_compressed(file, **members)  # type: ignore[arg-type]  # its stub takes names as options
        return len(self.entries)


def _stored(name: str, array: Array) -> Array:
    """Networks' outputs in half precision; lengths of windows as they are."""
    if name == SAMPLES:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if np.isfinite(half).all():
        return half
    raise ValueError(
        f"{name} holds {np.abs(array).max():g}; embeddings are kept in half precision, up to 65504: set "
        "metrics.keep_embeddings=false"
    )


def _rounded(name: str, array: Array) -> Array:
    return _stored(name, array).astype(np.float32)


def _ungrouped(archive: Mapping[str, Array], group: str) -> tuple[list[str], list[Array]]:
    """Keys and arrays of one group of a file; ValueError where they do not fit each other."""
    keys, rows, values = (archive[f"{group}/{member}"] for member in ("keys", "rows", "values"))
    if keys.dtype.kind != "U" or rows.dtype.kind != "i" or values.dtype.kind != "f" or not values.ndim:
        raise ValueError(f"{group} holds {keys.dtype}, {rows.dtype} and {values.dtype}")
    if keys.shape != rows.shape or (rows < 1).any() or rows.sum() != len(values):
        raise ValueError(f"{group} has {len(values)} rows for {keys.size} keys")
    return keys.tolist(), np.split(values.astype(np.float32), np.cumsum(rows)[:-1])


def _check_rows(features: Features, needed: Collection[str]) -> None:
    """ValueError for an entry that lost an array, or rows of one."""
    if lost := sorted(set(needed) - features.keys()):
        raise ValueError(f"it lacks {lost[0]}")
    rows = {name: len(array) if array.ndim else 0 for name, array in features.items()}
    if not rows or 0 in rows.values() or len(set(rows.values())) > 1:
        raise ValueError(f"its arrays have rows {rows}")


class EmbeddingCache:
    """A folder of embeddings.

    Args:
        folder: created on the first write; None turns the cache off (every look-up misses, nothing is written).
        kept: embeddings that travel with a study: looked up before the folder, and told of all that is found or made.
    """

    def __init__(self, folder: Path | None, kept: KeptEmbeddings | None = None) -> None:
        self.folder = folder
        self.kept = kept
        self.hits = 0
        self.misses = 0
        self._counting = threading.Lock()

    def key(self, content: str, identity: str, preprocessing: str) -> str:
        """Name of an entry: content hash (of a file or a caption), embedder identity, preprocessing."""
        return identity_of(FORMAT, content, identity, preprocessing)

    def holds(self, key: str) -> bool:
        """Whether there is an entry to look at; it is neither read nor counted."""
        path = self._path(key)
        return (self.kept is not None and key in self.kept.entries) or (path is not None and path.exists())

    def get(self, key: str, needed: Collection[str] = ()) -> Features | None:
        """The arrays stored under ``key``, or None.

        An entry that cannot be read, lacks one of the ``needed`` arrays, or whose arrays are empty or of unequal length
        is reported and counts as absent.
        """
        if self.kept is not None and key in self.kept.entries:
            self._count(hit=True)
            return dict(self.kept.entries[key])
        path = self._path(key)
        if path is None or not path.exists():
            self._count(hit=False)
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                features = {name: archive[name] for name in archive.files}
            _check_rows(features, needed)
        except _DAMAGE as error:
            logger.warning("%s cannot be read (%s): the clip is embedded again", path, error)
            self._count(hit=False)
            return None
        self._count(hit=True)
        return features if self.kept is None else dict(self.kept.add(key, features))

    def content_of(self, path: Path) -> str | None:
        """sha256 of what an audio file held that is gone, where it is known; None otherwise."""
        return None if self.kept is None else self.kept.contents.get(path)

    def _count(self, hit: bool) -> None:
        with self._counting:  # Files are looked up in several threads.
            self.hits += hit
            self.misses += not hit

    def put(self, key: str, features: Features) -> Features:
        """Store arrays as float32. A reader sees the whole entry or none. OSError names the folder (a full disk).

        Returns:
            What `get` will give, so that a cold run equals a warm one.
        """
        arrays: dict[str, Any] = {name: np.asarray(array, np.float32) for name, array in features.items()}
        found = arrays if self.kept is None else dict(self.kept.add(key, arrays))
        path = self._path(key)
        if path is None:
            return found
        try:
            with whole_file(path, shared=True) as file:
                np.savez(file, **arrays)
        except OSError as error:
            raise OSError(
                f"{path}: {error.strerror or error} while writing an embedding; free some space or set cache_dir to"
                f" another folder than {self.folder}"
            ) from error
        return found

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / key[:2] / f"{key}.npz"
