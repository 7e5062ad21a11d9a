"""From files to windows to features: cuts, preprocessing, failures, and what invalidates the cache."""

import numpy as np
import pytest
import soundfile
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.embedding.cache import EmbeddingCache
from evaluation.embedding.embed import EmbeddedSet, embed_captions, embed_files
from evaluation.embedding.preprocessing import Preprocessing, band_limited, cut_windows, prepare

RATE = 8000


def files(folder):
    return {path.stem: path for path in sorted(folder.iterdir())}


@pytest.fixture
def clips(tmp_path):
    return write_folder(tmp_path / "gen", {f"c{i}": noise_clip(i, 4) for i in range(3)})


def embed(paths, cache=None, embedder=None, **options):
    options = {"window_s": 2.0, **options}
    return embed_files(paths, embedder or BandEmbedder(), Preprocessing(**options), cache or EmbeddingCache(None))


def test_aligned_windows_are_embedded_in_order(clips):
    found = embed(files(clips))
    assert found.clip_ids == ("c0", "c1", "c2")
    samples = noise_clip(1, 4)
    for window in (0, 1):
        expected = BandEmbedder().embed([samples[window * 16_000 : (window + 1) * 16_000]])[0]
        np.testing.assert_allclose(found.features[1]["embedding"][window], expected["embedding"], rtol=1e-5)
    assert found.stack("embedding").shape == (3, 2, 8)
    rows, numbers = found.first_windows("frames")
    assert rows.shape == (60, 8)
    assert numbers.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert found.first_windows("embedding")[0].shape == (3, 8)


@pytest.mark.parametrize(
    ("seconds", "starts"), [(10.0, [0.0]), (10.24, [0.0, 0.24]), (20.0, [0, 5, 10]), (80.0, list(range(0, 75, 5)))]
)
def test_overlapping_windows_are_those_of_stable_audio_metrics(seconds, starts):
    ramp = np.arange(round(seconds * 100), dtype=np.float32)
    windows = cut_windows(ramp, 100, "c", Preprocessing(cut="overlapping"))
    assert [window[0] for window in windows] == [round(start * 100) for start in starts]
    assert {len(window) for window in windows} == {1000}


@pytest.mark.parametrize(("cut", "first"), [("whole", 0), ("first", 0), ("last", 3000)])
def test_single_windows(cut, first):
    windows = cut_windows(np.arange(4000.0), 1000, "c", Preprocessing(cut=cut, window_s=1.0))
    assert len(windows) == 1
    assert windows[0][0] == first
    assert len(windows[0]) == (4000 if cut == "whole" else 1000)


def test_random_windows_follow_seed_and_clip_alone():
    ramp = np.arange(4000.0)
    start = {
        (seed, clip): cut_windows(ramp, 1000, clip, Preprocessing(cut="random", window_s=1.0, seed=seed))[0][0]
        for seed in (0, 1)
        for clip in ("a", "b")
    }
    assert start == {(0, "a"): start[0, "a"], (0, "b"): start[0, "b"], (1, "a"): start[1, "a"], (1, "b"): start[1, "b"]}
    assert len(set(start.values())) == 4


def test_unknown_cut():
    with pytest.raises(ValueError, match="cut='middle'; give whole, aligned"):
        cut_windows(np.zeros(4000), 1000, "c", Preprocessing(cut="middle", window_s=1.0))


def test_short_clips_fail_unless_allowed(tmp_path):
    folder = write_folder(tmp_path / "gen", {"long": noise_clip(0, 2), "short": noise_clip(1, 1)})
    found = embed(files(folder))
    assert found.clip_ids == ("long",)
    assert found.failures[0].clip_id == "short"
    assert found.failures[0].reason == f"{folder / 'short.wav'}: lasts 1.000 s; a window takes 2 s"
    kept = embed(files(folder), allow_short=True)
    assert kept.short == ("short",)
    assert kept.features[1]["frames"].shape == (1, 10, 8)
    with pytest.raises(ValueError, match="all clips must have equal length"):
        kept.stack("frames")
    assert kept.select(["short"]).short == ("short",)
    overlapping = embed(files(folder), cut="overlapping")
    assert [failure.clip_id for failure in overlapping.failures] == ["short"]


def test_an_embedding_that_is_not_finite_is_a_failure_and_never_cached(tmp_path):
    class Undefined(BandEmbedder):
        def _features(self, row):
            with np.errstate(divide="ignore", invalid="ignore"):
                return {
                    name: value / np.float32(np.abs(row).max() > 0) for name, value in super()._features(row).items()
                }

    clips = {"a": noise_clip(0, 2), "b": np.zeros(16_000, np.float32), "c": noise_clip(1, 2)}
    folder, cache = write_folder(tmp_path / "gen", clips), EmbeddingCache(tmp_path / "cache")
    for _ in range(2):
        found = embed(files(folder), cache, Undefined())
        assert found.clip_ids == ("a", "c")
        assert found.failures == (("b", f"{folder / 'b.wav'}: bands gives nan or inf"),)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2


