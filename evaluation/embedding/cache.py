"""Embeddings on disk, keyed by content.

A key is a hash over the bytes of the audio file, the embedder's identity and the preprocessing. File names, folders
and dates play no part in it: a renamed file is found again, a changed sample, another checkpoint or another window
is not. Entries are float32 npz files without pickles, written under a temporary name and then renamed.
"""

from __future__ import annotations

import logging
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.embedders.protocol import Features, identity_of
from evaluation.files.whole import whole_file

logger = logging.getLogger(__name__)

FORMAT = 1


class EmbeddingCache:
    """A folder of embeddings.

    Args:
        folder: created on the first write; None turns the cache off (every look-up misses, nothing is written).
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.hits = 0
        self.misses = 0
        self._counting = threading.Lock()

    def key(self, content: str, identity: str, preprocessing: str) -> str:
        """Name of an entry: content hash (of a file or a caption), embedder identity, preprocessing."""
        return identity_of(FORMAT, content, identity, preprocessing)

    def get(self, key: str) -> Features | None:
        """The arrays stored under ``key``, or None. An entry that cannot be read is reported and counts as absent."""
        path = self._path(key)
        if path is None or not path.exists():
            self._count(hit=False)
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                features = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read (%s): the clip is embedded again", path, error)
            self._count(hit=False)
            return None
        self._count(hit=True)
        return features

    def _count(self, hit: bool) -> None:
        with self._counting:  # Files are looked up in several threads.
            self.hits += hit
            self.misses += not hit

    def put(self, key: str, features: Features) -> None:
        """Store arrays as float32. A reader sees the whole entry or none. OSError names the folder (a full disk)."""
        path = self._path(key)
        if path is None:
            return
        arrays: dict[str, Any] = {name: np.asarray(array, np.float32) for name, array in features.items()}
        try:
            with whole_file(path, shared=True) as file:
                np.savez(file, **arrays)
        except OSError as error:
            raise OSError(
                f"{path}: {error.strerror or error} while writing an embedding; free some space or set cache_dir to"
                f" another folder than {self.folder}"
            ) from error

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / key[:2] / f"{key}.npz"
