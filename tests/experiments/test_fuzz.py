"""Readers under hostile bytes: a value or the reader's own error, never another exception, never a hang.

What the first runs found is kept below as examples.
"""

# ruff: noqa: PT017 (here an error is one of two allowed outcomes)
import io
import json

import numpy as np
import pytest
import soundfile
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evaluation.audio.io import AudioError, load_audio
from evaluation.files.pairing import PairingError, read_captions
from experiments.datasets.prompts import load_captions
from experiments.matrix.conditions import validate
from experiments.records import RECORDS_FILE, FailureRecord, RecordError, append_record, parse_record, read_records
from experiments.system.cli import check_overrides

bounded = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(max_size=40)
CSV_PIECES = st.lists(
    st.sampled_from(["id", "caption", ",", '"', "\n", "\r\n", "\r", "a", " ", "\u2028", "\0", "\x0c"])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FAILURE = {
    "schema": 1, "kind": "failure", "run_id": "r", "stage": "generate", "condition": "c", "method": "m",
    "duration_s": 1.0, "reason": "x", "prompt_id": "p", "seed": 0,
}  # fmt: skip
CLIP = {
    "schema": 1, "kind": "clip", "run_id": "r", "condition": "c", "method": "m", "duration_s": 1.0, "steps": 2,
    "guidance": 3.5, "prompt_id": "p", "caption": "Rain", "seed": 0, "audio": "audio/c/p_0.wav", "sha256": "0" * 64,
    "sample_rate": 16000, "samples": 16000, "latency_s": 1.0, "step_s": 0.1, "decode_s": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".txt"])
@bounded
@given(content=st.binary(max_size=200) | CSV_PIECES.map(lambda pieces: "".join(pieces).encode()))
@example(content=b'"caption')
@example(content=b'"id","caption"\n"a')
@example(content="id,caption\n1,rain\u2028falls\n".encode())
@example(content=b'{"caption": ["rain"]}')
def test_caption_files(tmp_path, suffix, content):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(content)
    try:
        prompts = load_captions(str(path))
    except ValueError:
        return
    else:
        assert len({prompt.id for prompt in prompts}) == len(prompts) >= 1
        assert all(prompt.text.strip() == prompt.text != "" for prompt in prompts)


def test_ids_of_one_character_that_are_equal_are_refused(tmp_path):
    """Found by the fuzzer: ids were compared by identity, and Python keeps one object for every such text."""
    path = tmp_path / "p.txt"
    path.write_text("0\n0\n")
    with pytest.raises(ValueError, match=r"line 1 \('0'\) and line 2 \('0'\) have the same id"):
        load_captions(str(path))


