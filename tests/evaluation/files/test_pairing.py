"""Pairing by name: shuffled order, renamed, missing, extra and duplicate files, captions."""

import random
from pathlib import PurePath

import pytest

from evaluation.files.pairing import PairingError, list_audio, pair_folders, read_captions


def make_folder(folder, names, suffix=".wav"):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").write_bytes(b"")
    return folder


@pytest.fixture
def folders(tmp_path):
    names = [f"clip{i}" for i in range(5)]
    return make_folder(tmp_path / "ref", names), make_folder(tmp_path / "gen", random.Random(0).sample(names, 5))


CAPTIONS = {f"clip{i}": f"sound {i}" for i in range(5)}


def test_pairs_by_name_whatever_the_order_of_the_folder(folders):
    reference, generated = folders
    pairing = pair_folders(reference, generated, CAPTIONS)
    assert [clip.id for clip in pairing.clips] == [f"clip{i}" for i in range(5)]
    for clip in pairing.clips:
        assert clip.generated == generated / f"{clip.id}.wav"
        assert pairing.references[clip.prompt] == reference / f"{clip.id}.wav"
        assert clip.caption == f"sound {clip.id[-1]}"
    assert pairing.report.problems() == []


def test_strict_mode_names_what_does_not_match(folders):
    reference, generated = folders
    (generated / "clip3.wav").rename(generated / "klip3.wav")
    with pytest.raises(PairingError, match=r"1 without a generated clip: clip3; 1 without a reference: klip3"):
        pair_folders(reference, generated)


def test_common_clips_and_a_report_without_strict_mode(folders):
    reference, generated = folders
    (generated / "clip3.wav").rename(generated / "klip3.wav")
    (reference / "clip4.wav").unlink()
    (generated / "notes.txt").write_text("x")
    pairing = pair_folders(reference, generated, CAPTIONS, strict=False)
    assert [clip.id for clip in pairing.clips] == ["clip0", "clip1", "clip2"]
    assert sorted(pairing.references) == ["clip0", "clip1", "clip2"]
    assert pairing.report.missing_generated == ["clip3"]
    assert pairing.report.missing_reference == ["clip4", "klip3"]
    assert pairing.report.missing_caption == ["klip3"]
    assert pairing.report.not_audio == ["notes.txt"]


def test_two_files_of_one_name_are_ambiguous(folders):
    reference, generated = folders
    (generated / "clip1.flac").write_bytes(b"")
    with pytest.raises(PairingError, match="1 present more than once: clip1"):
        pair_folders(reference, generated)
    pairing = pair_folders(reference, generated, strict=False)
    assert [clip.id for clip in pairing.clips] == ["clip0", "clip2", "clip3", "clip4"]
    assert pairing.report.duplicates == ["clip1"]


def test_several_seeds_share_a_prompt(tmp_path):
    reference = make_folder(tmp_path / "ref", ["a_1", "b"])
    generated = make_folder(tmp_path / "gen", ["a_1_0", "a_1_1", "b_0", "b_1"])
    pairing = pair_folders(reference, generated, {"a_1": "x", "b": "y"}, id_pattern="(.*)_[0-9]+")
    assert [(clip.id, clip.prompt, clip.caption) for clip in pairing.clips] == [
        ("a_1_0", "a_1", "x"), ("a_1_1", "a_1", "x"), ("b_0", "b", "y"), ("b_1", "b", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "message"), [("(.*)_x", "does not match"), (".*", "exactly one group"), ("(", "no regular expression")]
)
def test_a_pattern_that_takes_no_id_is_an_error(folders, pattern, message):
    with pytest.raises(PairingError, match=message):
        pair_folders(*folders, id_pattern=pattern)


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_empty_caption_is_refused_in_a_mapping_too(folders, empty):
    with pytest.raises(PairingError, match="captions: 'clip2' empty; give each id one caption"):
        pair_folders(*folders, {**CAPTIONS, "clip2": empty})


