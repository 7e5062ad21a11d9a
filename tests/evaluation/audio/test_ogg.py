"""Pages of an ogg, each of which counts: libsndfile reads on, or stops, without a word."""

import io
import re

import numpy as np
import pytest
import soundfile

from evaluation.audio.io import TruncatedAudioError, load_audio
from evaluation.audio.ogg import ogg_fault

RATE, SECONDS = 16000, 8


def pages_of(seed, coding="VORBIS"):
    """The pages of eight seconds of noise."""
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(RATE * SECONDS)
    soundfile.write(buffer, noise, RATE, coding, format="OGG")
    content = buffer.getvalue()
    starts = [found.start() for found in re.finditer(b"OggS", content)]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def serial_of(page):
    return page[14:18]


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_a_page_that_is_gone_or_no_page_any_more_is_an_error(tmp_path, coding):
    pages, path = pages_of(0, coding), tmp_path / "clip.ogg"
    assert len(pages) > 6
    path.write_bytes(b"".join(pages))
    assert load_audio(path).samples.shape == (1, RATE * SECONDS)
    path.write_bytes(b"".join([*pages[:4], *pages[5:]]))
    at = sum(map(len, pages[:4]))
    with pytest.raises(TruncatedAudioError, match=rf"clip\.ogg: ogg pages before byte {at} are missing"):
        load_audio(path)
    for damaged in ([pages[4][:-300], bytes(200), pages[4][-100:], *pages[5:]], [pages[4][:-300]]):
        path.write_bytes(b"".join([*pages[:4], *damaged]))
        with pytest.raises(TruncatedAudioError, match=rf"the ogg page at byte {at} is damaged or cut"):
            load_audio(path)
    path.write_bytes(b"".join([*pages[:4], bytes(len(pages[4])), *pages[5:]]))
    with pytest.raises(TruncatedAudioError, match=rf"no ogg page at byte {at}, but further on"):
        load_audio(path)


def test_last_pages_that_are_gone_do_not_show(tmp_path):
    pages, path = pages_of(0), tmp_path / "clip.ogg"
    path.write_bytes(b"".join(pages[:-2]))
    assert ogg_fault(path) is None
    assert 0 < load_audio(path).samples.shape[1] < RATE * SECONDS


def test_streams_side_by_side_are_no_streams_in_a_row(tmp_path):
    one, other = pages_of(0), pages_of(1)
    assert serial_of(one[0]) != serial_of(other[0])
    path = tmp_path / "clip.ogg"
    path.write_bytes(b"".join([one[0], other[0], *one[1:], *other[1:]]))
    assert ogg_fault(path) is None
    path.write_bytes(b"".join([*one, *other]))
    assert ogg_fault(path).startswith(f"another ogg stream begins at byte {sum(map(len, one))}")
    path.write_bytes(b"RIFF")
    assert ogg_fault(path) is None
