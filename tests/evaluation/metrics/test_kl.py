"""KL divergence against published worked examples, an independent library and its own algebra."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import expit

from evaluation.metrics.kl import (
    bernoulli_kl_per_clip,
    kl_divergence,
    kl_divergence_interval,
    kl_per_clip,
    windowed_kl_per_clip,
)

P = [[0.05, 0.1, 0.2, 0.05, 0.15, 0.25, 0.08, 0.12]]
Q = [[0.3, 0.1, 0.2, 0.1, 0.1, 0.02, 0.08, 0.1]]
P3, Q3 = [[0.10, 0.40, 0.50]], [[0.80, 0.15, 0.05]]


@pytest.mark.parametrize(("p", "q", "exact", "with_eps"), [(P, Q, 0.589885, 0.589866), (P3, Q3, 1.335680, 1.335667)])
def test_worked_examples_of_stable_audio_metrics(p, q, exact, with_eps):
    assert kl_divergence(p, q, inputs="probabilities") == pytest.approx(exact, abs=5e-7)
    assert kl_divergence(p, q, inputs="probabilities", eps=1e-6) == pytest.approx(with_eps, abs=5e-7)
    assert kl_divergence(np.log(p), np.log(q)) == pytest.approx(exact, abs=5e-7)
    assert kl_divergence(np.log(p), np.log(q), eps=1e-6) == pytest.approx(with_eps, abs=5e-7)


def test_direction_names_the_distribution_that_weighs_the_sum():
    forward = kl_divergence(P, Q, inputs="probabilities")
    backward = kl_divergence(P, Q, inputs="probabilities", direction="generated_to_reference")
    assert forward == pytest.approx(scipy.stats.entropy(P[0], Q[0]), rel=1e-12)
    assert backward == pytest.approx(scipy.stats.entropy(Q[0], P[0]), rel=1e-12)
    assert forward - backward == pytest.approx(0.0923, abs=1e-4)
    eps_forward = kl_divergence(P, Q, inputs="probabilities", eps=1e-2)
    eps_backward = kl_divergence(Q, P, inputs="probabilities", eps=1e-2, direction="generated_to_reference")
    assert eps_forward == pytest.approx(eps_backward, rel=1e-14)


def test_a_distribution_has_no_divergence_from_itself_unless_eps_is_added():
    logits = np.random.default_rng(0).standard_normal((50, 527)) * 3
    assert kl_divergence(logits, logits) == 0.0
    compat = kl_per_clip(logits, logits, eps=1e-6)
    assert (compat >= -5.3e-4).all()
    assert (compat <= -4e-4).all()


def test_matches_torch_kl_div_as_audioldm_eval_calls_it():
    reference, generated = np.random.default_rng(1).standard_normal((2, 30, 527)) * 4
    p, q = torch.tensor(reference).softmax(-1), torch.tensor(generated).softmax(-1)
    peer = torch.nn.functional.kl_div((q + 1e-6).log(), p, reduction="none").sum(-1).mean().item()
    assert kl_divergence(reference, generated, eps=1e-6) == pytest.approx(peer, rel=1e-12)


def test_exact_mode_survives_logits_beyond_the_softmax_underflow():
    # p = (1, 0), q = (e^-2000, 1): the divergence is 2000 nats, where eps caps it at 13.8.
    assert kl_divergence([[1000.0, -1000.0]], [[-1000.0, 1000.0]]) == pytest.approx(2000, rel=1e-12)
    assert kl_divergence([[1000.0, -1000.0]], [[-1000.0, 1000.0]], eps=1e-6) == pytest.approx(-np.log(1e-6), rel=1e-9)
    assert kl_divergence([[0.5, 0.5]], [[1.0, 0.0]], inputs="probabilities") == np.inf
    assert kl_divergence([[1.0, 0.0]], [[0.5, 0.5]], inputs="probabilities") == pytest.approx(np.log(2), rel=1e-12)


def test_pairing_matters_and_clips_weigh_the_same():
    reference, generated = np.random.default_rng(2).standard_normal((2, 9, 20))
    per_clip = kl_per_clip(reference, generated)
    alone = [kl_divergence(reference[i : i + 1], generated[i : i + 1]) for i in range(9)]
    np.testing.assert_allclose(per_clip, alone, rtol=1e-12)
    assert kl_divergence(reference, generated) == pytest.approx(np.mean(alone), rel=1e-12)
    assert abs(kl_divergence(reference, generated[::-1]) - np.mean(alone)) > 1e-3


def test_windows_keep_their_axis_in_every_mode():
    reference, windows = np.random.default_rng(8).standard_normal((2, 3, 4, 5))
    shares = [x / x.sum(axis=-1, keepdims=True) for x in (np.exp(reference), np.exp(windows))]
    expected = scipy.stats.entropy(*shares, axis=-1)
    np.testing.assert_allclose(kl_per_clip(reference, windows), expected, rtol=1e-12)
    np.testing.assert_allclose(kl_per_clip(*shares, inputs="probabilities"), expected, rtol=1e-12)
    np.testing.assert_allclose(kl_per_clip(reference, windows, eps=1e-9), expected, rtol=1e-6)


def test_windows_average_divergences_or_logits():
    generator = np.random.default_rng(3)
    reference, windows = generator.standard_normal((6, 10)), generator.standard_normal((6, 4, 10))
    primary = windowed_kl_per_clip(reference, windows)
    for clip in range(6):
        each = [scipy.stats.entropy(np.exp(reference[clip]), np.exp(w)) for w in windows[clip]]
        assert primary[clip] == pytest.approx(np.mean(each), rel=1e-12)
    pooled = windowed_kl_per_clip(reference, windows, pooling="mean_logits")
    expected = [scipy.stats.entropy(np.exp(r), np.exp(w.mean(0))) for r, w in zip(reference, windows, strict=True)]
    np.testing.assert_allclose(pooled, expected, rtol=1e-12)
    assert (pooled < primary).all()
    single = windowed_kl_per_clip(reference, windows[:, :1], direction="generated_to_reference")
    np.testing.assert_allclose(
        single, kl_per_clip(reference, windows[:, 0], direction="generated_to_reference"), rtol=1e-14
    )


def test_bernoulli_divergence_by_hand():
    # p = 0.8, q = 0.5: 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.192745; the other way 0.5 ln(0.25 / 0.16) = 0.223144.
    p, q = [[np.log(4.0)]], [[0.0]]
    assert bernoulli_kl_per_clip(p, q) == pytest.approx([0.192745], abs=5e-7)
    assert bernoulli_kl_per_clip(p, q, direction="generated_to_reference") == pytest.approx([0.223144], abs=5e-7)
    assert bernoulli_kl_per_clip(q, p) == pytest.approx([0.223144], abs=5e-7)
    # Absence counts like presence: p = 0.2 against 0.5 is as far.
    assert bernoulli_kl_per_clip(np.negative(p), q) == pytest.approx([0.192745], abs=5e-7)
    assert bernoulli_kl_per_clip([[np.log(4.0), 0.0, np.log(4.0)]], [[0.0, 0.0, 0.0]]) == pytest.approx(
        [0.385490], abs=5e-7
    )


def test_bernoulli_divergence_is_that_of_the_joint_distribution():
    # Three independent classes have 2^3 joint outcomes; the categorical divergence over those is the sum over classes.
    first, second = np.random.default_rng(5).standard_normal((2, 3)) * 2
    outcomes = np.stack(np.meshgrid(*[[0, 1]] * 3), axis=-1).reshape(-1, 3)
    joint = [np.where(outcomes == 1, expit(row), expit(-row)).prod(axis=1) for row in (first, second)]
    assert bernoulli_kl_per_clip(first[None], second[None]) == pytest.approx([scipy.stats.entropy(*joint)], rel=1e-12)


def test_bernoulli_divergence_matches_torch_and_keeps_the_shape():
    first, second = np.random.default_rng(6).standard_normal((2, 7, 4, 28)) * 5
    one, two = (torch.distributions.Bernoulli(logits=torch.tensor(x)) for x in (first, second))
    expected = torch.distributions.kl_divergence(one, two).sum(-1).numpy()
    np.testing.assert_allclose(bernoulli_kl_per_clip(first, second), expected, rtol=1e-9)
    assert (bernoulli_kl_per_clip(first, first) == 0).all()


def test_bernoulli_divergence_survives_logits_where_sigmoids_round_to_0_and_1():
    # p = 1 - e^-50 (1 in double precision), q = e^-800 (0 even as a subnormal): 800 nats.
    assert bernoulli_kl_per_clip([[50.0]], [[-800.0]]) == pytest.approx([800], rel=1e-12)
    assert bernoulli_kl_per_clip([[-50.0]], [[800.0]]) == pytest.approx([800], rel=1e-12)
    # Both certain: e^-50 (50 - 40) + (1 - e^-50) (e^-40 - e^-50), which a difference of softplus rounds to 0 or less.
    tiny = bernoulli_kl_per_clip([[-50.0]], [[-40.0]])[0]
    assert tiny == pytest.approx(np.exp(-40.0) - 11 * np.exp(-50.0), rel=1e-9)


def test_interval_is_by_clip():
    reference, generated = np.random.default_rng(4).standard_normal((2, 200, 20))
    per_clip = kl_per_clip(reference, generated)
    interval = kl_divergence_interval(reference, generated, seed=0)
    assert interval.value == pytest.approx(per_clip.mean(), rel=1e-14)
    assert (interval.n, interval.unit) == (200, "clip")
    standard_error = per_clip.std(ddof=1) / np.sqrt(200)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert np.isnan(kl_divergence_interval(reference[:1], generated[:1], seed=0)[1:3]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl_divergence([[0.0, 1.0]], [[0.0, 1.0, 2.0]]), "expected equal shapes"),
        (lambda: kl_divergence([0.0, 1.0], [0.0, 1.0]), "expected equal shapes"),
        (lambda: kl_divergence([[0.0, np.nan]], [[0.0, 1.0]]), "reference holds nan"),
        (lambda: kl_divergence([[0.6, 0.6]], [[0.5, 0.5]], inputs="probabilities"), "sum off by 0.2"),
        (lambda: kl_divergence([[1.5, -0.5]], [[0.5, 0.5]], inputs="probabilities"), "minimum -0.5"),
        (lambda: kl_divergence(P, Q, inputs="sigmoid"), "give 'logits' or 'probabilities'"),
        (lambda: kl_divergence(P, Q, direction="both"), "reference_to_generated"),
        (lambda: bernoulli_kl_per_clip([[0.0]], [[0.0, 1.0]]), "expected equal shapes"),
        (lambda: bernoulli_kl_per_clip([[np.inf]], [[0.0]]), "reference holds nan or inf"),
        (lambda: bernoulli_kl_per_clip(P, Q, direction="forward"), "reference_to_generated"),
        (lambda: kl_divergence(P, Q, eps=0.0), "None for the exact divergence"),
        (lambda: windowed_kl_per_clip(P, Q), r"expected \(n, C\) and \(n, W, C\)"),
        (lambda: windowed_kl_per_clip(P, [Q], pooling="max"), "mean_of_windows"),
        (lambda: windowed_kl_per_clip(P, [Q], pooling="mean_logits", inputs="probabilities"), "averages logits"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
