"""The probes against closed forms and against the pipeline's own arithmetic."""

import math

import numpy as np
import pytest
import torch
from diffusers import AudioLDM2Pipeline

from experiments.stages.probes import (
    METHODS,
    ProbeClips,
    attention_structure,
    clip_noise,
    condition,
    denoising_loss,
    lite_focus_method,
    uniform_attention,
)
from experiments.testbed.models.text import corpus_captions, make_text_parts
from experiments.testbed.models.unet import make_unet, self_attentions
from experiments.testbed.training.train_unet import make_scheduler


def clips(batch: int = 2, frames: int = 16) -> ProbeClips:
    generator = torch.Generator().manual_seed(0)
    text = {
        "encoder_hidden_states": torch.randn(batch, 8, 64, generator=generator),
        "encoder_hidden_states_1": torch.randn(batch, 10, 64, generator=generator),
        "encoder_attention_mask_1": torch.ones(batch, 10, dtype=torch.long),
    }
    return ProbeClips(torch.randn(batch, 8, frames, 16, generator=generator), text)


def with_uniform_scores() -> torch.nn.Module:
    unet = make_unet().eval()
    with torch.no_grad():
        for attention in self_attentions(unet):
            attention.to_q.weight.zero_()
    return unet


def test_loss_is_the_mean_squared_error_of_the_velocity() -> None:
    unet, scheduler, real = make_unet().eval(), make_scheduler(), clips()
    loss = denoising_loss(unet, scheduler, real, 600, METHODS["dense"], seed=5)
    for row in range(2):
        noise = clip_noise(real.latents.shape[1:], row, 5)[None]
        alpha = scheduler.alphas_cumprod[600]
        clean = real.latents[row : row + 1]
        one = {name: x[row : row + 1] for name, x in real.condition.items()}
        with torch.no_grad():
            predicted = unet(alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, 600, **one).sample
        expected = ((predicted - (alpha.sqrt() * noise - (1 - alpha).sqrt() * clean)) ** 2).mean()
        assert loss[row] == pytest.approx(float(expected), rel=1e-4)


def test_loss_does_not_depend_on_the_batch_or_leave_a_patch() -> None:
    unet, scheduler, real = make_unet().eval(), make_scheduler(), clips(3)
    before = {name: type(p) for name, p in unet.attn_processors.items()}
    together = denoising_loss(unet, scheduler, real, 500, METHODS["focus_only"], batch=3)
    one_by_one = denoising_loss(unet, scheduler, real, 500, METHODS["focus_only"], batch=1)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4)
    assert {name: type(p) for name, p in unet.attn_processors.items()} == before


def test_uniform_attention_changes_nothing_where_scores_are_equal() -> None:
    unet, scheduler, real = with_uniform_scores(), make_scheduler(), clips()
    dense = denoising_loss(unet, scheduler, real, 500, METHODS["dense"])
    np.testing.assert_allclose(denoising_loss(unet, scheduler, real, 500, uniform_attention), dense, rtol=1e-5)
    assert abs(denoising_loss(unet, scheduler, real, 500, METHODS["deleted"]) - dense).max() > 1e-6


def test_structure_of_equal_scores_is_uniform() -> None:
    for site in attention_structure(with_uniform_scores(), make_scheduler(), clips(), 500, frames_per_second=4.0):
        assert site.frames == 8
        assert site.same_frequency == pytest.approx(1 / 8, rel=1e-5)
        assert site.entropy_gap_nat == pytest.approx(0.0, abs=1e-4)
        np.testing.assert_allclose(site.frequency_mass, site.frequency_uniform, rtol=1e-4)
        np.testing.assert_allclose(site.time_mass, site.time_uniform, rtol=1e-4)
        np.testing.assert_allclose(site.joint_over_uniform(), np.ones((4, 8)), rtol=1e-4)
        # |dt| > 4 frames of 8: 2 x (3 + 2 + 1) of 64 pairs, an eighth of it in the own bin.
        assert site.far_same_frequency == pytest.approx(12 / 64 / 8, rel=1e-4)


def test_structure_matches_weights_computed_from_the_whole_matrix() -> None:
    unet, scheduler, real = make_unet(gain=6.0).eval(), make_scheduler(), clips(1)
    attention = unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1
    seen: list[torch.Tensor] = []
    handle = attention.register_forward_pre_hook(lambda module, args, kwargs: seen.append(args[0]), with_kwargs=True)
    first = attention_structure(unet, scheduler, real, 700)[0]
    handle.remove()
    tokens = seen[0]
    query, key = (
        p(tokens).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for p in (attention.to_q, attention.to_k)
    )
    weights = (query @ key.transpose(-1, -2) * attention.scale).softmax(-1).mean((0, 1)).detach()
    bins = torch.arange(len(weights)) % 8
    same = (weights * (bins[:, None] == bins[None])).sum(1).mean()
    off_by_two = (weights * ((bins[:, None] - bins[None]).abs() == 2)).sum(1).mean()
    assert first.same_frequency == pytest.approx(float(same), rel=1e-4)
    assert first.frequency_mass[2] == pytest.approx(float(off_by_two), rel=1e-4)
    assert sum(first.time_mass) == pytest.approx(1.0, rel=1e-5)
    frames = torch.arange(len(weights)) // 8
    offset = (frames[:, None] - frames[None]).abs()
    near = (weights * ((bins[:, None] == bins[None]) & (offset >= 2) & (offset < 4))).sum(1).mean()
    assert first.joint_mass[2][0] == pytest.approx(float(near), rel=1e-4)
    np.testing.assert_allclose(np.sum(first.joint_mass, axis=0), first.frequency_mass, rtol=1e-9)
    assert 0.0 < first.entropy_gap_nat < math.log(64)


def test_fresh_keys_change_litefocus_and_the_same_seed_repeats() -> None:
    unet, scheduler, real = make_unet(gain=6.0).eval(), make_scheduler(), clips()
    spread = [denoising_loss(unet, scheduler, real, 500, lite_focus_method(seed=seed)) for seed in (0, 1, 0)]
    np.testing.assert_array_equal(spread[0], spread[2])
    assert abs(spread[0] - spread[1]).max() > 0.0


def test_longer_noise_starts_with_the_shorter_one() -> None:
    short, long = clip_noise(torch.Size((8, 10, 16)), 3, 0), clip_noise(torch.Size((8, 40, 16)), 3, 0)
    assert torch.equal(long[:, :10], short)
    assert not torch.equal(short, clip_noise(torch.Size((8, 10, 16)), 4, 0))


def test_condition_of_a_pipeline_does_not_depend_on_the_other_captions() -> None:
    pipe = AudioLDM2Pipeline.__new__(AudioLDM2Pipeline)
    for name, part in vars(make_text_parts(corpus_captions(500))).items():
        object.__setattr__(pipe, name, part.eval() if isinstance(part, torch.nn.Module) else part)
    unet = make_unet().eval()
    object.__setattr__(pipe, "unet", unet)
    captions = ["a dog barks", "the sound of a dog barking at a slow pace while rain is falling in the distance"]
    together, alone = condition(pipe, captions), condition(pipe, captions[:1])
    length = alone["encoder_hidden_states_1"].shape[1]
    assert torch.equal(together["encoder_attention_mask_1"][0].nonzero().flatten(), torch.arange(length))
    latents = torch.randn(1, 8, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = [
            unet(latents, 500, **{name: x[:1] for name, x in inputs.items()}).sample for inputs in (together, alone)
        ]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


def test_condition_names_what_it_accepts() -> None:
    with pytest.raises(TypeError, match="AudioLDM2"):
        condition(object(), ["a dog barks"])
