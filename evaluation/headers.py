"""What the header of a wav or an mp3 says of its length, where libsndfile shortens or guesses without a word."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZE = 0xFFFFFFFF
_MP3_FRAME_BYTES = 1441
"""The longest first frame: 320 kbit/s at 32 kHz, with its header and padding, holds its tag well before its end."""


def mp3_names_its_length(path: Path) -> bool:
    """Whether the first frame is an info frame (Xing's, LAME's or Fraunhofer's); else libsndfile estimates a length."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            # Four bytes of seven bits each, after which the first frame stands.
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first = file.read(_MP3_FRAME_BYTES)
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


def wav_data_chunk(file: BinaryIO) -> tuple[int, int] | None:
    """Start and declared length in bytes of the samples; None if not a wav, or a stream of unknown length."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    long_size = _UNKNOWN_SIZE
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", header)
        if name == b"data":
            length = long_size if length == _UNKNOWN_SIZE else length
            return None if length == _UNKNOWN_SIZE else (file.tell(), length)
        if name == b"ds64":
            sizes = file.read(16)
            if len(sizes) < 16 or length < 16:
                return None
            long_size = struct.unpack("<Q", sizes[8:])[0]
            length -= 16
        file.seek(length + length % 2, os.SEEK_CUR)
    return None