def test_nothing_in_common_is_an_error(tmp_path):
    reference, generated = make_folder(tmp_path / "ref", ["a"]), make_folder(tmp_path / "gen", ["b"])
    with pytest.raises(PairingError, match="no clip matches"):
        pair_folders(reference, generated, strict=False)
    with pytest.raises(PairingError, match="it holds no audio"):
        pair_folders(None, make_folder(tmp_path / "empty", []))


def test_captions_alone_can_be_paired(folders):
    pairing = pair_folders(None, folders[1], {**CAPTIONS, "other": "x"}, strict=False)
    assert len(pairing.clips) == 5
    assert pairing.references == {}
    assert pairing.report.missing_generated == ["other"]


def test_only_some_names_are_shown(tmp_path):
    reference = make_folder(tmp_path / "ref", [f"r{i:02}" for i in range(20)])
    with pytest.raises(PairingError, match=r"20 without a generated clip: r00, r01, r02, r03, r04 and 15 more"):
        pair_folders(reference, make_folder(tmp_path / "gen", ["g"]))


def test_folders_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="gen: no such folder of audio"):
        list_audio(tmp_path / "gen")


def test_hidden_files_and_folders_are_not_clips(tmp_path):
    (tmp_path / ".a.wav").write_bytes(b"")
    (tmp_path / "sub.wav").mkdir()
    assert list_audio(tmp_path) == ({}, [], ["sub.wav/"])


def test_captions_with_commas_endings_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text('file,caption,other\na.wav," a dog, barking ",1\nb.c,rain,2\n', encoding="utf-8-sig")
    assert read_captions(path) == {"a": "a dog, barking", "b.c": "rain"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,words\na,b\n", r"columns are \['id', 'words'\]; one of caption, text, prompt is needed"),
        ("id,caption\na,b\na,c\n", r":3: id 'a' twice"),
        ("id,caption\na,\n", r":2: 'a' empty"),
        ("id,caption\n,x\n", r":2: no id"),
        ("", r"columns are \[\]"),
    ],
)
def test_captions_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(PairingError, match=message):
        read_captions(tmp_path / "captions.csv")


def test_the_id_column_is_the_one_that_names_the_clips(tmp_path):
    file = tmp_path / "audiocaps.csv"
    file.write_text("audiocap_id,youtube_id,start_time,caption\n1,clip7,0,rain\n2,clip8,30,wind\n")
    assert read_captions(file, {"clip8", "clip9"}) == {"clip7": "rain", "clip8": "wind"}
    assert read_captions(file, {"2"}) == {"1": "rain", "2": "wind"}
    assert read_captions(file) == read_captions(file, {"other"}) == {"1": "rain", "2": "wind"}


def test_captions_file_must_exist(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such captions file"):
        pair_folders(*folders, tmp_path / "none.csv")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_caption_with_a_comma_and_no_quotes_is_refused_not_cut(tmp_path, line_end):
    lines = ["\ufeffid,caption", 'a.wav,"a dog, barking"', "b.wav,a small group, clapping"]
    path = tmp_path / "captions.csv"
    path.write_bytes(line_end.join(lines).encode())
    with pytest.raises(PairingError, match=r"captions\.csv:3: 3 fields where the header has 2; a caption with a comma"):
        read_captions(path)
    path.write_bytes(line_end.join(lines[:2]).encode())
    assert read_captions(path) == {"a": "a dog, barking"}


def test_a_folder_without_audio_says_what_it_holds(tmp_path):
    (tmp_path / "clip.doc").write_bytes(b"x")
    with pytest.raises(PairingError, match=r"no audio but clip\.doc; endings that are read: \.wav .*\.opus"):
        pair_folders(None, tmp_path)


def test_listing_a_folder_looks_at_each_file_a_few_times_however_many_there_are(tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / f"c{number}.wav").touch()
    (tmp_path / "notes.txt").touch()
    looked = []
    plain = PurePath.__hash__
    monkeypatch.setattr(PurePath, "__hash__", lambda path: looked.append(1) or plain(path))
    found, twice, other = list_audio(tmp_path)
    assert (len(found), twice, other) == (300, [], ["notes.txt"])
    assert len(looked) < 10 * 300, "4,000 clips took 19 s to list when it grew with the square"
