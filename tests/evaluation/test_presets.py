"""Named protocols: what each one is made of, and how networks are filled in."""

from dataclasses import replace
from pathlib import Path

import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.embedders.networks.laion import LaionClapEmbedder
from evaluation.embedders.networks.packages import PackageClapEmbedder, PackageVGGishEmbedder, load_package
from evaluation.embedders.networks.panns import Cnn14Embedder
from evaluation.embedders.weights import CLAP_630K, CLAP_MUSIC_SPEECH_AUDIOSET, CNN14_16K, VGGISH
from evaluation.evaluate import evaluate
from evaluation.files.pairing import Clip
from evaluation.presets import PRESETS, find_preset
from evaluation.run import build
from evaluation.run.build import BUILDERS, build_embedders
from evaluation.run.scorer import make_scorer, score_folder
from evaluation.scoring.intervals import compare
from evaluation.scoring.registry import METRICS, find_metric, role_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "metrics"


def test_the_presets_are_those_of_the_configuration():
    assert sorted([*PRESETS, "none", "paper"]) == sorted(path.stem for path in CONF.glob("*.yaml"))
    assert all(name == preset.name for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configuration_files_name_their_preset(name):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose(config_name=name)
    assert config.preset == name
    assert set(config) >= {"metrics", "window_s", "cache_dir", "weights", "embedders"}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_presets_are_complete(preset):
    assert [find_metric(metric).name for metric in preset.metrics] == list(preset.metrics)
    assert set(preset.embedders.values()) <= set(BUILDERS)
    if preset.name != "testbed":
        needed = {role_of(metric) for metric in preset.metrics} - {None}
        assert needed <= set(preset.embedders)
    assert len(preset.description) > 20


def test_only_levels_need_no_network():
    assert {metric for metric in METRICS if role_of(metric) is None} == {"level", "silence"}
    with pytest.raises(ValueError, match="metric 'fidelity'"):
        role_of("fidelity")


def test_published_protocols_differ_where_their_tools_do():
    audioldm, tango, stable = (find_preset(name) for name in ("audioldm", "tango", "stable-audio"))
    assert (audioldm.generated.mono, audioldm.generated.remove_dc, audioldm.kl_eps) == ("first", True, 1e-6)
    assert (tango.generated.mono, tango.generated.remove_dc, tango.kl_eps) == ("mean", False, 1e-6)
    assert (audioldm.generated.cut, audioldm.generated.pad_to_s) == ("whole", 2.0)
    assert (stable.generated.cut, stable.generated.level) == ("overlapping", "peak")
    assert (stable.kl_direction, stable.kl_pooling) == ("generated_to_reference", "mean_logits")
    assert find_preset("litefocus").crop_seeds == (0, 1, 2, 3, 4)
    assert find_preset("strict").kl_eps is None
    with pytest.raises(ValueError, match="preset 'paper'; give one of strict"):
        find_preset("paper")


def test_clap_takes_its_first_window_where_others_take_the_clip():
    preset = find_preset("audioldm").with_window(5.0).with_duration(20.0)
    text = preset.preprocessing("generated", "text")
    assert (text.cut, text.window_s, text.duration_s, text.mono) == ("first", 5.0, 20.0, "mean")
    assert preset.preprocessing("generated", "frames").cut == "whole"
    assert find_preset("strict").preprocessing("generated", "text").cut == "aligned"


def test_variants_of_a_preset_keep_its_name():
    preset = find_preset("strict").with_window(5.0).with_aligned_references()
    assert (preset.name, preset.generated.window_s, preset.reference.window_s) == ("strict", 5.0, 5.0)
    assert (preset.reference.cut, preset.reference_windows) == ("aligned", "aligned")


def test_only_the_networks_that_metrics_need_are_built():
    built = build_embedders(find_preset("strict"), ("kl", "level"), {}, {})
    assert list(built) == ["classifier"]
    assert isinstance(built["classifier"], Cnn14Embedder)


def test_weights_by_path_by_hash_or_by_default(tmp_path):
    preset = find_preset("strict")
    by_path = build_embedders(preset, ("fad",), {"vggish": str(tmp_path / "v.pth")}, {})["frames"]
    assert by_path.source == tmp_path / "v.pth"
    by_hash = build_embedders(preset, ("fad",), {"vggish": "sha256:" + "10086976aB" * 6 + "0000"}, {})["frames"]
    assert by_hash.source == VGGISH.with_sha256("10086976ab" * 6 + "0000")
    assert build_embedders(preset, ("kl",), {}, {}, batch_size=3)["classifier"].source == CNN14_16K
    assert build_embedders(preset, ("kl",), {}, {}, batch_size=3)["classifier"].batch_size == 3


def test_every_builder_builds(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_installed", lambda distributions: True)
    weights = {"tokenizer": str(tmp_path)}
    built = {name: build(weights, {}) for name, build in BUILDERS.items()}
    assert {name: embedder.name for name, embedder in built.items()} == {
        "loudness": "loudness", "vggish": "vggish", "cnn14_16k": "cnn14-16k",
        "cnn14_32k": "cnn14-32k", "ast": "ast", "clap": "clap",
        "clap_laion": "clap-laion", "clap_music_speech": "clap-laion", "package_passt": "passt",
        "package_vggish": "torchvggish", "package_clap": "laion-clap",
        "aesthetics": "audiobox-aesthetics", "ms_clap": "ms-clap",
    }  # fmt: skip
    assert isinstance(built["clap_laion"], LaionClapEmbedder)
    assert built["clap_laion"].int16
    assert built["clap_laion"].source == CLAP_630K
    assert built["clap_music_speech"].source == CLAP_MUSIC_SPEECH_AUDIOSET
    assert isinstance(built["package_vggish"], PackageVGGishEmbedder)
    assert isinstance(built["package_clap"], PackageClapEmbedder)
    with pytest.raises(ValueError, match=r"weights.tokenizer: roberta-base is a folder"):
        BUILDERS["clap_laion"]({"tokenizer": "sha256:" + "0" * 64}, {})
    with pytest.raises(ValueError, match=r"weights.ast: .* is a folder"):
        BUILDERS["ast"]({"ast": "sha256:" + "0" * 64}, {})


def test_the_best_of_several_needs_a_clap_whatever_is_measured():
    judge = BandEmbedder()
    given = {"frames": judge, "classifier": judge, "text": judge}
    assert set(build_embedders(find_preset("audioldm2"), ("kl",), {}, given)) == {"classifier", "text"}
    assert set(build_embedders(find_preset("strict"), ("kl",), {}, given)) == {"classifier"}


def test_given_embedders_take_precedence_and_missing_ones_are_named():
    judge = BandEmbedder()
    assert build_embedders(find_preset("strict"), ("kl",), {}, {"classifier": judge})["classifier"] is judge
    with pytest.raises(ValueError, match="preset testbed has no embedder for 'frames'"):
        build_embedders(find_preset("testbed"), ("fad",), {}, {})
    with pytest.raises(ValueError, match="roles are frames, classifier, text"):
        build_embedders(find_preset("strict"), ("fad",), {}, {"ears": judge})
    with pytest.raises(ValueError, match=r"weights for \['clip'\]"):
        build_embedders(replace(find_preset("strict")), ("fad",), {"clip": "x"}, {})


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ImportError, match=r"some-package is not installed .*docs/published-tools.md"):
        load_package("no_such_module", "some-package")


def test_every_record_has_the_version_of_its_preset_and_other_versions_are_not_compared(tmp_path):
    for folder, seed in (("ref", 0), ("gen", 10)):
        write_folder(tmp_path / folder, {f"c{i}": noise_clip(seed + i, 1) for i in range(3)})
    preset = replace(find_preset("testbed"), version=7)
    options = {"embedders": {"classifier": BandEmbedder()}, "metrics": ("kl", "level"), "cache_dir": None}
    options["window_s"] = 1.0
    found = evaluate(tmp_path / "ref", tmp_path / "gen", preset=preset, baseline=tmp_path / "ref", **options)
    rows = (*found.results, *found.floors, *found.differences)
    assert {row.preset_version for row in rows} == {7}
    assert "preset testbed, version 7" in found.table().splitlines()
    assert found.provenance["preset_version"] == 7
    clips = [Clip(f"c{i}", tmp_path / "gen" / f"c{i}.wav", f"c{i}") for i in range(3)]
    references = {clip.id: tmp_path / "ref" / f"{clip.id}.wav" for clip in clips}
    scores = [score_folder(make_scorer(p, **options), "gen", clips, references) for p in ("testbed", preset)]
    with pytest.raises(ValueError, match="gen and gen differ in preset_version: 1 and 7"):
        compare(*scores)


def test_what_takes_more_clips_than_there_are_is_left_out_or_refused(tmp_path):
    for folder, seed in (("ref", 0), ("gen", 10)):
        write_folder(tmp_path / folder, {"c": noise_clip(seed, 1)})
    options = {"embedders": dict.fromkeys(("frames", "classifier"), BandEmbedder()), "window_s": 1.0, "cache_dir": None}
    metrics = ("fad", "fad_infinity", "fd", "kad", "coverage", "kl")
    found = evaluate(tmp_path / "ref", tmp_path / "gen", preset="testbed", metrics=metrics, **options)
    assert {row.metric for row in found.results} == {"kl"}
    assert found.not_computed["fad"] == found.not_computed["kad"] == "1 clip; it takes at least 2"
    assert found.not_computed["coverage"] == "1 clip; it takes at least 6"
    assert found.not_computed["fad_infinity"].startswith("1 clip does not give 15 different sizes")
    with pytest.raises(ValueError, match=r"cannot be computed \(fd: 1 clip; it takes at least 2\)"):
        evaluate(tmp_path / "ref", tmp_path / "gen", preset="testbed", metrics=("fd",), **options)


def test_a_distance_of_fewer_rows_than_dimensions_is_marked(tmp_path):
    for folder, seed in (("ref", 0), ("gen", 10)):
        write_folder(tmp_path / folder, {f"c{i}": noise_clip(seed + i, 1) for i in range(8)})
    options = {"embedders": dict.fromkeys(("frames", "classifier"), BandEmbedder()), "window_s": 1.0, "cache_dir": None}
    text = evaluate(tmp_path / "ref", tmp_path / "gen", preset="testbed", metrics=("fad", "fd"), **options).table()
    assert "fd: 8 rows of 8 dimensions: mostly the bias of a small N" in text
    assert "fad: " not in text
