"""Kernel audio distance against its analytic value, its definition, and its invariances."""

import numpy as np
import pytest

from evaluation.metrics.kad import (
    FixedReference,
    kernel_audio_distance,
    kernel_audio_distance_interval,
    median_bandwidth,
    resolve_bandwidth,
)


def by_definition(reference, generated, bandwidth, kernel=lambda u: np.exp(-u)):
    """Double loops over pairs."""

    def k(a, b):
        return kernel(np.sum((a - b) ** 2) / (2 * bandwidth**2))

    m, n = len(reference), len(generated)
    xx = sum(k(reference[i], reference[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(k(generated[i], generated[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    xy = sum(k(x, y) for x in reference for y in generated) / (m * n)
    return 100 * (xx + yy - 2 * xy)


def shifted_pair(seed, shift, m=500, n=400, d=8):
    generator = np.random.default_rng(seed)
    moved = np.zeros(d)
    moved[0] = shift
    return generator.standard_normal((m, d)), generator.standard_normal((n, d)) + moved


def test_mean_meets_the_analytic_value_of_shifted_gaussians():
    # 2 (s^2 / (s^2 + 2))^(d/2) (1 - exp(-a^2 / 2 (s^2 + 2))) at d = 8, s = 4, a = 0.5
    analytic = 200 * (16 / 18) ** 4 * (1 - np.exp(-0.25 / 36))
    assert analytic == pytest.approx(0.8641, abs=5e-4)
    values = [kernel_audio_distance(*shifted_pair(seed, 0.5), bandwidth=4.0) for seed in range(60)]
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - analytic) < 2 * standard_error
    assert np.std(values, ddof=1) == pytest.approx(0.21, rel=0.3)


def test_null_is_centred_on_zero_and_takes_both_signs():
    values = np.array([kernel_audio_distance(*shifted_pair(seed, 0.0), bandwidth=4.0) for seed in range(60)])
    assert abs(values.mean()) < 2 * values.std(ddof=1) / np.sqrt(len(values))
    assert 10 < (values < 0).sum() < 50
    assert values.std(ddof=1) == pytest.approx(0.057, rel=0.4)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("gaussian", lambda u: np.exp(-u)),
        ("inverse_quadratic", lambda u: 1 / (1 + u)),
        ("inverse_multiquadric", lambda u: (1 + u) ** -0.5),
    ],
)
def test_every_kernel_equals_its_definition(name, kernel):
    reference, generated = shifted_pair(0, 1.0, m=23, n=17, d=5)
    got = kernel_audio_distance(reference, generated, bandwidth=1.7, kernel=name)
    assert got == pytest.approx(by_definition(reference, generated, 1.7, kernel), rel=1e-12)


def test_blocks_do_not_show(monkeypatch):
    reference, generated = shifted_pair(1, 1.0, m=70, n=50)
    whole = kernel_audio_distance(reference, generated)
    monkeypatch.setattr("evaluation.metrics.kernels._BLOCK_ROWS", 16)
    assert kernel_audio_distance(reference, generated) == pytest.approx(whole, rel=1e-12)


def test_bandwidth_is_the_median_within_the_reference_whatever_is_scored():
    reference, generated = shifted_pair(2, 3.0, m=31, n=40)
    pairs = [np.linalg.norm(reference[i] - reference[j]) for i in range(31) for j in range(i)]
    assert median_bandwidth(reference) == pytest.approx(np.median(pairs), rel=1e-12)
    results = [kernel_audio_distance_interval(reference, g, seed=0) for g in (generated, 7 * generated)]
    assert results[0].bandwidth == results[1].bandwidth == median_bandwidth(reference)
    compat = kernel_audio_distance_interval(reference, 7 * generated, seed=0, compat="kadtk")
    assert compat.bandwidth == median_bandwidth(7 * generated)
    assert compat.interval.value != results[1].interval.value
    assert resolve_bandwidth(reference, generated, 2.5, None) == 2.5


def test_rotation_translation_scale_and_order():
    reference, generated = shifted_pair(4, 0.7, m=200, n=150)
    value = kernel_audio_distance(reference, generated)
    rotation, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((8, 8)))
    # A far origin is where the expansion of |x - y|^2 loses its digits unless the data are centred.
    moved = kernel_audio_distance(reference @ rotation + 1e4, generated @ rotation + 1e4)
    assert moved == pytest.approx(value, rel=1e-8)
    assert median_bandwidth(reference + 1e7) == pytest.approx(median_bandwidth(reference), rel=1e-8)
    assert kernel_audio_distance(5 * reference, 5 * generated) == pytest.approx(value, rel=1e-10)
    assert kernel_audio_distance(reference[::-1], generated[::-1]) == pytest.approx(value, rel=1e-12)


def test_swapping_the_sets_at_a_fixed_bandwidth_changes_nothing():
    reference, generated = shifted_pair(6, 0.7, m=60, n=45)
    forward = kernel_audio_distance(reference, generated, bandwidth=2.0)
    assert kernel_audio_distance(generated, reference, bandwidth=2.0) == pytest.approx(forward, rel=1e-12)


def test_jackknife_replicates_are_distances_without_a_group():
    reference, generated = shifted_pair(7, 0.7, m=40, n=40)
    result = kernel_audio_distance_interval(reference, generated, seed=3, groups=40, bandwidth=2.0)
    left_out = [by_definition(np.delete(reference, i, 0), np.delete(generated, i, 0), 2.0) for i in range(40)]
    error = np.sqrt(39 / 40 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    assert result.interval.value == pytest.approx(by_definition(reference, generated, 2.0), rel=1e-12)
    assert (result.interval.high - result.interval.low) / 2 == pytest.approx(2.022691 * error, rel=1e-6)


def test_interval_covers_the_analytic_value():
    analytic = 200 * (16 / 18) ** 4 * (1 - np.exp(-0.25 / 36))
    intervals = [
        kernel_audio_distance_interval(*shifted_pair(seed, 0.5, 200, 200), seed=0, bandwidth=4.0).interval
        for seed in range(100)
    ]
    covered = np.mean([i.low <= analytic <= i.high for i in intervals])
    assert 0.88 <= covered <= 1.0
    assert intervals[0].n == 200


def test_clips_and_not_windows_are_the_unit():
    generator = np.random.default_rng(8)
    clip_means = generator.standard_normal((50, 1, 4))
    windows = (clip_means + 0.05 * generator.standard_normal((50, 8, 4))).reshape(400, 4)
    clips = np.repeat(np.arange(50), 8)
    reference = generator.standard_normal((600, 4))
    by_clip = kernel_audio_distance_interval(reference, windows, seed=0, generated_clips=clips).interval
    by_row = kernel_audio_distance_interval(reference, windows, seed=0).interval
    assert by_clip.n == 50
    assert by_clip.high - by_clip.low > 1.5 * (by_row.high - by_row.low)


def test_windows_of_one_clip_are_not_compared_with_each_other():
    generator = np.random.default_rng(12)
    clips, reference_clips = generator.permutation(np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 7])), np.arange(20) // 2
    generated, reference = generator.standard_normal((28, 3)), generator.standard_normal((20, 3))

    def mean(a, b, a_clips=None, b_clips=None):
        pairs = [
            np.exp(-np.sum((x - y) ** 2) / 8)
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if a_clips is None or a_clips[i] != b_clips[j]
        ]
        return np.mean(pairs)

    expected = 100 * (
        mean(reference, reference, reference_clips, reference_clips)
        + mean(generated, generated, clips, clips)
        - 2 * mean(reference, generated)
    )
    options = {"bandwidth": 2.0, "reference_clips": reference_clips, "generated_clips": clips}
    assert kernel_audio_distance(reference, generated, **options) == pytest.approx(expected, rel=1e-12)


def test_more_windows_per_clip_do_not_raise_the_distance():
    values = {"by clip": [], "by row": []}
    for seed in range(60):
        generator = np.random.default_rng(seed)
        windows = np.repeat(generator.standard_normal((30, 4)), 8, axis=0)  # the extreme: a clip that repeats itself
        reference, clips = generator.standard_normal((60, 4)), np.repeat(np.arange(30), 8)
        values["by clip"].append(kernel_audio_distance(reference, windows, bandwidth=2.0, generated_clips=clips))
        values["by row"].append(kernel_audio_distance(reference, windows, bandwidth=2.0))
    standard_error = np.std(values["by clip"], ddof=1) / np.sqrt(60)
    assert abs(np.mean(values["by clip"])) < 2 * standard_error
    assert np.mean(values["by row"]) > 10 * standard_error


def test_one_clip_on_a_side_is_undefined():
    reference, generated = shifted_pair(11, 0.0, m=10, n=1)
    assert np.isnan(kernel_audio_distance(reference, generated, bandwidth=1.0))
    result = kernel_audio_distance_interval(reference, generated, seed=0)
    assert np.isnan([*result.interval[:3], result.bandwidth]).all()
    assert result.interval.n == 1
    one_clip = kernel_audio_distance_interval(reference, reference, seed=0, generated_clips=np.zeros(10)).interval
    assert np.isnan(one_clip[:3]).all()
    two_clips = kernel_audio_distance_interval(reference, reference, seed=0, generated_clips=np.arange(10) // 5)
    assert np.isfinite(two_clips.interval.value)
    assert np.isnan(two_clips.interval[1:3]).all()  # without one of two clips there is nothing to compare


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "positive number"),
        ({"bandwidth": 1.0, "compat": "kadtk"}, "not both"),
        ({"compat": "kid"}, "give None or 'kadtk'"),
        ({"kernel": "linear"}, "inverse_quadratic"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        kernel_audio_distance(*shifted_pair(0, 0.0, 5, 5), **options)


def test_a_collapsed_reference_has_no_bandwidth():
    with pytest.raises(ValueError, match="median distance between reference rows is 0"):
        kernel_audio_distance(np.ones((6, 3)), np.eye(3))
    with pytest.raises(ValueError, match="at least two reference rows"):
        median_bandwidth(np.ones((1, 3)))


@pytest.mark.parametrize("windows", [1, 3])
def test_a_fixed_reference_gives_the_same_distances_with_and_without_groups(windows, monkeypatch):
    monkeypatch.setattr("evaluation.metrics.kernels._BLOCK_ROWS", 16)
    generator = np.random.default_rng(5)
    reference, generated = generator.normal(size=(40, 6)), generator.normal(0.3, size=(30 * windows, 6)) + 100
    clips = np.repeat(np.arange(30), windows)
    groups = np.repeat(np.arange(30) % 7, windows)
    fixed = FixedReference(reference + 100)
    options = {"bandwidth": fixed.bandwidth}
    assert fixed.bandwidth == pytest.approx(median_bandwidth(reference), rel=1e-9)
    whole = kernel_audio_distance(reference + 100, generated, generated_clips=clips, **options)
    assert fixed.distance(generated, clips) == pytest.approx(whole, rel=1e-9)
    expected = [
        kernel_audio_distance(reference + 100, generated[groups != g], generated_clips=clips[groups != g], **options)
        for g in range(7)
    ]
    np.testing.assert_allclose(fixed.without_groups(generated, groups, clips), expected, rtol=1e-9)
    apart = kernel_audio_distance(reference + 100, generated, **options)
    assert fixed.distance(generated) == pytest.approx(apart, rel=1e-9), "the same rows, each a clip of its own"
    assert (fixed.distance(generated) == fixed.distance(generated, clips)) is (windows == 1)


def test_a_fixed_reference_of_one_clip_or_against_one_has_no_distance():
    rows = np.random.default_rng(0).normal(size=(5, 3))
    assert np.isnan(FixedReference(rows).distance(rows[:1]))
    assert np.isnan(FixedReference(rows[:1], bandwidth=1.0).distance(rows))


def test_a_bandwidth_of_very_many_rows_is_that_of_some_of_them(monkeypatch):
    rows = np.random.default_rng(1).normal(size=(900, 4))
    distances = np.linalg.norm(rows[:, None] - rows, axis=-1)[np.triu_indices(900, 1)]
    assert median_bandwidth(rows) == pytest.approx(np.median(distances), rel=1e-9)
    monkeypatch.setattr("evaluation.metrics.kad._MAX_ROWS", 300)
    assert median_bandwidth(rows) == pytest.approx(np.median(distances), rel=0.03)
    assert median_bandwidth(rows, seed=1) == median_bandwidth(rows, seed=1) != median_bandwidth(rows, seed=2)
