"""Captions from every layout that data sets come in, and what several captions of a clip count for."""

import json
import unicodedata

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.files.captions import read_captions
from evaluation.files.names import some
from evaluation.files.pairing import PairingError, pair_folders
from evaluation.metrics.clap_score import clap_per_clip, over_captions

AUDIOCAPS = "audiocap_id,youtube_id,start_time,caption\n" + "".join(
    f'{10 * clip + row},clip{clip},30,"sound {clip}, told {row}"\n' for clip in range(2) for row in range(5)
)
FIVE = {f"clip{clip}": tuple(f"sound {clip}, told {row}" for row in range(5)) for clip in range(2)}
CLOTHO = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n" + "".join(
    f"clip{clip}.wav," + ",".join(f'"sound {clip}, told {row}"' for row in range(5)) + "\n" for clip in range(2)
)
MUSICCAPS = (
    "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n"
    '-0Gj8-vB1q4,30,40,"/m/0140xf,/m/02cjck","[\'low quality\', \'ballad\']","A slow, sad song.",4,False,True\n'
)
OBJECTS = [{"file_name": "sounds/clip0.wav", "text": 'rain, "loud"'}, {"file_name": "clip1.flac", "text": "wind"}]


def write(tmp_path, name, text, encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


@pytest.mark.parametrize(("name", "text"), [("audiocaps.csv", AUDIOCAPS), ("clotho.csv", CLOTHO)])
def test_five_captions_a_clip_are_five_only_where_that_is_said(tmp_path, name, text):
    path = write(tmp_path, name, text)
    assert read_captions(path, {"clip0", "clip1"}, several=True) == FIVE
    with pytest.raises(PairingError, match=r"id 'clip0' twice.*several_captions=max, mean or first"):
        read_captions(path, {"clip0", "clip1"})


def test_musiccaps_tsv_jsonl_json_and_capitals(tmp_path):
    assert read_captions(write(tmp_path, "m.csv", MUSICCAPS)) == {"-0Gj8-vB1q4": "A slow, sad song."}
    lines = "\n".join(map(json.dumps, OBJECTS))
    expected = {"clip0": 'rain, "loud"', "clip1": "wind"}
    assert read_captions(write(tmp_path, "a.jsonl", lines + "\n\n")) == expected
    assert read_captions(write(tmp_path, "a.json", json.dumps(OBJECTS))) == expected
    assert read_captions(write(tmp_path, "a.tsv", "ID\tCaption \na\ta dog, barking\n")) == {"a": "a dog, barking"}
    assert read_captions(write(tmp_path, "b.json", json.dumps({"a": "x", "b": "y"}))) == {"a": "x", "b": "y"}
    paths = "file,caption\nD:\\x\\a.wav,x\n/y/b.c.flac,y\nsub/c,z\n,\n , \n"
    assert read_captions(write(tmp_path, "p.csv", paths)) == {"a": "x", "b.c": "y", "sub/c": "z"}
    several = json.dumps({"id": "a", "captions": ["one", "two"]})
    assert read_captions(write(tmp_path, "b.jsonl", several), several=True) == {"a": ("one", "two")}


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", AUDIOCAPS), ("a.tsv", "id\tcaption\né\tx\n"), ("a.jsonl", '{"id": "é", "text": "x"}\n')],
)
def test_line_ends_and_byte_order_marks_play_no_part(tmp_path, name, text, line_end, bom):
    plain = read_captions(write(tmp_path, name, text), {"clip0"}, several=True)
    assert read_captions(write(tmp_path, name, bom + text.replace("\n", line_end)), {"clip0"}, several=True) == plain


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "id\tcaption\na\train\tloud\n", r"a\.tsv:2: 3 fields where the header has 2"),
        ("a.csv", 'id,caption\na,rain\nb,"open\nc,wind\n', r"a\.csv:\d: not a csv in UTF-8 \(unexpected end of data"),
        ("a.csv", "id,caption\n", r"a\.csv: holds no caption"),
        ("a.csv", "id;caption\na;rain\n", r"columns are \['id;caption'\]; one of id, file,"),
        ("a.csv", "file_name,caption_1,caption_2\na.wav,rain,\n", r":2: 'a' empty"),
        ("a.jsonl", '{"id": "a", "caption": "x"}\n["b"]\n', r"a\.jsonl:2: no json object"),
        ("a.jsonl", '{"id": "a", "caption": "x"}\n{"id": \n', r"a\.jsonl:2: no json \("),
        ("a.jsonl", '{"id": "a", "caption": 3}\n', r"a\.jsonl:1: 'a' empty"),
        ("a.jsonl", '{"id": "a"}\n', r"columns are \['id'\]; one of caption, text, prompt is needed"),
        ("a.json", '"x"', r"a\.json: holds a str; accepted are a list of objects and id to text"),
        ("a.json", '{"a": 3}', r"a\.json, entry 1: 'a' empty"),
        ("a.csv", "id,caption\na,x\0\n", r"a\.csv:2: the caption of 'a' holds a NUL"),
        ("a.json", "[" * 100_000, r"a\.json: no json"),
        ("a.json", '{"a": "one", "a": "two"}', r"a\.json: 'a' stands twice"),
        (
            "a.jsonl",
            '{"id": "a", "caption": "x"}\n{"id": "b", "caption": "x", "caption": "y"}',
            r":2: 'caption' stands twice",
        ),
        ("a.jsonl", '{"id": "a", "caption": "x", "Caption": "y"}', r"a\.jsonl:1: 'caption' stands twice"),
        ("a.csv", "id,caption,caption\na,x,y\n", r"a\.csv: 'caption' stands twice"),
        ("a.csv", "id,Caption,caption\na,x,y\n", r"a\.csv: 'caption' stands twice"),
        ("a.tsv", "id\tID \tcaption\na\tb\ty\n", r"a\.tsv: 'id' stands twice"),
        (
            "a.jsonl",
            '{"id": "a", "caption": "x \\ud800"}',
            r"a\.jsonl:1: the caption of 'a' holds a NUL character or half",
        ),
    ],
)
def test_what_cannot_be_taken_whole_is_refused_with_its_line(tmp_path, name, text, message):
    with pytest.raises(PairingError, match=message):
        read_captions(write(tmp_path, name, text))


