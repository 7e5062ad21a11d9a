"""What a run leaves behind: which folders it was, under which name, and what it did not take."""

import json
from dataclasses import replace

import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.files.names import file_name_of, title_of
from evaluation.results.result import MetricResult
from evaluation.results.table import line

NAMES = [f"c{i}" for i in range(3)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    for number, folder in enumerate(("ref", "a/gen", "b/gen")):
        write_folder(tmp_path / folder, {n: noise_clip(10 * number + i, 1) for i, n in enumerate(NAMES)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(generated, **options):
    judges = dict.fromkeys(("frames", "classifier", "text"), BandEmbedder())
    options = {"preset": "testbed", "embedders": judges, "metrics": ("level",), **options}
    return evaluate("ref", generated, window_s=1.0, cache_dir=None, **options)


def test_folders_of_one_name_do_not_overwrite_each_other_and_are_named_in_full(root):
    found = [run("a/gen", baseline="b/gen"), run("b/gen")]
    written = [one.write(root / "out")[0] for one in (*found, found[0])]
    assert [path.name for path in written] == ["a_gen.json", "b_gen.json", "a_gen-2.json"]
    assert len(list((root / "out").iterdir())) == 6
    first, second, again = (json.loads(path.read_text()) for path in written)
    assert first == again
    assert first["folders"] == {
        "generated": str(root / "a/gen"),
        "reference": str(root / "ref"),
        "baseline": str(root / "b/gen"),
        "captions": None,
    }
    assert second["folders"]["generated"] == str(root / "b/gen")
    assert first["results"][0]["value"] != second["results"][0]["value"]
    assert "minus b/gen" in found[0].table().splitlines()


def test_a_name_follows_the_path_and_fits_a_file_system(root):
    assert file_name_of(root / "a" / "gen") == file_name_of(root / "a" / ".." / "a" / "gen") == "a_gen"
    assert file_name_of(root.parent / "else").endswith("_else")
    long = [root / ("x" * 150) / (last + "y" * 150) for last in "ab"]
    names = [file_name_of(path) for path in long]
    assert names[0] != names[1]
    assert all(len(name) <= 200 for name in names)
    assert title_of(root / "a/gen", root / "b/gen") == "a/gen"
    assert title_of(root / "a/gen", root / "a/gen") == title_of(root / "a/gen") == "gen"


def test_a_failed_write_of_the_second_file_leaves_the_first_run_alone(root, monkeypatch):
    found = run("a/gen")
    first = found.write(root / "out")[0].read_bytes()
    monkeypatch.setattr(type(found), "to_csv", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.write(root / "out")
    assert sorted(path.name for path in (root / "out").iterdir()) == ["a_gen.csv", "a_gen.json"]
    assert (root / "out" / "a_gen.json").read_bytes() == first


def test_the_record_says_the_windows_that_were_used(root):
    assert run("a/gen", preset="strict", embedders={}).provenance["description"].endswith("; windows of 1 s, not 10 s")


def test_what_was_found_and_not_taken_is_said(root):
    (root / "a" / "gen" / "notes.doc").write_text("x")
    (root / "a" / "gen" / "more").mkdir()
    assert "not taken: 2 without an audio ending: more/, notes.doc" in run("a/gen").table().splitlines()


@pytest.mark.parametrize(
    ("metric", "units", "printed"),
    [
        ("kl", 31, False), ("kl", 32, True), ("kl_drift", 31, False), ("hit_rate", 31, False), ("hit_rate", 32, True),
        ("fad", 5, False), ("fad_on_ast", 6, True), ("my_metric", 31, False),
    ],
)  # fmt: skip
def test_a_table_prints_an_interval_only_where_enough_prompts_make_it_cover(metric, units, printed):
    result = MetricResult(metric, "strict", 1.5, 1.0, 2.0, 3 * units, 0, details={"units": units})
    assert ("[1, 2]" in line(result)) is printed
    assert ("[1, 2]" in line(replace(result, n_scored=units, details={}))) is printed, "clips where none are told"


@pytest.mark.parametrize(
    ("metric", "units", "printed"),
    [("kl", 191, False), ("kl", 192, True), ("hit_rate", 64, False), ("fad", 5, False), ("fad", 6, True)],
)
def test_a_paired_difference_takes_more_clips_than_a_mean(metric, units, printed):
    result = MetricResult(metric, "strict", 1.5, 1.0, 2.0, units, 0, details={"units": units}, baseline="dense")
    assert ("[1, 2]" in line(result)) is printed


@pytest.mark.parametrize(("units", "seeds", "printed"), [(64, 3, True), (64, 2, False), (63, 4, False), (96, 2, True)])
def test_a_paired_difference_counts_the_clips_of_each_prompt(units, seeds, printed):
    result = MetricResult("kl", "strict", 1.5, 1.0, 2.0, seeds * units, 0, details={"units": units}, baseline="dense")
    assert ("[1, 2]" in line(result)) is printed


def test_records_keep_the_intervals_that_the_table_withholds_and_the_table_says_so(root):
    found = run("a/gen", baseline="b/gen", metrics=("level", "kad"))
    assert all(row.low < row.value < row.high for row in (*found.results[:1], *found.differences[:1]))
    assert found.results[0].details["units"] == 3
    text = " ".join(found.table().split())
    assert "[" not in text.partition("No interval")[0]
    floors = "192 clips of 64 prompts or more for paired differences of means, 6 prompts for distances between sets"
    assert text.count(f"No interval below 32 prompts ({floors})") == 1
    assert json.loads(found.to_json())["results"][0]["low"] == found.results[0].low
