"""Intervals and p-values: coverage on simulated data, pairing, clips as the unit, and what one clip gives."""

from functools import partial

import numpy as np
import pytest
import scipy.stats

from evaluation.metrics.fad import Moments, frechet_distance
from evaluation.statistics.bootstrap import (
    Interval,
    bootstrap_interval,
    deal_groups,
    fewest_clips,
    jackknife_interval,
    rows_by_clip,
)
from evaluation.statistics.permutation import paired_permutation_p_value


def test_rows_are_grouped_by_clip_whatever_their_order():
    grouped = rows_by_clip(["b", "a", "b", "c", "a"], 5)
    assert [g.tolist() for g in grouped] == [[1, 4], [0, 2], [3]]
    assert [g.tolist() for g in rows_by_clip(None, 3)] == [[0], [1], [2]]


def test_bootstrap_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(np.mean, generator.exponential(size=60), seed=i, resamples=400) for i in range(300)]
    assert np.mean([i.low <= 1 <= i.high for i in intervals]) == pytest.approx(0.94, abs=0.04)
    narrow = [
        bootstrap_interval(np.mean, generator.exponential(size=60), seed=i, resamples=400, confidence=0.5)
        for i in range(300)
    ]
    assert np.mean([i.low <= 1 <= i.high for i in narrow]) == pytest.approx(0.5, abs=0.08)


def test_bootstrap_meets_the_textbook_width_and_keeps_value_n_and_unit():
    samples = np.random.default_rng(1).standard_normal(500)
    interval = bootstrap_interval(np.mean, samples, seed=2, unit="prompt")
    assert isinstance(interval, Interval)
    assert interval.value == samples.mean()
    assert (interval.n, interval.unit) == (500, "prompt")
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * samples.std(ddof=1) / np.sqrt(500), rel=0.06)


def test_bootstrap_draws_whole_clips():
    generator = np.random.default_rng(3)
    clips = np.repeat(np.arange(40), 25)
    rows = np.repeat(generator.standard_normal(40), 25) + 0.01 * generator.standard_normal(1000)
    by_clip = bootstrap_interval(np.mean, rows, seed=0, clips=clips)
    by_row = bootstrap_interval(np.mean, rows, seed=0)
    assert (by_clip.n, by_row.n) == (40, 1000)
    assert (by_clip.high - by_clip.low) / (by_row.high - by_row.low) == pytest.approx(5, rel=0.15)


def test_means_are_drawn_like_any_other_statistic():
    generator = np.random.default_rng(5)
    clips = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6])
    rows = generator.standard_normal((14, 3)).astype(np.float32)
    for ids in (None, clips):
        slow, fast = (bootstrap_interval(f, rows, seed=1, clips=ids) for f in (lambda some: some.mean(), np.mean))
        np.testing.assert_allclose(fast[:3], slow[:3], rtol=1e-5, atol=1e-6)


