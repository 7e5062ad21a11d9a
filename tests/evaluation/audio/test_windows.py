"""Window protocols: what each sees of a clip that degrades, and what it leaves constant."""

import subprocess
import sys

import numpy as np
import pytest

from evaluation.audio.io import TooShortAudioError
from evaluation.audio.windows import (
    aligned_windows,
    edge_crop,
    pooled_rows,
    random_crop,
)
from evaluation.metrics.clap_score import clap_per_clip, window_clap_scores
from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.kl import kl_divergence, kl_per_clip
from evaluation.scoring.intervals import Measured, summarise

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


def numbers(statistic, windows):
    """Results of `summarise` by name; those of single windows have their number behind it."""
    ids = tuple(f"clip {number}" for number in range(len(windows)))
    results = summarise(Measured("fad", ids, ids, windows, statistic, False), "strict", 0, 0)
    return {result.metric + (f"_{result.window}" if result.window >= 0 else ""): result for result in results}


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
    short = embed(SHORT)[:, 0]
    divergences = np.stack([kl_per_clip(REFERENCE[:60], windows[:, k]) for k in range(8)], axis=1)
    for statistic, rows, expected in (
        (lambda rows, _: frechet_distance(REFERENCE, rows), windows, frechet_distance(REFERENCE, short)),
        (None, divergences, kl_divergence(REFERENCE[:60], short)),
    ):
        found = numbers(statistic, rows)
        assert found.pop("fad_drift").value == pytest.approx(0, abs=1e-9)
        assert found.pop("fad_slope").value == pytest.approx(0, abs=1e-9)
        assert len(found) == 9  # the headline and eight windows
        np.testing.assert_allclose([result.value for result in found.values()], expected, atol=1e-9)
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
    found = numbers(lambda rows, _: frechet_distance(REFERENCE, rows), embed(broken))
    curve = [found[f"fad_{k}"].value for k in range(8)]
    np.testing.assert_allclose(curve[:4], curve[0], atol=1e-9)
    assert min(curve[4:]) > 2 * curve[0]
    assert found["fad_drift"].low > 1
    assert found["fad_slope"].low > 0
    assert (found["fad_drift"].n_scored, found["fad_drift"].unit) == (60, "clip")


def test_random_crop_is_the_same_in_every_process_and_at_every_rate():
    code = (
        "import numpy as np; from evaluation.audio.windows import random_crop\n"
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


def test_each_clip_draws_its_own_rows():
    """One draw for all clips would take the same frames of every clip."""
    clips = np.repeat([f"clip {n}" for n in range(12)], 80)
    offsets = pooled_rows(clips, 10, seed=0).reshape(12, 10) - 80 * np.arange(12)[:, None]
    assert len({tuple(row) for row in offsets.tolist()}) == 12