def test_a_caption_that_gives_nan_is_named(tmp_path):
    class Undefined(BandEmbedder):
        def embed_text(self, captions):
            return np.stack([np.full(8, np.nan if caption == "rain" else 1.0) for caption in captions])

    with pytest.raises(ValueError, match="bands gives nan or inf for the caption 'rain'"):
        embed_captions(["dog", "rain"], Undefined(), EmbeddingCache(tmp_path))


def test_too_short_for_the_embedder_is_a_named_failure(tmp_path):
    folder = write_folder(tmp_path / "gen", {"tiny": noise_clip(0, 0.05)})
    found = embed(files(folder), cut="whole")
    assert found.failures[0].reason.endswith("tiny.wav: lasts 0.050 s; bands needs at least 0.100 s")


def test_broken_files_are_named_and_the_others_scored(clips):
    (clips / "c0.wav").write_bytes(b"not audio")
    soundfile.write(clips / "c1.wav", np.full(32_000, np.nan, np.float32), RATE, subtype="FLOAT")
    paths = {**files(clips), "gone": clips / "gone.wav"}
    found = embed(paths)
    assert found.clip_ids == ("c2",)
    reasons = dict(found.failures)
    assert set(reasons) == {"c0", "c1", "gone"}
    assert str(clips / "c0.wav") in reasons["c0"]
    assert "32000 nan or inf" in reasons["c1"]
    assert "no such audio file" in reasons["gone"]


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("evaluation.embedding.preprocessing.load_audio", MemoryError()),
        ("evaluation.embedding.preprocessing.load_audio", OSError(5, "Input/output error")),
        ("evaluation.embedding.preprocessing.resample", ValueError("ratio")),
        ("evaluation.embedding.embed.sha256_file", PermissionError(13, "Permission denied")),
    ],
)
def test_whatever_goes_wrong_while_one_file_is_read_is_its_failure(clips, monkeypatch, where, error):
    import importlib

    module, name = where.rsplit(".", 1)
    whole = getattr(importlib.import_module(module), name)
    left = [error]

    def once(*args, **options):
        try:
            fault = left.pop()
        except IndexError:
            return whole(*args, **options)
        raise fault

    monkeypatch.setattr(where, once)
    found = embed(files(clips))
    (failure,) = found.failures  # Of whichever file was first: several are read at once.
    assert found.clip_ids == tuple(name for name in files(clips) if name != failure.clip_id)
    assert failure.reason.startswith(f"{clips / failure.clip_id}.wav: cannot be read (")
    assert type(error).__name__ in failure.reason


def test_windows_that_an_embedder_cannot_take_are_a_configuration_error(clips):
    with pytest.raises(ValueError, match="window_s=0.05; bands takes at least 0.100 s"):
        embed(files(clips), window_s=0.05)
    embedder = BandEmbedder()
    embedder.max_samples = 8000
    with pytest.raises(ValueError, match="and at most 1 s"):
        embed(files(clips), embedder=embedder)
    with pytest.raises(ValueError, match="a whole clip of 4 s is too long for bands"):
        embed(files(clips), embedder=embedder, cut="whole")


def prepared(path, **options):
    return prepare(path, path.stem, BandEmbedder(), Preprocessing(**{"cut": "whole", **options}))[0]