def test_a_line_separator_inside_a_csv_field_does_not_make_two_rows(tmp_path):
    """Found by the fuzzer: str.splitlines broke a field in two, and the error blamed another row."""
    path = tmp_path / "p.csv"
    path.write_text('id,caption\n1,"rain\u2028falls"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"p.csv, line 2: the caption holds a control character"):
        load_captions(str(path))


def test_a_quoted_line_break_is_named_as_what_it_is(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('id,caption\n1,"rain\nfalls"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"p.csv, line 3: the caption holds a control character"):
        load_captions(str(path))


@bounded
@given(content=st.binary(max_size=200) | CSV_PIECES.map(lambda pieces: "".join(pieces).encode()))
@example(content=b"id,caption\n" + b"a" * 200_000 + b",x\n")
@example(content=b"\xff\xfe")
def test_caption_files_of_the_evaluation(tmp_path, content):
    path = tmp_path / "captions.csv"
    path.write_bytes(content)
    try:
        captions = read_captions(path)
    except PairingError as error:
        assert str(path) in str(error)
    else:
        assert all(name and text for name, text in captions.items())


@bounded
@given(content=st.binary(max_size=200) | JSON.map(lambda data: json.dumps(data).encode() + b"\n"))
@example(content=b"[" * 100_000 + b"\n")
@example(content=b'{"schema": ' + b"1" * 5000 + b"}\n")
@example(content=b'{"schema": 1, "kind": []}\n')
def test_record_files(tmp_path, content):
    (tmp_path / RECORDS_FILE).write_bytes(content)
    try:
        assert read_records(tmp_path) == []
    except RecordError as error:
        assert f"{RECORDS_FILE}:1: " in str(error)
        assert "\n" not in str(error)


@bounded
@given(good=st.sampled_from([FAILURE, CLIP]), data=st.data())
def test_records_with_one_wrong_value(tmp_path, good, data):
    """Whatever replaces a value, the record is refused or can be written and read again as it is."""
    key = data.draw(st.sampled_from(sorted(good)))
    try:
        record = parse_record({**good, key: data.draw(JSON)})
    except RecordError:
        return
    folder = tmp_path / "again"
    folder.mkdir(exist_ok=True)
    (folder / RECORDS_FILE).unlink(missing_ok=True)
    append_record(folder, record)
    (again,) = read_records(folder)
    assert repr(again) == repr(record)


@pytest.mark.parametrize(
    "audio",
    ["../../etc/passwd", "/etc/passwd", "audio/../../x.wav", "", ".", "a\0.wav", "a\n.wav", "..\\x.wav", "a\ud800.wav"],
)
def test_a_record_cannot_point_out_of_its_folder(audio):
    with pytest.raises(RecordError, match="audio is"):
        parse_record({**CLIP, "audio": audio})


@pytest.mark.parametrize("field", ["condition", "method", "prompt_id", "run_id"])
@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\0", "a\n", "..", "\u202ex", "x" * 300, " "])
def test_a_record_cannot_name_a_file_of_its_own_choice(field, name):
    with pytest.raises(RecordError, match=rf"{field} is .* in a clip record, which is no safe name"):
        parse_record({**CLIP, field: name})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration_s": "1"}, "duration_s is '1' in a clip record, accepted is a valid number"),
        ({"seed": 1.5}, "seed is 1.5 in a clip record, accepted is a valid integer"),
        ({"seed": True}, "seed is True in a clip record, accepted is a valid integer"),
        ({"caption": None}, "caption is None in a clip record, accepted is a valid string"),
    ],
)
def test_a_value_of_another_type_is_named(change, message):
    with pytest.raises(RecordError, match=message):
        parse_record({**CLIP, **change}, "records.jsonl:1")


def wav(samples=800):
    out = io.BytesIO()
    soundfile.write(out, np.linspace(-0.5, 0.5, samples), 16000, subtype="PCM_16", format="WAV")
    return out.getvalue()


WAV = wav()


@bounded
@given(
    position=st.integers(0, 60),
    change=st.binary(min_size=1, max_size=8),
    kept=st.integers(0, len(WAV)) | st.just(len(WAV)),
)
def test_wav_headers(tmp_path, position, change, kept):
    """Bytes of the header overwritten, the file cut: samples as declared, or an AudioError that names the file."""
    path = tmp_path / "a.wav"
    path.write_bytes((WAV[:position] + change + WAV[position + len(change) :])[:kept])
    try:
        audio = load_audio(path)
    except AudioError as error:
        assert str(error).startswith(str(path))
    else:
        assert np.isfinite(audio.samples).all()
        assert audio.samples.size > 0


@bounded
@given(st.binary(max_size=120), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVEds64", b"fLaC"]))
@example(b"\x1c\0\0\0\1\2\3", b"RF64\xff\xff\xff\xffWAVEds64")
@example(b"\0\0\0\0" + bytes(16) + b"ds64" + bytes(20), b"RF64\xff\xff\xff\xffWAVEds64")
def test_files_that_only_begin_like_audio(tmp_path, rest, start):
    path = tmp_path / "a.wav"
    path.write_bytes(start + rest)
    with pytest.raises(AudioError):
        load_audio(path)


def test_a_flac_that_declares_more_than_memory_holds(tmp_path):
    """Found by the fuzzer: the declared 2^36 - 1 samples were allocated before anything was read."""
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(1600), 16000)
    content = bytearray(path.read_bytes())
    # STREAMINFO's 36-bit count ends 26 bytes into the file: 4 of magic, 4 of block header, 18 into the block.
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(AudioError):
        load_audio(path)


OVERRIDES = st.lists(st.sampled_from(list("abc=+~@.:,[]{}()'\"\\$ \n\t0é🐕\0")), max_size=20).map("".join)


@settings(bounded, max_examples=60)
@given(
    st.sampled_from(["", "durations=", "+sweep=", "pipeline=", "~", "methods.", "seeds=", "name="]).flatmap(
        lambda start: OVERRIDES.map(lambda rest: start + rest)
    )
)
@example("durations=[" + "[" * 2000)
@example("hydra.mode=MULTIRUN")
def test_config_overrides(capsys, override):
    if override.startswith("-"):
        return
    try:
        check_overrides([override], "config")
    except SystemExit as stop:
        assert stop.code == 2
        assert capsys.readouterr().err.startswith("error: ")
    except (HydraException, OmegaConfBaseException):
        raise AssertionError(f"{override!r} reached the user as a traceback") from None


GOOD = {
    "pipeline": {"_target_": "x", "name": "x", "trained": True, "training_length_s": 10, "max_duration_s": 640},
    "durations": [1.0], "steps": 2, "guidance": 3.5, "seeds": [0],
    "stages": ["generate"], "batch_size": 1, "decode_in_chunks": None,
    "methods": {"dense": {"name": "dense"}},
    "timing": {"rounds": 1, "starts": 1, "warmup": 0, "baseline": "dense", "arms": {}},
}  # fmt: skip


@bounded
@given(st.sampled_from(["durations", "steps", "guidance", "seeds", "stages", "batch_size"]), JSON)
@example("durations", 5)
@example("seeds", 3)
@example("guidance", None)
@example("steps", True)
@example("stages", 7)
@example("seeds", [True])
def test_plain_numbers_of_a_run(key, value):
    """A value of any shape is accepted as what it says, or refused with the key's name."""
    try:
        config = OmegaConf.create({**GOOD, key: value})
    except (OmegaConfBaseException, ValueError):
        return
    try:
        validate(config)
    except ValueError as error:
        assert key.rstrip("s") in str(error)
    else:
        assert value is not True
        assert value != [True]


def test_failures_of_other_runs_are_no_clips():
    assert isinstance(parse_record(FAILURE), FailureRecord)
