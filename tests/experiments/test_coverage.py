"""Measured coverage: each interval equals an independent one, and the measure finds what is known of it."""

from dataclasses import replace

import numpy as np
import pytest
from listen_material import run_record
from quality_material import DENSE, LITE, difference, value
from scipy import stats

from evaluation.metrics.fad import frechet_distance
from evaluation.metrics.kad import FixedReference, kernel_audio_distance
from evaluation.statistics.bootstrap import deal_groups, jackknife_interval
from evaluation.statistics.student import student_interval
from experiments.coverage import means
from experiments.coverage.command import CoverageSettings, write
from experiments.coverage.committed import covered, loss_differences, score_differences
from experiments.coverage.distances import (
    INTERVALS,
    distance_coverage,
    fad_sample,
    interval_bounds,
    kad_sample,
    made_references,
    made_sets,
)
from experiments.coverage.means import bca, coverage, percentile, resampling_weights, student, studentised
from experiments.coverage.populations import committed_losses, distributions, of_differences
from experiments.records import ProbeLossRecord, append_record
from experiments.records.run import Run
from experiments.system.settings import parse_settings

SAMPLE = np.random.default_rng(3).exponential(1.0, (1, 24))


def test_intervals_are_those_of_other_implementations(monkeypatch):
    monkeypatch.setattr(means, "RESAMPLES", 20_000)
    weights = resampling_weights(24, np.random.default_rng(0))
    low, high = student(SAMPLE, weights)
    assert (low[0], high[0]) == pytest.approx(tuple(stats.ttest_1samp(SAMPLE[0], 0).confidence_interval(0.95)))
    assert (low[0], high[0]) == pytest.approx(student_interval(SAMPLE[0])[1:3])
    for ours, name in ((percentile, "percentile"), (bca, "BCa")):
        other = stats.bootstrap(SAMPLE, np.mean, n_resamples=20_000, method=name, rng=np.random.default_rng(1))
        low, high = ours(SAMPLE, weights)
        assert (low[0], high[0]) == pytest.approx(tuple(other.confidence_interval), abs=0.02)
    # Of a skewed sample the studentised interval reaches further to the side of the tail than Student's.
    low, high = studentised(SAMPLE, weights)
    assert high[0] > student(SAMPLE, weights)[1][0] > low[0] > student(SAMPLE, weights)[0][0] - 0.2


def test_student_t_covers_normal_means_and_the_percentile_bootstrap_of_six_does_not():
    normal = next(distributions())
    rng = np.random.default_rng(0)
    found = coverage(normal.sample(rng, 2000, 6, 1), normal.mean, rng)
    assert found["student t"][0] == pytest.approx(0.95, abs=0.015)
    assert found["percentile"][0] == pytest.approx(0.86, abs=0.03)
    assert found["student t"][1] == 1.0


def test_samples_of_equal_values_have_no_interval():
    rng = np.random.default_rng(0)
    samples = np.concatenate([np.zeros((30, 8)), rng.standard_normal((10, 8))])
    assert coverage(samples, 0.0, rng)["student t"][1] == 0.25


@pytest.mark.parametrize("population", list(distributions()), ids=lambda population: population.name)
def test_made_populations_have_the_mean_that_they_say(population):
    sample = population.sample(np.random.default_rng(0), 200, 500, 3)
    assert sample.shape == (200, 500)
    assert sample.mean() == pytest.approx(population.mean, abs=0.01)


def test_committed_differences_are_drawn_by_prompt():
    values = {f"p{p}_{s}": float(10 * p + s) for p in range(4) for s in range(3)}
    population = of_differences("x", values)
    assert population.mean == pytest.approx(16.0)
    drawn = population.sample(np.random.default_rng(0), 50, 64, 3)
    assert set(np.unique(drawn)) == {1.0, 11.0, 21.0, 31.0}
    one = population.sample(np.random.default_rng(0), 50, 64, 1)
    assert set(np.unique(one)) == {10.0 * p + s for p in range(4) for s in range(3)}


def test_values_that_are_no_numbers_and_seeds_that_some_prompts_lack_are_refused():
    for values in ({"a_0": 1.0, "b_0": np.nan}, {"a_0": 1.0, "a_1": 1.0, "b_0": 1.0}):
        with pytest.raises(ValueError, match="^x: accepted are finite values of as many seeds of every prompt"):
            of_differences("x", values)


def test_losses_without_those_of_dense_are_refused(tmp_path):
    append_record(tmp_path, ProbeLossRecord("p", "litefocus", 20.48, 500, 0, None, ["a", "b"], [1.0, 2.0]))
    with pytest.raises(ValueError, match="no loss of litefocus at 20.48 s, t = 500, shares its clips and noise with"):
        list(committed_losses(tmp_path, "litefocus", 20.48))


def test_committed_losses_are_paired_by_clip_over_the_noise_draws_of_both(tmp_path):
    for method, seed, losses in (("dense", 0, [1.0, 2.0]), ("dense", 1, [3.0, 4.0]), ("litefocus", 0, [2.0, 5.0])):
        append_record(tmp_path, ProbeLossRecord("start", method, 20.48, 500, seed, None, ["a", "b"], losses))
    append_record(tmp_path, ProbeLossRecord("start", "litefocus", 40.96, 700, 0, None, ["a", "b"], [9.0, 9.0]))
    (population,) = committed_losses(tmp_path, "litefocus", 20.48)
    assert population.name == f"{tmp_path.name}: loss at 20.48 s, t = 500"
    assert (population.mean, population.seeds) == (pytest.approx(400 / 3), 1), "draw 1 is of dense alone"
    drawn = np.unique(population.sample(np.random.default_rng(0), 50, 64, 1))
    assert drawn == pytest.approx([200 / 3, 200]), "1 and 3 in per cent of dense's mean, 1.5"


