"""What the header of a file says of its length, where libsndfile shortens or guesses without a word."""

from __future__ import annotations

import os
import re
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZE = 0xFFFFFFFF
_MP3_FRAME_BYTES = 1441
"""The longest first frame: 320 kbit/s at 32 kHz, with its header and padding, holds its tag well before its end."""

_INFO_FRAME = re.compile(rb"\xff[\xe2-\xff][\s\S]{2,4}\0{9,36}(?:Xing|Info|VBRI)")
"""A frame's header, with or without a checksum, and its side information, which an info frame leaves at zero."""


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


def mp3_info_frames(path: Path) -> int:
    """How many info frames a file has: each begins an mp3 of its own, and names that one's length alone."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return sum(1 for _ in _INFO_FRAME.finditer(content))


def data_chunk(file: BinaryIO) -> tuple[int, int] | None:
    """Start and declared length in bytes of the samples of a wav, aiff, au or w64.

    None for another format, and for a stream whose writer did not know its length.
    """
    for find in (_wav_data, _aiff_data, _au_data, _w64_data):
        file.seek(0)
        if (found := find(file)) is not None:
            return found
    return None


def _aiff_data(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(12)
    if head[:4] != b"FORM" or head[8:] not in (b"AIFF", b"AIFC"):
        return None
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack(">4sI", header)
        if name == b"SSND":
            # The chunk begins with the offset of the samples and the size of a block.
            return file.tell(), length
        file.seek(length + length % 2, os.SEEK_CUR)
    return None


def _au_data(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b".snd", b"dns."):
        return None
    start, length = struct.unpack(">2I" if head[:4] == b".snd" else "<2I", head[4:])
    return None if length in (0, _UNKNOWN_SIZE) else (start, length)


def _w64_data(file: BinaryIO) -> tuple[int, int] | None:
    """A w64 is a wav whose names have 16 bytes and whose sizes have eight and count their own header."""
    head = file.read(40)
    if head[:4] != b"riff" or head[24:28] != b"wave":
        return None
    while len(header := file.read(24)) == 24:
        length = struct.unpack("<Q", header[16:])[0] - 24
        if header[:4] == b"data":
            return file.tell(), length
        if length < 0:
            return None
        file.seek(length + -length % 8, os.SEEK_CUR)
    return None


def _wav_data(file: BinaryIO) -> tuple[int, int] | None:
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
