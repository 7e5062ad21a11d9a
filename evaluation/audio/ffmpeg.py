"""Formats that libsndfile does not read (m4a, aac, wma, webm, ...), decoded by the ``ffmpeg`` program if it is there.

The whole first audio stream, at its own rate and channels; what ffmpeg reports as an error is one, even where it went
on and returned a shorter clip. It gets a local file and may open no address that the file names.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from evaluation.statistics.bootstrap import Array

FFMPEG = "ffmpeg"
SUFFIXES = (
    ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ac3", ".eac3", ".amr", ".ape", ".wv", ".tta", ".3gp",
    ".spx",
)  # fmt: skip
_AU_HEADER_BYTES = 24
_BLOCK_BYTES = 1 << 22
_ADDRESS = re.compile(r"^\[.* @ 0x[0-9a-f]+\] ")


class FfmpegError(Exception):
    """The program is not there, or what it said of a file, in one line."""


class Decoded(NamedTuple):
    """Samples (T, C) float32 and their rate in Hz."""

    samples: Array
    sample_rate: int


def decode(path: Path, check_length: Callable[[int, int, int], None]) -> Decoded:
    """Decode a file to its end.

    Args:
        path: the file.
        check_length: called with frames, rate and channels so far; what it raises stops the decoding.

    Raises:
        FfmpegError: no ffmpeg on the path, or an error that it reports.
    """
    program = shutil.which(FFMPEG)
    if program is None:
        raise FfmpegError(
            f"{path.suffix} is read by ffmpeg, which is not installed: install it, or convert to wav or flac"
        )
    command = [
        program, "-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0",
        "-f", "au", "-c:a", "pcm_f32be", "-",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            found = _read_au(process.stdout, check_length)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if process.returncode != 0 or said or found is None:
        reason = said[0] if said else f"exit code {process.returncode}"
        raise FfmpegError(f"ffmpeg: {_ADDRESS.sub('', reason.removeprefix(f'file:{path}: '))}")
    return found


def _read_au(stream: IO[bytes], check_length: Callable[[int, int, int], None]) -> Decoded | None:
    """Samples of an AU stream of unknown length; None where not even its header comes."""
    header = stream.read(_AU_HEADER_BYTES)
    if len(header) < _AU_HEADER_BYTES:
        return None
    start, _, _, rate, channels = struct.unpack(">5I", header[4:])
    stream.read(start - _AU_HEADER_BYTES)
    blocks, count = [], 0
    while block := stream.read(_BLOCK_BYTES):
        blocks.append(block)
        count += len(block)
        check_length(count // (4 * channels), rate, channels)
    samples = np.frombuffer(b"".join(blocks), ">f4").astype(np.float32)
    return Decoded(samples.reshape(-1, channels), rate)
