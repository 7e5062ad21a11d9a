"""Prompt ids are stable and safe; damaged or hostile caption files get one clear error."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.datasets.prompts import (
    Prompt,
    check_prompts,
    load_audiocaps,
    load_captions,
    load_demo,
    safe_id,
    subset_ids,
)

SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


@given(st.text(max_size=300))
def test_any_id_becomes_a_safe_file_name(raw):
    assert SAFE.fullmatch(safe_id(raw))


@pytest.mark.parametrize(
    "raw", ["../../etc/passwd", "/abs", "..", ".", "", "a\0b", "a/b", "x" * 10_000, "🐕", "נביחה", "a\nb"]
)
def test_hostile_ids_stay_inside_the_folder(raw, tmp_path):
    path = (tmp_path / f"{safe_id(raw)}_0.wav").resolve()
    assert path.parent == tmp_path.resolve()


@given(st.lists(st.text(max_size=20), unique=True, max_size=20))
def test_different_ids_stay_different(raws):
    assert len({safe_id(raw) for raw in raws}) == len(raws)


@given(st.text(alphabet=string.ascii_letters + string.digits + "_-", min_size=1, max_size=64))
def test_a_safe_id_is_kept(raw):
    assert safe_id(raw) == raw


def test_text_file(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("\ufeffA dog barks\n\n  Rain falls \n", encoding="utf-8")
    first, second = load_captions(str(file))
    assert first == Prompt(safe_id("A dog barks"), "A dog barks")
    assert second.text == "Rain falls"
    assert load_captions(str(file), limit=1) == [first]


def test_an_id_does_not_depend_on_the_other_lines(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("A dog barks\n")
    two.write_text("Rain falls\nA dog barks\n")
    assert load_captions(str(one))[0] == load_captions(str(two))[1]


def test_csv_with_commas_quotes_and_ids(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text('id,caption\n7,"Rain, then ""thunder"""\n8,Wind\n')
    assert load_captions(str(file), id_column="id") == [Prompt("7", 'Rain, then "thunder"'), Prompt("8", "Wind")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'id,caption\n7,"Rain, then wind"\n8,Wind\n'),
        ("P.TSV", "caption\tid\nRain, then wind\t7\nWind\t8\n"),
        ("p.jsonl", '{"caption": "Rain, then wind", "id": 7}\n\n{"id": "8", "caption": "Wind", "more": []}\n'),
    ],
)
def test_every_kind_of_file_with_columns_gives_the_same_prompts(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    found = load_captions(str(tmp_path / name), id_column="id")
    assert found == [Prompt("7", "Rain, then wind"), Prompt("8", "Wind")]


def test_a_text_file_has_no_columns(tmp_path):
    (tmp_path / "p.txt").write_text("Rain\n")
    with pytest.raises(ValueError, match="data.id_column id: p.txt has no columns"):
        load_captions(str(tmp_path / "p.txt"), id_column="id")


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        ([("1", "Rain")], TypeError, r"mine: item 1 is \('1', 'Rain'\); accepted is a list of"),
        ("Rain", TypeError, "item 1 is 'Rain'"),
        (None, TypeError, "item 1 is None"),
        ([Prompt("1", "Rain"), Prompt("2", None)], TypeError, "item 2 is Prompt"),
        ([Prompt("clip/1", "Rain")], ValueError, "mine: the id 'clip/1' is no file name; .*safe_id makes one"),
        ([Prompt("1", "Rain"), Prompt("1", "Wind")], ValueError, r"caption 1 \('Rain'\) and caption 2 \('Wind'\) have"),
        ([Prompt("1", " ")], ValueError, "mine, caption 1: the caption is empty"),
        ([], ValueError, "mine: no captions found"),
    ],
)
def test_what_a_loader_of_ones_own_returns_is_checked(found, error, message):
    with pytest.raises(error, match=message):
        check_prompts(found, "mine")
    good = [Prompt("1", "Rain")]
    assert check_prompts(tuple(good), "mine") == good


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("e.txt", b"", "e.txt: no captions found"),
        ("e.txt", b" \n\n", "no captions found"),
        ("e.csv", b"id,caption\n", "no captions found"),
        ("e.csv", b"", "e.csv: no column caption; it has none"),
        ("e.csv", b"id,text\n1,Rain\n", "no column caption; it has id, text"),
        ("e.csv", b"id,caption\n1\n", "line 2: fewer fields"),
        (
            "e.csv",
            b"id,caption\n1,A dog barks, then rain falls\n",
            "line 2: more fields than the 2 .* a comma in double",
        ),
        ("e.tsv", b"id\tcaption\n1\tA dog\tbarks\n", "line 2: more fields than the 2 .* a tab in double"),
        ("e.csv", b"id,caption,caption\n1,A dog,Rain\n", "2 columns are named caption; rename"),
        ("e.tsv", b"id,caption\n1,Rain\n", "no column caption; it has id,caption \\(data.column names"),
        ("e.jsonl", b'{"caption": "Rain"}\n{"text": "Wind"}\n', "line 2: no column caption; it has text"),
        ("e.jsonl", b'{"caption": "Rain"\n', "line 1: not valid JSON"),
        ("e.jsonl", b'{"caption": "Rain", "caption": "Wind"}\n', "line 1: 'caption' stands twice; keep one"),
        ("e.jsonl", b'["Rain"]\n', 'line 1: got \\["Rain"\\]; accepted are objects'),
        ("e.jsonl", b'{"caption": null}\n', "line 1: caption is None; accepted are texts"),
        ("e.jsonl", b'{"caption": " "}\n', "e.jsonl, line 1: the caption is empty"),
        ("e.json", b'[{"caption": "Rain"}]', "data.file e.json: accepted are files of .txt, .csv, .tsv, .jsonl"),
        ("e", b"Rain\n", "data.file e: accepted are files"),
        ("e.csv", b'id,caption\n1,"Rain\n', "not a valid csv"),
        ("e.csv", b"caption\n   \n", "the caption is empty"),
        ("e.txt", b"\xff\xfe\x00", "not UTF-8 text"),
        ("e.txt", b"Rain\nrain\x07\n", "holds a control character"),
        ("e.txt", b"Rain\n\nRain\n", "e.txt: line 1 \\('Rain'\\) and line 3 \\('Rain'\\) have the same id; delete one"),
        ("e.txt", b"x" * 2001, "2001 characters, accepted are up to 2000"),
    ],
)
def test_bad_caption_files(tmp_path, name, content, error):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=error):
        load_captions(str(file))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no caption file at .*nothing.txt; set data.file"):
        load_captions(str(tmp_path / "nothing.txt"))