def test_columns_without_a_name_may_stand_several_times_and_an_id_may_be_zero(tmp_path):
    assert read_captions(write(tmp_path, "a.csv", "id,caption,,\na,x,,\n")) == {"a": "x"}
    lines = '{"id": 0, "caption": "x"}\n{"id": 1, "caption": "y \\ud83d\\ude00"}\n'
    assert read_captions(write(tmp_path, "a.jsonl", lines), {"0", "1"}) == {"0": "x", "1": "y \U0001f600"}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_another_encoding_is_named(tmp_path, name):
    with pytest.raises(PairingError, match="UTF-8"):
        read_captions(write(tmp_path, name, "id,caption\né,x\n", "utf-16"))


def test_names_that_look_alike_are_alike(tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    for folder, name in zip(("ref", "gen"), forms, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.wav").write_bytes(b"")
    for name in forms:
        pairing = pair_folders(tmp_path / "ref", tmp_path / "gen", {name: "x"})
        assert [(clip.id, clip.caption) for clip in pairing.clips] == [(forms[0], "x")]
    (tmp_path / "gen" / f"{forms[0]}.wav").write_bytes(b"")
    with pytest.raises(PairingError, match="1 present more than once: café"):
        pair_folders(tmp_path / "ref", tmp_path / "gen")
    assert some(["a", "a\u200b", "a ", "a\xa0b"]) == r"a, 'a\u200b', 'a ', 'a\xa0b'"


def test_over_captions_keeps_to_one_caption_and_leaves_out_what_is_not_there():
    scores = np.array([[[0.1, 0.9], [0.4, 0.5]], [[0.2, 0.3], [np.nan, np.nan]]])
    np.testing.assert_allclose(over_captions(scores, "max"), [[0.1, 0.9], [0.2, 0.3]])
    np.testing.assert_allclose(over_captions(scores, "mean"), [[0.25, 0.7], [0.2, 0.3]])
    np.testing.assert_allclose(over_captions(scores, "first"), [[0.1, 0.9], [0.2, 0.3]])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    for folder, seed, seconds in (("ref", 0, 1), ("gen", 50, 2)):
        write_folder(root / folder, {f"clip{i}": noise_clip(seed + i, seconds, colour=i / 9) for i in range(8)})
    return root


@pytest.mark.parametrize("how", ["max", "mean", "first"])
def test_clap_of_clips_with_several_captions(root, how):
    captions = {f"clip{i}": tuple(f"sound {i}, told {row}" for row in range(1 + i % 3)) for i in range(8)}
    options = {"preset": "testbed", "embedders": {"text": BandEmbedder()}, "window_s": 1.0, "cache_dir": None}
    found = evaluate(root / "ref", root / "gen", captions, metrics=("clap",), several_captions=how, **options)

    def expected(folder):
        values = []
        for name, texts in captions.items():
            rows = [w["embedding"] for w in BandEmbedder().embed(_samples(root / folder / f"{name}.wav"))]
            vectors = BandEmbedder().embed_text(texts)
            values.append([np.mean([clap_per_clip(row[None], vector[None]) for row in rows]) for vector in vectors])
        return np.mean([{"max": max, "mean": np.mean, "first": lambda v: v[0]}[how](v) for v in values])

    assert found.value("clap") == pytest.approx(expected("gen"), rel=1e-5)
    floors = {row.metric: row.value for row in found.floors}
    assert floors["floor_clap_reference"] == pytest.approx(expected("ref"), rel=1e-5)
    assert found.provenance["protocol"]["several_captions"] == how
    with pytest.raises(PairingError, match=r"'clip1' has 2; say which counts"):
        evaluate(root / "ref", root / "gen", captions, metrics=("clap",), **options)
    with pytest.raises(ValueError, match="several_captions='most'; accepted are max, mean, first"):
        evaluate(root / "ref", root / "gen", captions, metrics=("clap",), several_captions="most", **options)


def _samples(path):
    import soundfile

    return list(soundfile.read(path, dtype="float32")[0].reshape(-1, 8000))