def scored_run(differences, metric="clap"):
    """Dense and LiteFocus with these differences, prompt by prompt."""
    values = {DENSE: np.zeros(len(differences)), LITE: np.array(differences)}
    records = [run_record([f"p{number}" for number in range(len(differences))], [10.0])]
    for method, of in values.items():
        per_clip = {f"p{number}_0": float(v) for number, v in enumerate(of)}
        record = value(method, metric, float(of.mean()), details={"per_clip": per_clip}, n_scored=len(of))
        records.append(replace(record, condition=method))
    details = {"baseline_condition": DENSE}
    mean = float(values[LITE].mean())
    paired = difference(LITE, DENSE, mean, name=metric, details=details, n_scored=len(differences))
    return Run([*records, replace(paired, condition=LITE)])


def test_every_committed_difference_is_drawn_from_its_own_clips():
    one_prompt_differs = [1.0] + [0.0] * 63
    ((metric, population),) = score_differences(scored_run(one_prompt_differs))
    assert metric == "clap"
    assert (population.prompts, population.seeds, population.mean) == (64, 1, pytest.approx(1 / 64))
    assert population.name == f"{LITE} to {DENSE} at 10 s"
    # 64 draws hold that prompt in 63% of samples, and an interval of those without it does not exist.
    rng = np.random.default_rng(0)
    assert covered(population, 64, 1, 500, rng) == 1.0
    assert list(score_differences(scored_run(one_prompt_differs, "fad"))) == [], "a distance has no clips' values"


def test_an_outlier_that_samples_may_miss_is_covered_too_seldom_at_64_and_not_at_192():
    values = np.random.default_rng(0).normal(0, 0.001, 64)
    values[0] = 1.0
    ((_, population),) = score_differences(scored_run(values))
    rng = np.random.default_rng(0)
    assert covered(population, 64, 1, 1000, rng) == pytest.approx(1 - (63 / 64) ** 64, abs=0.05)
    assert covered(population, 192, 1, 1000, rng) > 0.93


def test_losses_are_compared_to_dense_and_to_litefocus():
    records = [
        ProbeLossRecord("p", method, 20.48, 500, 0, None, ["a", "b"], losses)
        for method, losses in (("dense", [1.0, 3.0]), ("litefocus", [1.0, 2.0]), ("focus_only", [2.0, 2.0]))
    ]
    found = {population.name: population.mean for _, population in loss_differences(Run(records))}
    assert found == {
        "litefocus to dense, t = 500 at 20.48 s": pytest.approx(-25.0),
        "focus_only to dense, t = 500 at 20.48 s": pytest.approx(0.0),
        "focus_only to litefocus, t = 500 at 20.48 s": pytest.approx(25.0),
    }


def test_made_embeddings_are_paired():
    first, second = made_sets("equal", 500, 2, np.random.default_rng(0))
    assert first.shape == (1000, 64)
    assert 0.3 < np.corrcoef(first[:, 0], second[:, 0])[0, 1] < 0.6


@pytest.mark.parametrize("distance", ["FAD", "KAD"])
def test_intervals_of_distances_are_those_that_scores_get(distance):
    """The jackknife of a distance and of a difference equal evaluation's own, which recomputes the statistic."""
    reference = made_references(np.random.default_rng(0))
    sets = made_sets("different", 24, 1, np.random.default_rng(1))
    prompts, groups = np.arange(24), deal_groups([24], 12, 3)[0]
    fixed = FixedReference(reference)

    def of(rows):
        if distance == "FAD":
            return frechet_distance(reference, rows)
        return kernel_audio_distance(reference, rows, bandwidth=fixed.bandwidth)

    samples = [
        fad_sample(reference, rows, groups, prompts) if distance == "FAD" else kad_sample(fixed, rows, groups, prompts)
        for rows in sets
    ]
    found = list(interval_bounds(*samples, [str(number) for number in prompts]))
    alone = jackknife_interval(of, sets[1], seed=3, groups=12)
    paired = jackknife_interval(lambda one, two: of(two) - of(one), *sets, seed=3, groups=12)
    assert found[0] == pytest.approx((alone.low, alone.high))
    assert found[1] == pytest.approx((paired.low, paired.high))
    assert len(found) == (3 if distance == "FAD" else 2)


@pytest.mark.parametrize(("distance", "count"), [("FAD", 3), ("KAD", 2)])
def test_the_coverage_of_distances_is_measured_by_prompt(distance, count):
    found = distance_coverage(distance, "different", 12, 2, 60, np.random.default_rng(0))
    assert list(found) == list(INTERVALS[:count])
    assert all(0.85 < coverage <= 1.0 and 0.8 < width < 2.0 for coverage, width in found.values())


def test_settings():
    assert parse_settings(CoverageSettings, ["repetitions=5"]).repetitions == 5
    with pytest.raises(ValueError, match="got 'clips=5'; accepted"):
        parse_settings(CoverageSettings, ["clips=5"])
    with pytest.raises(ValueError, match="give repetitions from 2"):
        write(CoverageSettings(repetitions=1))
