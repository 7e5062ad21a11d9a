"""Whether an ogg is whole: libsndfile passes over damaged pages, and what stands behind a stream, without a word."""

from __future__ import annotations

import struct
import zlib
from mmap import ACCESS_READ, mmap
from pathlib import Path

_CAPTURE = b"OggS"
_PAGE = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, flags, position, serial number, page number, checksum, number of segments (RFC 3533)."""
_CHECKSUM_AT = 22
_FIRST_OF_STREAM = 2
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ZEROS = 0xFFFFFFFF
"""zlib turns all bits of what it starts from and of what it gives; ogg's checksum starts from zeros."""


def ogg_fault(path: Path) -> str | None:
    """Why only a part of an ogg would be read; None if all of it is, or it is no ogg.

    Last pages that are missing whole do not show: no page says how many there are.
    """
    with path.open("rb") as file:
        if file.read(len(_CAPTURE)) != _CAPTURE:
            return None
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return _fault(content)


def _fault(content: mmap) -> str | None:
    start = 0
    last: dict[int, int] = {}
    heads_over = False
    while content[start : start + len(_CAPTURE)] == _CAPTURE:
        page = _page(content, start)
        if page is None:
            return f"the ogg page at byte {start} is damaged or cut: write the file anew"
        _, _, flags, _, serial, number, _, _ = _PAGE.unpack_from(page)
        if flags & _FIRST_OF_STREAM and heads_over:
            return (
                f"another ogg stream begins at byte {start}, the first alone would be read: make one wav or flac of it"
            )
        if not flags & _FIRST_OF_STREAM:
            heads_over = True
            if number != last.get(serial, number - 1) + 1:
                return f"ogg pages before byte {start} are missing: write the file anew"
        last[serial] = number
        start += len(page)
    # Behind the last page a tag may stand, but no page.
    return (
        None
        if content.find(_CAPTURE, start) < 0
        else f"no ogg page at byte {start}, but further on: write the file anew"
    )


def _page(content: mmap, start: int) -> bytes | None:
    """The page that begins there; None if it is cut or its checksum is another."""
    lacing = start + _PAGE.size
    if lacing > len(content):
        return None
    audio = lacing + content[lacing - 1]
    end = audio + sum(content[lacing:audio])
    page = content[start:end]
    if len(page) < end - start:
        return None
    unsummed = page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :]
    # Ogg's CRC is zlib's with the bits of every byte, and of the sum, in the other order.
    mirrored = zlib.crc32(unsummed.translate(_REVERSED), _ZEROS) ^ _ZEROS
    found = int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")
    return page if found == int.from_bytes(page[_CHECKSUM_AT : _CHECKSUM_AT + 4], "little") else None