def test_ids_that_differ_in_case_only_are_refused(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("id,caption\na,Rain\nA,Wind\n")
    with pytest.raises(ValueError, match=r"line 2 \('Rain'\) and line 3 \('Wind'\) have the same id"):
        load_captions(str(file), id_column="id")


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2"])
def test_bad_limit(limit):
    with pytest.raises(ValueError, match="data.limit"):
        load_demo(limit=limit)


def test_demo_captions_ship():
    assert load_demo()[0].text == "A dog barks while rain falls on a tin roof"


def test_subsets_have_their_published_sizes():
    ids_886, ids_964 = subset_ids("886"), subset_ids("964")
    assert (len(set(ids_886)), len(set(ids_964))) == (886, 964)
    assert set(ids_886) < set(ids_964)


def write_audiocaps(tmp_path, ids):
    file = tmp_path / "test.csv"
    rows = "".join(f'{i},yt,{k},"Caption, {i}"\n' for k, i in enumerate(ids))
    file.write_text("audiocap_id,youtube_id,start_time,caption\n" + rows)
    return str(file)


def test_audiocaps_follows_the_id_list(tmp_path):
    ids = subset_ids("886")
    file = write_audiocaps(tmp_path, [*reversed(ids), "999999"])
    prompts = load_audiocaps(csv=file, subset="886", limit=2)
    assert prompts == [Prompt(i, f"Caption, {i}") for i in ids[:2]]
    assert len(load_audiocaps(csv=file, subset="975x5")) == 887


def test_audiocaps_errors(tmp_path):
    file = write_audiocaps(tmp_path, subset_ids("886")[1:])
    with pytest.raises(ValueError, match="1 ids of subset 886 are missing, the first is 102852"):
        load_audiocaps(csv=file)
    with pytest.raises(ValueError, match="data.subset '900': accepted are 886, 964, 975x5"):
        load_audiocaps(csv=file, subset="900")
    with pytest.raises(FileNotFoundError, match=r"set data\.csv"):
        load_audiocaps(csv=str(tmp_path / "no.csv"))
