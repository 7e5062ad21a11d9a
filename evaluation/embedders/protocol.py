"""What an embedder is: waveforms in, arrays out, with a name, a rate and an identity.

Shapes: n waveforms, S samples of one waveform, F frames of one waveform, d embedding size, C classes.

Anything with these attributes works; nothing needs to be inherited or registered. An embedder from outside this
package is handed over as an object, or through a configuration with a ``_target_``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Output = Literal["frames", "embedding", "logits"]
Features = dict[str, Array]
"""Outputs of one waveform, float32: "frames" (F, d), "embedding" (d,), "logits" (C,)."""

AESTHETICS_AXES = ("CE", "CU", "PC", "PQ")
"""Columns of audiobox-aesthetics: content enjoyment and usefulness, production complexity and quality."""

HASH_LENGTH = 16


@runtime_checkable
class Embedder(Protocol):
    """A network with its front end."""

    @property
    def name(self) -> str:
        """Short name for tables and records, for example "vggish"."""

    @property
    def sample_rate(self) -> int:
        """Rate in Hz that :meth:`embed` expects."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Which keys every :data:`Features` holds."""

    @property
    def min_samples(self) -> int:
        """Shortest waveform that has a result."""

    @property
    def max_samples(self) -> int | None:
        """Longest waveform that is used whole; None where any length is. Longer ones must be cut by the caller."""

    @property
    def identity(self) -> str:
        """Hash of everything that decides the result: weights, front end, options, precision."""

    def embed(self, waveforms: Sequence[Array]) -> list[Features]:
        """Features of each (S,) float32 mono waveform, independent of what else is in the list.

        Raises:
            ValueError: a waveform is shorter than ``min_samples`` or longer than ``max_samples``.
        """


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder whose "embedding" lives in one space with captions (CLAP)."""

    def embed_text(self, captions: Sequence[str]) -> Array:
        """(n, d) embeddings of captions, float32."""


def as_text_embedder(embedder: Embedder) -> TextEmbedder:
    """The embedder itself, with its second method known. TypeError if it has no ``embed_text``."""
    if not isinstance(embedder, TextEmbedder):
        raise TypeError(f"{embedder.name} has no embed_text; the text role takes a CLAP")
    return embedder


def identity_of(*parts: object) -> str:
    """Hash of the text of ``parts``, for an embedder's identity or a cache key."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")  # a part may be a file's name
    return hashlib.sha256(text).hexdigest()[:HASH_LENGTH]


def check_waveforms(waveforms: Sequence[Array], embedder: Embedder) -> list[Array]:
    """The waveforms as contiguous float32, or a ValueError that says which one does not fit and why."""
    longest = embedder.max_samples
    for number, waveform in enumerate(waveforms):
        if waveform.ndim != 1:
            raise ValueError(f"waveform {number} has shape {waveform.shape}; {embedder.name} takes mono, shape (S,)")
        if len(waveform) < embedder.min_samples or (longest is not None and len(waveform) > longest):
            limit = f"at least {embedder.min_samples}" + ("" if longest is None else f" and at most {longest}")
            raise ValueError(
                f"waveform {number} has {len(waveform)} samples; {embedder.name} takes {limit}"
                f" at {embedder.sample_rate} Hz: pad it, or cut it into windows"
            )
    return [np.ascontiguousarray(waveform, dtype=np.float32) for waveform in waveforms]


def same_length_batches(waveforms: Sequence[Array], batch_size: int) -> list[list[int]]:
    """Indices grouped into batches of equal length, so that no waveform is padded because of its neighbours."""
    by_length: dict[int, list[int]] = {}
    for index, waveform in enumerate(waveforms):
        by_length.setdefault(len(waveform), []).append(index)
    return [
        indices[start : start + batch_size]
        for indices in by_length.values()
        for start in range(0, len(indices), batch_size)
    ]
