"""Arrays that are not plain real numbers: one ValueError that says what came, in every function that takes any."""

from functools import partial

import numpy as np
import pytest
import torch

from evaluation.audio.io import check_audio
from evaluation.metrics.clap_score import clap_score, text_collapse
from evaluation.metrics.fad import Moments, frechet_distance
from evaluation.metrics.fad_infinity import fad_infinity
from evaluation.metrics.kad import kernel_audio_distance, median_bandwidth
from evaluation.metrics.kl import bernoulli_kl_per_clip, kl_divergence, windowed_kl_per_clip
from evaluation.metrics.longform import consistency, repetition
from evaluation.statistics.arrays import real_array
from evaluation.statistics.bootstrap import bootstrap_interval, jackknife_interval
from evaluation.statistics.permutation import paired_permutation_p_value

GOOD = np.random.default_rng(0).normal(size=(8, 3, 4))
BAD = {
    "object": lambda rows: rows.astype(object),
    "text": lambda rows: rows.astype(str),
    "complex": lambda rows: rows + 1j,
    "dates": lambda rows: np.zeros(rows.shape, "datetime64[s]"),
    "masked": lambda rows: np.ma.masked_array(rows, rows > 1),
    "bfloat16": lambda rows: torch.tensor(rows).bfloat16(),
    "gradient": lambda rows: torch.tensor(rows, requires_grad=True),
    "ragged": lambda rows: [list(rows[0]), list(rows[1][:1])],
}
OF_ROWS = {
    "fad": lambda x: frechet_distance(GOOD[:, 0], x),
    "fad reference": lambda x: frechet_distance(x, GOOD[:, 0]),
    "fad infinity": lambda x: fad_infinity(GOOD[:, 0], x, seed=0),
    "kad": lambda x: kernel_audio_distance(GOOD[:, 0], x),
    "bandwidth": median_bandwidth,
    "kl": lambda x: kl_divergence(GOOD[:, 0], x),
    "bernoulli kl": lambda x: bernoulli_kl_per_clip(x, GOOD[:, 0]),
    "clap": lambda x: clap_score(GOOD[:, 0], x),
    "collapse": text_collapse,
    "bootstrap": partial(bootstrap_interval, np.mean, seed=0),
    "jackknife": partial(jackknife_interval, np.mean, seed=0),
    "permutation": lambda x: paired_permutation_p_value(np.mean, GOOD[:, 0], x, seed=0, permutations=3),
    "samples": lambda x: check_audio(x, 16_000),
}
OF_WINDOWS = {
    "consistency": consistency,
    "repetition": repetition,
    "windowed kl": lambda x: windowed_kl_per_clip(GOOD[:, 0], x),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", [*OF_ROWS, *OF_WINDOWS])
def test_what_is_no_array_of_real_numbers_is_named(name, kind):
    rows = GOOD if name in OF_WINDOWS else GOOD[:, 0]
    function = {**OF_ROWS, **OF_WINDOWS}[name]
    with pytest.raises(ValueError, match=r"has dtype|is a masked array|is no array of numbers \(") as caught:
        function(BAD[kind](rows))
    assert "\n" not in str(caught.value)


def test_moments_are_checked_too():
    exact = Moments(np.zeros(4), np.eye(4), 10)
    with pytest.raises(ValueError, match="reference has dtype complex128"):
        frechet_distance(exact._replace(covariance=np.eye(4) + 0j), exact)


def test_plain_arrays_lists_and_tensors_pass_unchanged():
    rows = GOOD[:, 0].astype(np.float32)
    for same in (rows, torch.from_numpy(rows), rows.tolist(), np.ma.masked_array(rows)):
        np.testing.assert_array_equal(real_array(same, "rows", np.float32), rows)
    assert real_array(rows, "rows") is rows