def test_same_seed_same_bounds_and_the_global_generator_is_untouched():
    samples = np.random.default_rng(4).standard_normal(30)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = bootstrap_interval(np.mean, samples, seed=5)
    assert first == bootstrap_interval(np.mean, samples, seed=np.random.default_rng(5))
    assert first[1:3] != bootstrap_interval(np.mean, samples, seed=6)[1:3]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_one_clip_has_a_value_and_no_interval():
    for interval in (
        bootstrap_interval(np.mean, [3.0], seed=0),
        bootstrap_interval(np.mean, [3.0, 3.0], seed=0, clips=["a", "a"]),
        jackknife_interval(np.mean, [3.0], seed=0),
        jackknife_interval(lambda a, b: float(b.mean()), np.arange(9.0), [3.0], seed=0),
    ):
        assert interval.value == 3.0
        assert np.isnan([interval.low, interval.high]).all()
        assert interval.n == 1
    assert np.isnan(paired_permutation_p_value(np.mean, [1.0], [4.0], seed=0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_half_and_single_precision_are_computed_in_double(dtype):
    samples = (1000 + 0.5 * np.random.default_rng(3).standard_normal((2, 3000))).astype(dtype)
    exact = samples.astype(np.float64)
    one = bootstrap_interval(np.mean, samples[0], seed=0, resamples=50)
    assert one == bootstrap_interval(np.mean, exact[0], seed=0, resamples=50)
    two = bootstrap_interval(np.median, samples[1], seed=0, resamples=50)
    assert two == bootstrap_interval(np.median, exact[1], seed=0, resamples=50)


def test_too_few_clips_for_a_percentile_interval_have_none():
    # All six clips lie on one side of the median once in 32 times, which 95% just allows; all five do once in 16.
    assert fewest_clips(0.95) == 6
    assert fewest_clips(0.9) == 5
    assert fewest_clips(0.5) == 2
    rows = np.arange(6.0)
    clips = ["a", "b", "c", "d", "e", "e"]
    for few, enough in (
        (bootstrap_interval(np.mean, rows[:5], seed=0), bootstrap_interval(np.mean, rows, seed=0)),
        (
            bootstrap_interval(np.mean, rows, seed=0, clips=clips),
            bootstrap_interval(np.mean, rows[:5], seed=0, confidence=0.9),
        ),
    ):
        assert np.isnan([few.low, few.high]).all()
        assert np.isfinite(few.value)
        assert enough.low < enough.value < enough.high


def test_jackknife_of_a_mean_is_the_textbook_interval():
    samples = np.random.default_rng(9).standard_normal(25)
    interval = jackknife_interval(np.mean, samples, seed=0, groups=25)
    low, high = scipy.stats.t.interval(0.95, 24, samples.mean(), scipy.stats.sem(samples))
    assert interval[:3] == pytest.approx((samples.mean(), low, high), rel=1e-9)


def test_jackknife_takes_equal_sets_as_paired_and_others_as_independent():
    generator = np.random.default_rng(10)
    shared = 5 * generator.standard_normal(400)
    first, second = shared + generator.standard_normal(400), shared + generator.standard_normal(400)

    def difference(a, b):
        return float(b.mean() - a.mean())

    def width(interval):
        return (interval.high - interval.low) / (2 * scipy.stats.t.ppf(0.975, 19))

    paired = jackknife_interval(difference, first, second, seed=0)
    assert width(paired) == pytest.approx(np.std(second - first) / 20, rel=0.35)
    independent = jackknife_interval(difference, first, second[:300], seed=0)
    expected = np.sqrt(first.var() / 400 + second[:300].var() / 300)
    assert width(independent) == pytest.approx(expected, rel=0.35)
    assert independent.n == 300


def test_paired_difference_of_frechet_distances_covers_the_true_one():
    # N(0.2, I) and N(0.3, I), on the same noise, against N(0, I) in 8 dimensions: 8 * (0.09 - 0.04)
    exact, covered = Moments(np.zeros(8), np.eye(8), 10**9), []
    distance = partial(frechet_distance, exact)
    for sample in np.random.default_rng(16).standard_normal((60, 200, 8)):
        sets = (sample + 0.2, sample + 0.3)
        interval = jackknife_interval(lambda a, b: distance(b) - distance(a), *sets, seed=0)
        covered.append(interval.low <= 0.4 <= interval.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.08)


def test_infinite_values_leave_the_bounds_undefined():
    interval = bootstrap_interval(np.mean, [1.0, 2.0, np.inf], seed=0)
    assert interval.value == np.inf
    assert np.isnan([interval.low, interval.high]).all()


def test_groups_are_even_and_shared_by_sets_of_equal_length():
    first, second, third = deal_groups([50, 50, 33], 20, seed=0)
    assert first.tolist() == second.tolist()
    assert sorted(set(np.bincount(first))) == [2, 3]
    assert sorted(set(np.bincount(third))) == [1, 2]
    assert deal_groups([5, 3], 20, seed=0)[0].max() == 2


def test_paired_permutation_is_the_sign_flip_test():
    generator = np.random.default_rng(13)
    baseline = 10 * generator.standard_normal(12)
    candidate = baseline + generator.standard_normal(12) + 0.3
    exact = scipy.stats.permutation_test(
        (candidate, baseline), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    ours = paired_permutation_p_value(np.mean, baseline, candidate, seed=0, permutations=4999)
    assert ours == pytest.approx(exact, abs=0.025)
    assert 0.01 < exact < 0.5
    # With one clip per method the swap cannot change the size of the difference: every permutation ties.
    assert paired_permutation_p_value(np.mean, [0.1, 0.2], [0.3, 0.4], seed=0, clips=[0, 1], permutations=99) > 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(np.mean, [], seed=0), "at least one row"),
        (lambda: bootstrap_interval(np.mean, 3.0, seed=0), "at least one row"),
        (lambda: bootstrap_interval(np.mean, [1.0, 2.0], seed=0, clips=[1]), r"clips has shape \(1,\)"),
        (lambda: bootstrap_interval(np.mean, [1.0, 2.0], seed=0, confidence=95), "confidence=95"),
        (lambda: bootstrap_interval(np.mean, [1.0, 2.0], seed=0, resamples=0), "got 0 resamples"),
        (lambda: paired_permutation_p_value(np.mean, [1.0, 2.0], [1.0], seed=0), "pair the same clips"),
        (lambda: jackknife_interval(np.mean, seed=0), "got 0 sets"),
        (lambda: jackknife_interval(np.mean, [1.0, 2.0], seed=0, clips=[]), "one entry per set"),
        (lambda: jackknife_interval(np.mean, [1.0, 2.0], seed=0, groups=1), "at least 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_smallest_p_value_is_one_over_one_more_than_the_permutations():
    low, high = np.arange(12.0)[:, None], 1000 + np.arange(12.0)[:, None]

    # Twelve pairs have 4096 sign flips, two of which are as far apart: none of 19 draws is one of them at this seed.
    assert paired_permutation_p_value(np.mean, low, high, seed=0, permutations=19) == 1 / 20
