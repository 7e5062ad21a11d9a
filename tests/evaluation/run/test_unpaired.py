"""A background set against a generated one: other names, other numbers, and the N of both in every line."""

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.__main__ import main
from evaluation.audio.io import AudioError
from evaluation.evaluate import evaluate
from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.kad import kernel_audio_distance
from evaluation.presets import find_preset

BACKGROUND = {f"b{i:02}": noise_clip(i, 1, colour=i / 20) for i in range(15)}
GENERATED = {f"take {i:02}": noise_clip(50 + i, 1, colour=i / 30) for i in range(11)}
DISTANCES = ("fad", "fd", "kad")


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "background", BACKGROUND)
    write_folder(tmp_path / "gen", GENERATED)
    return tmp_path


def run(root, generated="gen", captions=None, **options):
    judges = dict.fromkeys(("frames", "classifier", "text"), BandEmbedder())
    options = {"preset": "testbed", "embedders": judges, "window_s": 1.0, "cache_dir": None, **options}
    return evaluate(root / "background", root / generated, captions, paired=False, **{"metrics": DISTANCES, **options})


def features(clips, output):
    return np.stack([row[output] for row in BandEmbedder().embed(list(clips.values()))])


def test_distances_are_those_of_the_two_sets_with_the_n_of_both(root):
    found = run(root)
    clips = [features(one, "embedding") for one in (BACKGROUND, GENERATED)]
    frames = [features(one, "frames").reshape(-1, 8) for one in (BACKGROUND, GENERATED)]
    assert found.value("fad") == pytest.approx(frechet_distance(*frames), rel=1e-5)
    assert found.value("fd") == pytest.approx(frechet_distance(*clips), rel=1e-5)
    assert found.value("kad") == pytest.approx(kernel_audio_distance(*clips), rel=1e-4)
    assert {(r.n_scored, r.n_failed, r.n_references) for r in found.results} == {(11, 0, 15)}
    assert {(r.n_scored, r.n_failed) for r in found.floors} == {(15, 0)}
    assert found.provenance["protocol"]["paired"] is False
    row = next(line for line in found.table().splitlines() if line.startswith("fad "))
    assert row.split()[-3:] == ["11", "0", "15"]


def test_a_preset_without_pairs_needs_no_second_word(root):
    judges = dict.fromkeys(("frames", "classifier", "text"), BandEmbedder())
    preset = find_preset("testbed").without_pairs()
    options = {"embedders": judges, "window_s": 1.0, "cache_dir": None, "metrics": DISTANCES}
    found = evaluate(root / "background", root / "gen", preset=preset, **options)
    assert {(r.n_scored, r.n_references) for r in found.results} == {(11, 15)}
    assert found.value("fad") == run(root).value("fad")


def test_the_names_of_the_background_play_no_part(root):
    before = run(root)
    for number, path in enumerate(sorted((root / "background").iterdir(), reverse=True)):
        path.rename(path.with_name(f"take {number:02}.wav"))
    after = run(root)
    for metric in DISTANCES:
        assert after.value(metric) == pytest.approx(before.value(metric), rel=1e-9)
    assert after.failures == before.failures == {}


def test_each_side_fails_alone_and_counts_alone(root, caplog):
    (root / "background" / "b03.wav").write_bytes(b"broken")
    (root / "gen" / "take 00.wav").write_bytes(b"broken")
    found = run(root)
    assert {(r.n_scored, r.n_failed, r.n_references) for r in found.results} == {(10, 1, 14)}
    assert {(r.n_scored, r.n_failed) for r in found.floors} == {(14, 1)}
    assert list(found.failures) == ["take 00"]
    assert list(found.failed_references) == ["b03.wav"]
    assert "1 of 15 references failed (7%)" in caplog.text
    assert "failed references: 1: " in found.table()
    for path in (root / "background").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(AudioError, match="none of the references could be scored; the first: .*b00.wav"):
        run(root)


def test_a_reference_that_one_network_cannot_take_is_in_no_distance(root):
    write_folder(root / "background", {"short": noise_clip(7, 0.5)})
    demanding = BandEmbedder("2")
    demanding.min_samples = 8000
    found = run(root, embedders={"frames": BandEmbedder(), "classifier": demanding})
    assert list(found.failed_references) == ["short.wav"]
    assert {row.n_references for row in found.results} == {15}


def test_two_files_of_one_stem_are_two_references(root):
    (root / "background" / "b00.flac").write_bytes((root / "background" / "b01.wav").read_bytes())
    assert {row.n_references for row in run(root).results} == {16}


def test_what_needs_a_reference_for_each_clip_is_left_out_or_refused(root):
    captions = {name: f"caption {name}" for name in GENERATED}
    found = run(root, captions=captions, metrics=None)
    assert found.not_computed["kl_bernoulli"] == "it needs a reference for each clip, not paired=false"
    assert found.value("clap") == pytest.approx(run(root, captions=captions, metrics=("clap",)).value("clap"))
    assert not any("caption" in row.metric for row in found.floors)
    with pytest.raises(ValueError, match="kl: it needs a reference for each clip"):
        run(root, metrics=("kl",))
    with pytest.raises(ValueError, match="aligned_references needs a reference for each clip"):
        run(root, aligned_references=True)


def test_two_generated_folders_are_compared_against_the_same_whole_background(root):
    fewer = {name: noise_clip(90 + i, 1, colour=0.5) for i, name in enumerate(GENERATED) if i > 2}
    write_folder(root / "fewer", fewer)
    found = run(root, generated="fewer", baseline=root / "gen", strict=False)
    both = {name: samples for name, samples in GENERATED.items() if name in fewer}
    real = features(BACKGROUND, "embedding")
    expected = [frechet_distance(real, features(one, "embedding")) for one in (both, fewer)]
    row = next(r for r in found.differences if r.metric == "fd")
    assert row.value == pytest.approx(expected[1] - expected[0], rel=1e-4)
    assert (row.n_scored, row.n_references) == (8, 15)


def test_the_command_line_takes_two_unpaired_folders(root, capsys):
    config = root / "bands.yaml"
    roles = "".join(f"  {role}: {{_target_: networks.BandEmbedder}}\n" for role in ("frames", "classifier"))
    config.write_text(f"preset: testbed\nwindow_s: 1.0\ncache_dir: null\nembedders:\n{roles}")
    words = [f"reference={root / 'background'}", f"generated={root / 'gen'}", f"config={config}", "metrics=fad,kad"]
    assert main([*words, "paired=false"]) == 0
    assert "fad ↓" in capsys.readouterr().out
    assert main(words) == 2
    assert "paired=false" in capsys.readouterr().err
