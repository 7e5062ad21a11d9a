"""Window protocols: what each sees of a clip that degrades, and what it leaves constant."""

import subprocess
import sys

import numpy as np
import pytest

from evaluation.audio import TooShortAudioError
from evaluation.clap_score import clap_per_clip, clap_score, window_clap_scores
from evaluation.fad import frechet_distance
from evaluation.kl import kl_divergence, kl_per_clip
from evaluation.windows import (
    aligned_windows,
    edge_crop,
    pooled_rows,
    profile,
    profile_interval,
    random_crop,
    require_equal_n,
    summarise_seeds,
)

RATE = 1000


def band_levels(windows):
    """A small embedding, (..., T) to (..., 8): log power in eight bands."""
    power = np.abs(np.fft.rfft(windows, axis=-1)) ** 2
    return np.log(np.stack([band.mean(-1) for band in np.array_split(power, 8, axis=-1)], axis=-1) + 1e-3)


def clip(seed, seconds=10):
    """Coloured noise whose colour depends on the seed."""
    generator = np.random.default_rng(seed)
    noise = np.fft.rfft(generator.standard_normal(RATE * seconds))
    tilt = np.interp(np.linspace(0, 1, len(noise)), np.linspace(0, 1, 5), generator.uniform(0.2, 2, 5))
    return np.fft.irfft(noise * tilt)


def embed(clips, window_s=10.0):
    return np.stack([band_levels(aligned_windows(c[None], RATE, window_s)[:, 0]) for c in clips])


SHORT = [clip(seed) for seed in range(60)]
REFERENCE = band_levels(np.stack([clip(seed) for seed in range(100, 200)]))


def test_windows_are_aligned_whole_and_complete():
    samples = np.arange(2 * 10_240).reshape(2, 10_240)
    windows = aligned_windows(samples, RATE, 5.12)
    assert windows.shape == (2, 2, 5120)
    np.testing.assert_array_equal(windows[1], samples[:, 5120:])
    assert aligned_windows(samples, RATE).shape == (1, 2, 10_000)  # "10 s" that came as 10.24 s: one window
    np.testing.assert_array_equal(edge_crop(samples, RATE, 5.12, where="first"), samples[:, :5120])
    np.testing.assert_array_equal(edge_crop(samples, RATE, 5.0, where="last"), samples[:, 5240:])


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: aligned_windows(x, RATE),
        lambda x: edge_crop(x, RATE, where="last"),
        lambda x: random_crop(x, RATE, seed=0, clip_id="a"),
    ],
)
def test_less_than_a_window_is_refused(cut):
    with pytest.raises(TooShortAudioError, match=r"lasts 9\.999 s; a window takes 10 s"):
        cut(np.zeros((1, 9999)))


def test_bad_window_options_are_named():
    with pytest.raises(ValueError, match="holds no sample"):
        aligned_windows(np.zeros((1, 10)), RATE, 0.0)
    with pytest.raises(ValueError, match="'first' or 'last'"):
        edge_crop(np.zeros((1, 10_000)), RATE, where="middle")


def test_tiled_clips_have_no_drift_and_score_as_the_short_ones():
    windows = embed([np.tile(c, 8) for c in SHORT])
    assert windows.shape == (60, 8, 8)
    for statistic, reference in ((frechet_distance, REFERENCE), (kl_divergence, REFERENCE[:60])):
        result = profile(statistic, reference, windows)
        short = statistic(reference, embed(SHORT)[:, 0])
        np.testing.assert_allclose(result.curve, short, atol=1e-9)
        assert result.drift == pytest.approx(0, abs=1e-9)
        assert result.slope == pytest.approx(0, abs=1e-9)
        assert result.mean == pytest.approx(short, abs=1e-9)
    text = np.random.default_rng(0).standard_normal((60, 8))
    scores = window_clap_scores(windows, text)
    np.testing.assert_allclose(scores.mean, clap_per_clip(windows[:, 0], text), atol=1e-6)
    assert window_clap_scores(windows, text).mean.tobytes() == scores.mean.tobytes()


def test_noise_from_40_s_on_is_drift_and_the_first_window_does_not_see_it():
    long = [np.tile(c, 8) for c in SHORT]
    broken = [np.concatenate([c[: 40 * RATE], c[40 * RATE :] + 2 * clip(i, 40)]) for i, c in enumerate(long)]
    first = embed([edge_crop(c[None], RATE, where="first")[0] for c in broken])[:, 0]
    assert frechet_distance(REFERENCE, first) == pytest.approx(
        frechet_distance(REFERENCE, embed(SHORT)[:, 0]), abs=1e-9
    )
    result = profile_interval(frechet_distance, REFERENCE, embed(broken), paired=False, seed=0)
    curve = [interval.value for interval in result.curve]
    np.testing.assert_allclose(curve[:4], curve[0], atol=1e-9)
    assert min(curve[4:]) > 2 * curve[0]
    assert result.drift.low > 1
    assert result.slope.low > 0
    assert (result.drift.n, result.drift.unit) == (60, "clip")


def test_profile_by_hand():
    generated = np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]])  # column means 2, 3, 7
    result = profile(lambda r, g: g.mean() - r.mean(), np.array([1.0, 1.0]), generated)
    np.testing.assert_allclose(result.curve, [1, 2, 6])
    assert (result.mean, result.drift) == (3, 5)
    assert result.slope == pytest.approx(2.5, rel=1e-12)
    assert profile(lambda r, g: g.mean(), np.zeros(2), generated[:, [1, 2, 0]]).drift == -1  # last minus first
    single = profile(lambda r, g: g.mean(), np.zeros(2), generated[:, :1])
    assert single.mean == 2
    assert np.isnan([single.drift, single.slope]).all()  # one window: drift is unknown, not zero


