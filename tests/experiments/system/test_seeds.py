"""Numbered draws differ by seed and by number, and seed 0 draws what number alone would."""

import torch

from experiments.stages.probes import clip_noise
from experiments.system.seeds import numbered_generator


def draw(generator):
    return torch.randn(8, generator=generator)


def test_draws_differ_by_seed_and_by_number():
    draws = [tuple(draw(numbered_generator(seed, number)).tolist()) for seed in range(4) for number in range(16)]
    assert len(set(draws)) == len(draws)


def test_seed_zero_is_the_number_alone():
    assert torch.equal(draw(numbered_generator(0, 7)), draw(torch.Generator().manual_seed(7)))


def test_another_seed_gives_other_noise_and_other_batches():
    assert not torch.equal(clip_noise((1, 8, 1), 3, 0), clip_noise((1, 8, 1), 3, 1))
    assert not torch.equal(draw(numbered_generator(0, 5)), draw(numbered_generator(1, 5)))
