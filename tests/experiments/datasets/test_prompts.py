"""Prompt ids are stable and safe; damaged or hostile caption files get one clear error."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.datasets.prompts import (
    Prompt,
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
    ("name", "content", "error"),
    [
        ("e.txt", b"", "e.txt: no captions found"),
        ("e.txt", b" \n\n", "no captions found"),
        ("e.csv", b"id,caption\n", "no captions found"),
        ("e.csv", b"", "e.csv: no column caption; it has none"),
        ("e.csv", b"id,text\n1,Rain\n", "no column caption; it has id, text"),
        ("e.csv", b"id,caption\n1\n", "row 2: fewer fields"),
        ("e.csv", b'id,caption\n1,"Rain\n', "not a valid csv"),
        ("e.csv", b"caption\n   \n", "the caption is empty"),
        ("e.txt", b"\xff\xfe\x00", "not UTF-8 text"),
        ("e.txt", b"Rain\nrain\x07\n", "holds a control character"),
        ("e.txt", b"Rain\nRain\n", "occurs twice, captions 1 and 2 \\('Rain'\\); delete one, or name a column of ids"),
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
    with pytest.raises(ValueError, match="'a' occurs twice"):
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
