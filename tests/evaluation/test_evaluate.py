"""The whole way from folders to numbers: values against the metrics called by hand, floors, differences, changes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.audio.io import AudioError
from evaluation.evaluate import evaluate
from evaluation.files.names import file_name_of
from evaluation.files.pairing import Clip, PairingError
from evaluation.metrics.clap_score import clap_per_clip
from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.fad_infinity import fad_infinity_interval
from evaluation.metrics.inception_score import mean_of_splits, split_numbers
from evaluation.metrics.kad import kernel_audio_distance
from evaluation.metrics.kl import kl_divergence
from evaluation.presets import PRESETS
from evaluation.run.scorer import make_scorer, score_folder
from evaluation.scoring.intervals import compare
from evaluation.statistics.bootstrap import jackknife_bounds

N = 12
CAPTIONS = {f"c{i:02}": f"a sound of kind {i}" for i in range(N)}
METRICS = ("fad", "fd", "kad", "kl", "clap")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    sides = {"ref": (0, 1), "gen": (50, 3)}
    made = {
        side: write_folder(
            root / side, {n: noise_clip(first + i, seconds, colour=i / (2 * N)) for i, n in enumerate(CAPTIONS)}
        )
        for side, (first, seconds) in sides.items()
    }
    bad = {n: noise_clip(90 + i, 3, colour=0.9) for i, n in enumerate(CAPTIONS)}
    return {**made, "bad": write_folder(root / "bad", bad)}


def judges(embedder=None):
    embedder = embedder or BandEmbedder()
    return {"frames": embedder, "classifier": embedder, "text": embedder}


def run(folders, reference="ref", generated="gen", **options):
    options = {
        "preset": "testbed", "embedders": judges(), "window_s": 1.0, "cache_dir": None, "metrics": METRICS,
        "floors": False, "captions": CAPTIONS, **options,
    }  # fmt: skip
    captions = options.pop("captions")
    return evaluate(folders[reference], folders[generated], captions, **options)


def features(folder, window, output, seconds=1):
    import soundfile

    rows = []
    for name in CAPTIONS:
        samples = soundfile.read(folder / f"{name}.wav", dtype="float32")[0]
        rows.append(samples[8000 * window * seconds : 8000 * (window + 1) * seconds])
    return np.stack([row[output] for row in BandEmbedder().embed(rows)])


def test_every_number_is_the_metric_at_its_window(folders):
    found = run(folders, metrics=(*METRICS, "is"))
    text = BandEmbedder().embed_text(list(CAPTIONS.values()))
    curves = {metric: [] for metric in (*METRICS, "is")}
    for window in range(3):
        frames = [features(folders[side], w, "frames").reshape(-1, 8) for side, w in (("ref", 0), ("gen", window))]
        clips = [features(folders[side], w, "embedding") for side, w in (("ref", 0), ("gen", window))]
        logits = [features(folders[side], w, "logits") for side, w in (("ref", 0), ("gen", window))]
        curves["fad"].append(frechet_distance(*frames))
        curves["fd"].append(frechet_distance(*clips))
        curves["kad"].append(kernel_audio_distance(*clips))
        curves["kl"].append(kl_divergence(*logits))
        curves["clap"].append(clap_per_clip(clips[1], text).mean())
        curves["is"].append(mean_of_splits(np.column_stack([split_numbers(N, 10), logits[1]])))
    for metric, curve in curves.items():
        for window, value in enumerate(curve):
            assert found.value(metric, window) == pytest.approx(value, rel=1e-5, abs=1e-9), metric
        assert found.value(metric) == pytest.approx(np.mean(curve), rel=1e-5, abs=1e-9)
        assert found.value(f"{metric}_drift") == pytest.approx(curve[2] - curve[0], rel=1e-3, abs=1e-7)
        assert found.value(f"{metric}_slope") == pytest.approx((curve[2] - curve[0]) / 2, rel=1e-3, abs=1e-7)
    headline = next(result for result in found.results if result.metric == "fad" and result.window == -1)
    assert headline.n_scored == N
    assert headline.n_failed == 0
    assert headline.preset == "testbed"
    assert headline.low < headline.value < headline.high


def test_aligned_references_compare_window_with_window(folders):
    found = run(folders, reference="bad", metrics=("fad", "kl"), aligned_references=True)
    for window in range(3):
        logits = [features(folders[side], window, "logits") for side in ("bad", "gen")]
        assert found.value("kl", window) == pytest.approx(kl_divergence(*logits), rel=1e-5)
        frames = [features(folders[side], window, "frames").reshape(-1, 8) for side in ("bad", "gen")]
        assert found.value("fad", window) == pytest.approx(frechet_distance(*frames), rel=1e-5)


def test_clips_tiled_from_one_segment_have_no_drift(folders, tmp_path):
    tiled = write_folder(tmp_path / "tiled", {n: np.tile(noise_clip(i, 1), 4) for i, n in enumerate(CAPTIONS)})
    once = write_folder(tmp_path / "once", {n: noise_clip(i, 1) for i, n in enumerate(CAPTIONS)})
    long = run({"ref": folders["ref"], "gen": tiled})
    short = run({"ref": folders["ref"], "gen": once})
    for metric in METRICS:
        assert abs(long.value(f"{metric}_drift")) < 1e-9
        assert long.value(metric) == pytest.approx(short.value(metric), abs=1e-9)


def test_noise_from_the_middle_on_is_seen_by_drift_and_missed_by_the_first_window(folders, tmp_path):
    spoilt = {}
    for i, name in enumerate(CAPTIONS):
        samples = noise_clip(50 + i, 3, colour=i / (2 * N))
        samples[16_000:] = noise_clip(i, 1, colour=0.95)
        spoilt[name] = samples
    found = run({"ref": folders["ref"], "gen": write_folder(tmp_path / "spoilt", spoilt)}, metrics=("fad", "kl"))
    clean = run(folders, metrics=("fad", "kl"))
    for metric in ("fad", "kl"):
        drift = next(r for r in found.results if r.metric == f"{metric}_drift")
        assert drift.low > 0
        assert found.value(metric, 0) == pytest.approx(clean.value(metric, 0), rel=1e-9)


def test_paired_differences_against_a_baseline(folders):
    found = run(folders, generated="bad", baseline=folders["gen"])
    plain = {name: run(folders, generated=name) for name in ("bad", "gen")}
    for metric in METRICS:
        row = next(r for r in found.differences if r.metric == metric and r.window == -1)
        assert row.value == pytest.approx(plain["bad"].value(metric) - plain["gen"].value(metric), rel=1e-9)
        assert row.baseline == "gen"
        assert row.n_scored == N
    for metric in ("fad", "kl"):
        row = next(r for r in found.differences if r.metric == metric and r.window == -1)
        assert row.low > 0, f"{metric} must see that the coloured clips are worse"
    assert next(r for r in found.differences if r.metric == "kl").details["p_value"] <= 0.002


def test_a_folder_against_itself_differs_by_nothing(folders):
    found = run(folders, baseline=folders["gen"])
    assert {row.value for row in found.differences} == {0.0}
    # Clips that all agree do not say how much others would differ.
    assert np.isnan([(row.low, row.high) for row in found.differences]).all()


def test_swapped_folders_give_other_numbers(folders):
    one, other = run(folders, reference="bad"), run(folders, "gen", "bad", metrics=METRICS)
    for metric in ("fad", "kl", "kad", "clap"):
        assert abs(one.value(metric) - other.value(metric)) > 1e-6, metric
    assert one.provenance["references"] != other.provenance["references"]


def test_one_renamed_file_stops_the_run_or_is_reported(folders, tmp_path):
    copy = write_folder(tmp_path / "gen", {n: noise_clip(50 + i, 3) for i, n in enumerate(CAPTIONS)})
    (copy / "c03.wav").rename(copy / "c99.wav")
    with pytest.raises(PairingError, match="c03"):
        run({"ref": folders["ref"], "gen": copy})
    found = run({"ref": folders["ref"], "gen": copy}, strict=False)
    assert found.pairing["missing_generated"] == ["c03"]
    assert found.results[0].n_scored == N - 1


def test_one_changed_sample_or_another_checkpoint_changes_numbers_in_spite_of_the_cache(folders, tmp_path):
    clips = {n: noise_clip(50 + i, 3) for i, n in enumerate(CAPTIONS)}
    copy = {"ref": folders["ref"], "gen": write_folder(tmp_path / "gen", clips)}
    cache = tmp_path / "cache"
    before = run(copy, cache_dir=cache)
    again = run(copy, cache_dir=cache)
    assert again.to_json() == before.to_json()
    clips["c00"][100] += 0.5
    write_folder(tmp_path / "gen", clips)
    after = run(copy, cache_dir=cache)
    for metric in METRICS:
        assert after.value(metric) != before.value(metric)
    assert after.provenance["generated"] != before.provenance["generated"]

    class Other(BandEmbedder):
        def _features(self, row):
            return {name: value * 2 for name, value in super()._features(row).items()}

    other = run(copy, cache_dir=cache, embedders=judges(Other(version="2")))
    assert other.value("fad") == pytest.approx(4 * after.value("fad"), rel=1e-4)
    assert other.provenance["embedders"] != after.provenance["embedders"]


def test_a_failed_clip_counts_as_failed_for_every_metric(folders, tmp_path):
    clips = {n: noise_clip(50 + i, 3) for i, n in enumerate(CAPTIONS)}
    copy = write_folder(tmp_path / "gen", clips)
    (copy / "c05.wav").write_bytes(b"broken")
    found = run({"ref": folders["ref"], "gen": copy}, metrics=(*METRICS, "level", "silence"))
    assert {(row.n_scored, row.n_failed) for row in found.results if row.metric != "text_collapse"} == {(N - 1, 1)}
    assert str(copy / "c05.wav") in found.failures["c05"]
    assert f"failed: 1: cannot be read as audio (Format not recognised.)\n  {copy / 'c05.wav'}" in found.table()


def test_a_failed_reference_takes_its_clip_along(folders, tmp_path):
    clips = {n: noise_clip(i, 1) for i, n in enumerate(CAPTIONS)}
    copy = write_folder(tmp_path / "ref", clips)
    (copy / "c05.wav").write_bytes(b"broken")
    found = run({"ref": copy, "gen": folders["gen"]}, metrics=("fad", "kl"), captions=None)
    assert found.failures["c05"].startswith("reference ")
    assert found.results[0].n_scored == N - 1


def test_nothing_to_score_is_an_error(folders, tmp_path):
    silent = write_folder(tmp_path / "gen", dict.fromkeys(CAPTIONS, np.zeros(0, np.float32)))
    with pytest.raises(AudioError, match=r"none of 12 clips could be scored; the first: .*c00"):
        run({"ref": folders["ref"], "gen": silent})


def test_one_clip_has_values_where_defined_and_nan_elsewhere_never_zero(folders, tmp_path):
    one = {side: write_folder(tmp_path / side, {"c00": noise_clip(i, 1)}) for i, side in enumerate(("ref", "gen"))}
    found = run(one, metrics=("fad", "kl", "clap", "level"), captions={"c00": "x"})
    assert found.value("kl") > 0
    row = next(r for r in found.results if r.metric == "kl")
    assert math.isnan(row.low)
    assert math.isnan(row.high)
    with pytest.raises(ValueError, match=r"cannot be computed .kad: 1 clip; it takes at least 2"):
        run(one, metrics=("kad",), captions=None)


def test_metrics_that_inputs_do_not_allow(folders):
    found = run(folders, metrics=None, captions=None)
    assert found.not_computed["clap"] == "no captions given"
    assert "not computed: clap (no captions given)" in found.table()
    with pytest.raises(ValueError, match="cannot be computed .clap: no captions given"):
        run(folders, metrics=["fad", "clap"], captions=None)
    alone = evaluate(
        None, folders["gen"], preset="testbed", embedders=judges(), window_s=1.0, cache_dir=None, metrics=["level"]
    )
    assert alone.value("level") == pytest.approx(-20, abs=1.5)
    short = run(folders, generated="ref", metrics=None)
    one_window, no_labels = "clips of one window", "no labels given"
    assert short.not_computed == {
        "consistency": one_window, "repetition": one_window, "hit_rate": no_labels, "exact_set_rate": no_labels,
    }  # fmt: skip


def test_floors_stand_where_nothing_was_generated(folders):
    found = run(folders, floors=True)
    floors = {row.metric: row for row in found.floors}
    frames = features(folders["ref"], 0, "frames")
    by_value = np.lexsort(frames[:, 0].T[::-1])
    half = np.isin(np.arange(N), by_value[np.random.default_rng(0).permutation(N)[: N // 2]])
    expected = frechet_distance(frames[half].reshape(-1, 8), frames[~half].reshape(-1, 8))
    assert floors["floor_fad_halves"].value == pytest.approx(expected, rel=1e-5)
    audio, text = features(folders["ref"], 0, "embedding"), BandEmbedder().embed_text(list(CAPTIONS.values()))
    assert floors["floor_clap_reference"].value == pytest.approx(clap_per_clip(audio, text).mean(), rel=1e-5)
    shifts = range(1, N)
    shuffled = np.mean([clap_per_clip(audio, np.roll(text, k, axis=0)) for k in shifts])
    assert floors["floor_clap_shuffled_captions"].value == pytest.approx(shuffled, rel=1e-5)
    logits = features(folders["ref"], 0, "logits")
    assert floors["floor_kl_shuffled_references"].value == pytest.approx(
        np.mean([kl_divergence(logits, np.roll(logits, k, axis=0)) for k in shifts]), rel=1e-5
    )
    assert set(floors) >= {"floor_fd_halves", "floor_kad_halves"}
    assert "floor_clap_reference_16khz" not in floors, "an 8 kHz embedder hears nothing above 8 kHz"


@pytest.mark.parametrize("n", [12, 40])
def test_floors_do_not_depend_on_what_the_files_are_called(tmp_path, n):
    clips = {f"{kind}_{take}": noise_clip(4 * kind + take, 1, colour=kind / 11) for kind in range(n // 4)
             for take in range(4)}  # fmt: skip
    order = np.random.default_rng(0).permutation(n)
    names = {
        "class_take": list(clips),
        "take_class": ["_".join(reversed(name.split("_"))) for name in clips],
        "random": [f"{number:03}" for number in order],
    }
    floors = []
    for label, called in names.items():
        folder = write_folder(tmp_path / label, dict(zip(called, clips.values(), strict=True)))
        captions = {name: f"kind {old[0]}" for name, old in zip(called, clips, strict=True)}
        metrics = ("fad", "fd", "kad", "kl", "kl_bernoulli", "clap")
        options = {"preset": "testbed", "embedders": judges(), "window_s": 1.0, "cache_dir": None, "metrics": metrics}
        floors.append({row.metric: row.value for row in evaluate(folder, folder, captions, **options).floors})
    assert len(floors[0]) == 7
    assert floors[1] == pytest.approx(floors[0], rel=1e-9)
    assert floors[2] == pytest.approx(floors[0], rel=1e-9)


def test_an_embedder_that_hears_above_eight_kilohertz_gets_a_band_limit_floor(folders):
    class Wide(BandEmbedder):
        sample_rate = 48_000

    found = run(folders, floors=True, metrics=("clap", "fad"), embedders=judges(Wide()))
    assert any(row.metric == "floor_clap_reference_16khz" for row in found.floors)


def test_a_collapsed_text_encoder_is_reported(folders, caplog):
    class Collapsed(BandEmbedder):
        def embed_text(self, captions):
            return np.ones((len(captions), 8), np.float32) + 0.01 * super().embed_text(captions)

    found = run(folders, embedders=judges(Collapsed()), metrics=("clap",))
    row = next(r for r in found.results if r.metric == "text_collapse")
    assert row.value > 0.99
    assert row.details["collapsed"]
    assert "CLAP says nothing" in caplog.text


def test_the_collapse_check_compares_captions_that_differ(folders, caplog):
    class Constant(BandEmbedder):
        def embed_text(self, captions):
            return np.ones((len(captions), 8), np.float32)

    twice = {**CAPTIONS, "c01": CAPTIONS["c00"]}
    for captions, n in ((CAPTIONS, N), (twice, N - 1)):
        found = run(folders, embedders=judges(Constant()), metrics=("clap",), captions=captions)
        row = next(r for r in found.results if r.metric == "text_collapse")
        assert row.value == pytest.approx(1.0, abs=1e-9)
        assert (row.n_scored, row.details) == (n, {"collapsed": True})
    assert "CLAP says nothing" in caplog.text


def test_a_text_role_without_captions_is_a_type_error(folders):
    from evaluation.embedders.levels import LevelEmbedder

    with pytest.raises(TypeError, match="levels has no embed_text"):
        run(folders, metrics=("clap",), embedders={"text": LevelEmbedder()})


def test_several_seeds_per_prompt_are_resampled_together(folders, tmp_path):
    clips = {f"{n}_{s}": noise_clip(100 * s + i, 2) for i, n in enumerate(CAPTIONS) for s in (0, 1)}
    seeds = {"ref": folders["ref"], "gen": write_folder(tmp_path / "gen", clips)}
    found = run(seeds, id_pattern="(.*)_[0-9]+")
    row = found.results[0]
    assert (row.n_scored, row.unit) == (2 * N, "prompt")
    assert run(folders).results[0].unit == "clip"


def test_pairs_of_seeds_of_one_prompt_do_not_raise_the_kernel_distance(folders, tmp_path):
    names = [f"{n}_{s}" for n in CAPTIONS for s in (0, 1, 2)]
    clips = {n: noise_clip(i, 1, colour=(i // 3) / N) for i, n in enumerate(names)}
    seeds = {"ref": folders["ref"], "gen": write_folder(tmp_path / "gen", clips)}
    found = run(seeds, metrics=("kad",), captions=None, id_pattern="(.*)_[0-9]+")
    generated = np.stack([row["embedding"] for row in BandEmbedder().embed([clips[n] for n in names])])
    sets = features(folders["ref"], 0, "embedding"), generated
    prompts = np.repeat(np.arange(N), 3)
    assert found.value("kad") == pytest.approx(kernel_audio_distance(*sets, generated_clips=prompts), rel=1e-5)
    assert kernel_audio_distance(*sets) > found.value("kad") + 0.5, "what counting them would add"
    left_out = [kernel_audio_distance(sets[0], sets[1][prompts != p], generated_clips=prompts[prompts != p],
                                      bandwidth=found.results[0].details["bandwidth"]) for p in range(N)]  # fmt: skip
    bounds = jackknife_bounds(found.value("kad"), left_out, 0.95)
    assert (found.results[0].low, found.results[0].high) == pytest.approx(bounds, rel=1e-4)


def test_no_clip_changes_its_split_in_the_jackknife_of_the_inception_score(folders):
    found = run(
        folders, generated="ref", metrics=("is",), captions=None, preset=replace(PRESETS["testbed"], is_splits=3)
    )
    logits, numbers = features(folders["ref"], 0, "logits"), split_numbers(N, 3)
    rows = np.column_stack([numbers, logits])
    left_out = [mean_of_splits(np.delete(rows, clip, axis=0)) for clip in range(N)]
    row = found.results[0]
    assert row.value == pytest.approx(mean_of_splits(rows), rel=1e-5)
    low, high = jackknife_bounds(row.value, left_out, 0.95)
    assert low < 1, "no inception score is"
    assert (row.low, row.high) == pytest.approx((1, high), rel=1e-4)


def test_per_clip_values_average_to_the_headline(folders):
    found = run(folders)
    for metric in ("kl", "clap"):
        assert np.mean([row[metric] for row in found.per_clip.values()]) == pytest.approx(found.value(metric), rel=1e-9)


def test_long_form_metrics_in_the_table(folders, tmp_path):
    looping = {n: np.tile(noise_clip(i, 1), 3) for i, n in enumerate(CAPTIONS)}
    looped = run({"ref": folders["ref"], "gen": write_folder(tmp_path / "loop", looping)}, metrics=None)
    assert looped.value("repetition") == pytest.approx(1.0, abs=1e-9)
    assert looped.value("consistency") == pytest.approx(0.0, abs=1e-9)
    assert looped.value("silence") == 0.0
    assert run(folders, metrics=None).value("repetition") < 1.0


def test_pooled_fad_uses_the_frames_of_one_window(folders):
    found = run(folders, metrics=("fad_pooled",))
    assert found.value("fad_pooled") > 0
    tiled_reference = run(folders, generated="ref", reference="ref", metrics=("fad",))
    assert tiled_reference.value("fad") == pytest.approx(0.0, abs=1e-9)


def test_fad_infinity_needs_many_clips(folders, tmp_path):
    names = [f"d{i:03}" for i in range(64)]
    many = {
        side: write_folder(tmp_path / side, {n: noise_clip(s + i, 1) for i, n in enumerate(names)})
        for side, s in (("ref", 0), ("gen", 500))
    }
    found = run(many, metrics=("fad", "fad_infinity"), captions=None)
    row = next(r for r in found.results if r.metric == "fad_infinity")
    assert row.value < found.value("fad"), "extrapolation removes the bias of a finite N"
    assert row.details["variant"] == "joint"
    assert (row.n_scored, row.unit) == (64, "clip")
    with pytest.raises(ValueError, match="different sizes"):
        run(folders, metrics=("fad_infinity",), captions=None)


def test_fad_infinity_draws_prompts_with_all_of_their_seeds(tmp_path):
    names = [f"d{i:02}" for i in range(64)]
    sides = {
        "ref": {n: noise_clip(i, 1) for i, n in enumerate(names)},
        "gen": {f"{n}_{s}": noise_clip(500 + 2 * i + s, 1, colour=i / 64) for i, n in enumerate(names) for s in (0, 1)},
    }
    two = {side: write_folder(tmp_path / side, clips) for side, clips in sides.items()}
    found = run(two, metrics=("fad_infinity",), captions=None, id_pattern="(.*)_[0-9]+")
    frames = {
        side: np.concatenate([row["frames"] for row in BandEmbedder().embed(list(clips.values()))])
        for side, clips in sides.items()
    }
    expected = fad_infinity_interval(
        frames["ref"], frames["gen"], seed=0,
        reference_clips=np.repeat(np.arange(64), 10), generated_clips=np.repeat(np.arange(64), 20),
    ).interval  # fmt: skip
    row = found.results[0]
    assert (row.value, row.low, row.high) == pytest.approx(expected[:3], rel=1e-4)
    assert (row.n_scored, row.unit) == (128, "prompt")


def test_random_crops_are_scored_per_seed_without_a_drift(folders):
    preset = PRESETS["litefocus"].with_window(1.0)
    found = run(folders, preset=preset, window_s=None)
    row = next(r for r in found.results if r.metric == "fad")
    assert row.details["n_seeds"] == 5
    assert row.details["sd_over_seeds"] > 0
    assert not any(r.metric.endswith("_drift") or r.window >= 0 for r in found.results)
    assert run(folders, preset=preset, window_s=None).to_json() == found.to_json()


def test_stable_audio_pools_logits_and_reverses_the_direction(folders):
    preset = PRESETS["stable-audio"].with_window(1.0)
    found = run(folders, preset=preset, window_s=None, metrics=("kl",))
    import soundfile

    from evaluation.audio.io import set_level

    def mean_logits(folder):
        rows = []
        for name in CAPTIONS:
            samples = set_level(soundfile.read(folder / f"{name}.wav", dtype="float32")[0], "peak")
            starts = range(0, len(samples) - 7999, 4000)
            rows.append(
                np.mean([r["logits"] for r in BandEmbedder().embed([samples[s : s + 8000] for s in starts])], 0)
            )
        return np.stack(rows)

    expected = kl_divergence(
        mean_logits(folders["ref"]), mean_logits(folders["gen"]), direction="generated_to_reference", eps=1e-6
    )
    assert found.value("kl") == pytest.approx(expected, rel=1e-4)


def test_whole_clips_of_any_length_in_the_audioldm_preset(folders, tmp_path):
    clips = {n: noise_clip(50 + i, 2 + i % 3) for i, n in enumerate(CAPTIONS)}
    uneven = {"ref": folders["ref"], "gen": write_folder(tmp_path / "gen", clips)}
    found = run(uneven, preset="audioldm", window_s=None, metrics=("fad", "kl"), captions=None)
    assert found.provenance["windows"] == 1
    assert found.value("fad") > 0


def folder_score(scorer, name, folder, references, names=CAPTIONS):
    clips = [Clip(n, folder / f"{n}.wav", n, CAPTIONS[n]) for n in names]
    return score_folder(scorer, name, clips, {n: references / f"{n}.wav" for n in CAPTIONS})


def test_comparisons_take_the_common_clips_and_refuse_unlike_scores(folders):
    scorer = make_scorer("testbed", metrics=("kl",), embedders=judges(), window_s=1.0, cache_dir=None)
    dense = folder_score(scorer, "dense", folders["gen"], folders["ref"])
    fewer = folder_score(scorer, "sparse", folders["bad"], folders["ref"], list(CAPTIONS)[:8])
    row = compare(dense, fewer)[0]
    assert (row.n_scored, row.n_failed, row.baseline) == (8, 4, "dense")
    per_clip = dense.per_clip(), fewer.per_clip()
    expected = np.mean([per_clip[1][n]["kl"] - per_clip[0][n]["kl"] for n in list(CAPTIONS)[:8]])
    assert row.value == pytest.approx(expected, rel=1e-9)
    other = make_scorer("testbed", metrics=("kl",), embedders=judges(BandEmbedder("2")), window_s=1.0, cache_dir=None)
    with pytest.raises(ValueError, match="differ in embedders"):
        compare(dense, folder_score(other, "other", folders["gen"], folders["ref"]))
    with pytest.raises(ValueError, match="differ in references"):
        compare(dense, folder_score(scorer, "other", folders["gen"], folders["bad"]))
    rest = folder_score(scorer, "rest", folders["gen"], folders["ref"], list(CAPTIONS)[8:])
    with pytest.raises(ValueError, match="dense and|no clip in common"):
        compare(fewer, rest)
    short = folder_score(scorer, "short", folders["ref"], folders["ref"])
    with pytest.raises(ValueError, match="compare equal durations"):
        compare(dense, short)


def test_a_metric_that_only_one_folder_has_is_not_compared(folders):
    one = make_scorer("testbed", metrics=("level",), embedders=judges(), window_s=1.0, cache_dir=None)
    assert compare(
        folder_score(one, "a", folders["gen"], folders["ref"]),
        folder_score(make_scorer("testbed", metrics=("level", "silence"), window_s=1.0, cache_dir=None), "b",
                     folders["gen"], folders["ref"]),
    )[0].metric == "level"  # fmt: skip


def test_result_files_hold_everything_and_undefined_is_null(folders, tmp_path):
    found = run(folders, floors=True, baseline=folders["bad"])
    as_json, as_csv = found.write(tmp_path / "out")
    data = json.loads(as_json.read_text())
    assert data["results"][0]["metric"] == "fad"
    assert data["floors"][0]["low"] is None
    assert data["provenance"]["embedders"]["classifier"].startswith("bands ")
    rows = as_csv.read_text().splitlines()
    assert len(rows) == 1 + len(found.results) + len(found.floors) + len(found.differences)
    assert as_json.name == f"{file_name_of(folders['gen'])}.json"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {as_json.name, as_csv.name}
    with pytest.raises(KeyError, match="nothing"):
        found.value("nothing")