def test_preprocessing_steps(tmp_path):
    left, right = noise_clip(0, 1) + 0.1, noise_clip(1, 1)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(prepared(path), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(prepared(path, mono="first"), left)
    assert abs(prepared(path, remove_dc=True).mean()) < 1e-7
    assert np.abs(prepared(path, level="peak")).max() == pytest.approx(10 ** (-1 / 20), abs=1e-6)
    padded = prepared(path, pad_to_s=1.5)
    assert len(padded) == 12_000
    assert (padded[8000:] == 0).all()
    assert len(prepared(path, duration_s=0.5, window_s=0.5)) == 4000


def test_trimming_never_pads(tmp_path):
    folder = write_folder(tmp_path / "gen", {"c": noise_clip(0, 3)})
    found = embed(files(folder), duration_s=4.0)
    assert "lasts 3.000 s; at least 4 s needed" in found.failures[0].reason
    kept = embed(files(folder), duration_s=4.0, window_s=3.5, allow_short=True, cut="first")
    assert kept.short == ("c",)


@pytest.mark.parametrize(("seconds", "left"), [(1.5, 1.5), (5.0, 2.0), (10.24, 2.0)])
def test_a_duration_below_the_window_trims_every_longer_clip(tmp_path, seconds, left):
    folder = write_folder(tmp_path / "gen", {"c": noise_clip(0, seconds)})
    options = {"duration_s": 2.0, "window_s": 10.0, "allow_short": True, "cut": "overlapping"}
    assert len(prepared(folder / "c.wav", **options)) == left * RATE


def test_a_band_limit_empties_the_band_above(tmp_path):
    t = np.arange(RATE) / RATE
    folder = write_folder(tmp_path, {"c": (np.sin(2 * np.pi * 3000 * t) + np.sin(2 * np.pi * 500 * t)).astype("f4")})
    spectrum = np.abs(np.fft.rfft(prepared(folder / "c.wav")[2000:6000]))
    limited = prepare(folder / "c.wav", "c", BandEmbedder(), band_limited(Preprocessing(cut="whole"), 4000))[0]
    after = np.abs(np.fft.rfft(limited[2000:6000]))
    assert after[1500] < 1e-4 * spectrum[1500]
    assert after[250] == pytest.approx(spectrum[250], rel=1e-3)


def test_a_second_run_comes_from_the_cache_and_is_identical(clips, tmp_path):
    cache, embedder = EmbeddingCache(tmp_path / "cache"), BandEmbedder()
    first = embed(files(clips), cache, embedder)
    assert embedder.calls == 6
    second = embed(files(clips), cache, embedder)
    assert embedder.calls == 6
    for a, b in zip(first.features, second.features, strict=True):
        np.testing.assert_array_equal(a["embedding"], b["embedding"])


def test_renaming_a_file_costs_nothing(clips, tmp_path):
    cache, embedder = EmbeddingCache(tmp_path / "cache"), BandEmbedder()
    embed(files(clips), cache, embedder)
    (clips / "c0.wav").rename(clips / "x.wav")
    assert embed(files(clips), cache, embedder).clip_ids == ("c1", "c2", "x")
    assert embedder.calls == 6


def test_what_changes_the_result_misses_the_cache(clips, tmp_path):
    cache, embedder = EmbeddingCache(tmp_path / "cache"), BandEmbedder()
    one = {"c0": clips / "c0.wav"}
    embed(one, cache, embedder)
    for change in ({"window_s": 1.0}, {"level": "peak"}, {"cut": "first"}, {"cut": "random"}, {"duration_s": 2.0}):
        before = embedder.calls
        embed(one, cache, embedder, **change)
        assert embedder.calls > before, change
    before = embedder.calls
    embed(one, cache, embedder, seed=7)
    assert embedder.calls == before, "a seed that draws nothing is no change"
    other = BandEmbedder(version="2")
    embed(one, cache, other)
    assert other.calls == 2
    samples = noise_clip(0, 4)
    samples[5] += 2**-10
    write_folder(clips, {"c0": samples})
    before = embedder.calls
    embed(one, cache, embedder)
    assert embedder.calls == before + 2, "one changed sample"
    write_folder(clips, {"c0": samples}, rate=16_000)
    before = embedder.calls
    embed(one, cache, embedder)
    assert embedder.calls == before + 1, "the same samples at another rate"


def test_a_random_window_is_cached_per_clip(clips, tmp_path):
    (clips / "same.wav").write_bytes((clips / "c0.wav").read_bytes())
    cache, embedder = EmbeddingCache(tmp_path / "cache"), BandEmbedder()
    one = embed({"c0": clips / "c0.wav"}, cache, embedder, cut="random")
    other = embed({"same": clips / "same.wav"}, cache, embedder, cut="random")
    assert embedder.calls == 2
    assert not np.array_equal(one.features[0]["embedding"], other.features[0]["embedding"])


def test_captions_are_embedded_once_each(tmp_path):
    class Counting(BandEmbedder):
        texts = ()

        def embed_text(self, captions):
            self.texts = (*self.texts, *captions)
            return super().embed_text(captions)

    cache, embedder = EmbeddingCache(tmp_path), Counting()
    rows = embed_captions(["a", "b", "a"], embedder, cache)
    assert embedder.texts == ("a", "b")
    np.testing.assert_array_equal(rows, BandEmbedder().embed_text(["a", "b", "a"]))
    np.testing.assert_array_equal(embed_captions(["b"], embedder, cache), rows[1:2])
    assert embedder.texts == ("a", "b")


def test_selected_clips_keep_the_order_that_was_asked_for():
    """Sorted ids would put seed 10 before seed 2, and every caption beside another clip from there on."""
    ids = ("a_10", "a_2", "a_1")
    whole = EmbeddedSet(ids, tuple({"embedding": np.full((1, 2), float(n))} for n in range(3)))
    chosen = whole.select(("a_2", "a_10", "a_1"))
    assert chosen.clip_ids == ("a_2", "a_10", "a_1")
    assert [features["embedding"][0, 0] for features in chosen.features] == [1.0, 0.0, 2.0]