def test_paired_profile_leaves_the_reference_of_a_clip_out_with_it():
    generator = np.random.default_rng(1)
    offsets = 10 * generator.standard_normal((80, 1))
    generated = offsets + np.array([0.0, 0.3, 0.5]) + 0.1 * generator.standard_normal((80, 3))

    def difference(reference, rows):
        return float(rows.mean() - reference.mean())

    paired = profile_interval(difference, offsets[:, 0], generated, paired=True, seed=0)
    fixed = profile_interval(difference, offsets[:, 0], generated, paired=False, seed=0)
    assert paired.mean.value == fixed.mean.value == pytest.approx(0.8 / 3, abs=0.03)
    assert paired.mean.high - paired.mean.low < 0.1 < 2 < fixed.mean.high - fixed.mean.low
    for drift in (paired.drift, fixed.drift):  # within clips: the offsets cancel either way
        assert drift.low < 0.5 < drift.high
        assert drift.high - drift.low < 0.1
    with pytest.raises(ValueError, match="80 clips"):
        profile_interval(difference, offsets[:79, 0], generated, paired=True, seed=0)


def test_one_clip_has_a_profile_and_no_interval():
    audio, text = np.random.default_rng(2).standard_normal((1, 4, 8)), np.ones((1, 8))
    result = profile_interval(lambda t, a: clap_score(a, t), text, audio, paired=True, seed=0)
    np.testing.assert_allclose([i.value for i in result.curve], clap_per_clip(audio[0], np.repeat(text, 4, axis=0)))
    assert np.isnan([result.mean.low, result.drift.low, result.slope.high]).all()


def test_profile_needs_a_window_axis():
    with pytest.raises(ValueError, match=r"expected \(n, W, ...\)"):
        profile(kl_per_clip, np.zeros(3), np.zeros(3))


def test_random_crop_is_the_same_in_every_process_and_at_every_rate():
    code = (
        "import numpy as np; from evaluation.windows import random_crop\n"
        "print([int(random_crop(np.arange(80000)[None], 1000, seed=s, clip_id='clip_7')[0, 0]) for s in range(5)])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    here = [int(random_crop(np.arange(80_000)[None], RATE, seed=s, clip_id="clip_7")[0, 0]) for s in range(5)]
    assert printed.strip() == str(here)
    assert len(set(here)) == 5
    assert random_crop(np.arange(160_000), 2000, seed=0, clip_id="clip_7")[0] == pytest.approx(2 * here[0], abs=2)


def test_random_crop_reaches_every_offset_evenly():
    starts = [int(random_crop(np.arange(13), 10, 1.0, seed=0, clip_id=str(i))[0]) for i in range(4000)]
    np.testing.assert_allclose(np.bincount(starts) / 4000, 0.25, atol=0.03)
    assert random_crop(np.arange(10), 10, 1.0, seed=0, clip_id="a").tolist() == list(range(10))


def test_seeds_are_summarised_with_their_spread():
    assert summarise_seeds([1.0, 2.0, 3.0]) == (2.0, 1.0, 3)
    assert np.isnan(summarise_seeds([1.0]).sd)
    with pytest.raises(ValueError, match="one per seed"):
        summarise_seeds([])


def test_pooling_gives_every_clip_the_same_budget():
    clips = np.random.default_rng(3).permutation(np.repeat([f"clip_{i}" for i in range(30)], 80))
    rows = pooled_rows(clips, 10, seed=0)
    names, counts = np.unique(clips[rows], return_counts=True)
    assert len(names) == 30
    assert (counts == 10).all()
    assert len(np.unique(rows)) == 300
    np.testing.assert_array_equal(rows, pooled_rows(clips, 10, seed=0))
    assert rows.tolist() != pooled_rows(clips, 10, seed=1).tolist()
    some = np.flatnonzero(np.isin(clips, ["clip_3", "clip_9"]))
    kept = some[pooled_rows(clips[some], 10, seed=0)]
    np.testing.assert_array_equal(kept, rows[np.isin(rows, some)])  # a clip's draw ignores the other clips
    with pytest.raises(ValueError, match=r"clip 'clip_\d+' has 80 rows, fewer than the budget of 81"):
        pooled_rows(clips, 81, seed=0)


def test_without_the_budget_longer_clips_look_better_for_free():
    generator = np.random.default_rng(4)
    reference = generator.standard_normal((500, 16))
    clips = np.repeat(np.arange(50), 80)
    long = generator.standard_normal((4000, 16))  # eight times the frames, the same distribution
    free = frechet_distance(reference, long)
    budgeted = [frechet_distance(reference, long[pooled_rows(clips, 10, seed=s)]) for s in range(5)]
    short = frechet_distance(reference, generator.standard_normal((500, 16)))
    assert np.mean(budgeted) == pytest.approx(short, rel=0.2)
    assert free < 0.75 * short


def test_conditions_must_have_the_same_n():
    assert require_equal_n({"10 s": 886, "80 s": 886}) == 886
    with pytest.raises(ValueError, match=r"10 s: 886, 80 s: 885"):
        require_equal_n({"10 s": 886, "80 s": 885})
    with pytest.raises(ValueError, match="same number"):
        require_equal_n({})


def test_each_clip_draws_its_own_rows():
    """One draw for all clips would take the same frames of every clip."""
    clips = np.repeat([f"clip {n}" for n in range(12)], 80)
    offsets = pooled_rows(clips, 10, seed=0).reshape(12, 10) - 80 * np.arange(12)[:, None]
    assert len({tuple(row) for row in offsets.tolist()}) == 12
