"""Full layers by a window and a sample: what each query sees, and that nothing stays behind."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderSAME, StableAudio3DiTModel
from windowed_models import ace_step, denoise

from litefocus import approximate_full_layers, exact_windows
from litefocus.long_audio.full_layers import _Rule


def dense(query: Any, key: Any, value: Any, count: Any) -> Any:
    """Float64 attention in which key j counts `count[i, j]` times for query i."""
    key, value = (x.double().repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    scores = query.double() @ key.mT * query.shape[-1] ** -0.5 + count.log()
    return scores.softmax(-1) @ value


@pytest.mark.parametrize("memory", [0, 5])
def test_a_query_sees_its_window_the_sample_and_the_memory_tokens(memory: int) -> None:
    length, half_width = 200, 7
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, memory + length, 8, generator=generator)
    key, value = torch.randn(2, 2, 2, memory + length, 8, generator=generator)
    rule = _Rule(half_width, 20, memory, seed=3)
    sample = rule.sample(length)
    assert len(sample.unique()) == 20
    token = torch.arange(memory + length) - memory
    count = ((token[:, None] - token).abs() <= half_width).double()
    count[:, memory:] += torch.bincount(sample, minlength=length).double()
    count[:memory] = count[:, :memory] = 1.0
    output = rule.attend(query, key, value, enable_gqa=True)
    assert (output - dense(query, key, value, count)).abs().max() < 2e-6


def stable_audio() -> Any:
    torch.manual_seed(0)
    return StableAudio3DiTModel(
        io_channels=8, embed_dim=32, depth=2, num_heads=4, cond_token_dim=12, global_cond_dim=12,
        local_add_cond_dim=9, timestep_features_dim=16, num_memory_tokens=5,
    ).eval()  # fmt: skip


def run_stable_audio(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(
            torch.randn(2, 8, 100, generator=generator),
            torch.tensor([0.7, 0.3]),
            torch.randn(2, 6, 12, generator=generator),
            torch.randn(2, 12, generator=generator),
        ).sample


MODELS = {"ace-step": (ace_step, denoise, 2), "stable-audio": (stable_audio, run_stable_audio, 2)}


@pytest.mark.parametrize(("build", "run", "count"), MODELS.values(), ids=MODELS)
def test_a_window_over_everything_changes_nothing_and_a_narrow_one_does(build: Any, run: Any, count: int) -> None:
    model = build()
    stock = run(model)
    with approximate_full_layers(model, half_width=60) as found:
        assert found == count
        assert torch.equal(run(model), stock)
    with approximate_full_layers(model, half_width=8, sampled_keys=10):
        ours = run(model)
        assert torch.equal(run(model), ours)
    with approximate_full_layers(model, half_width=8, sampled_keys=10, seed=1):
        assert not torch.equal(run(model), ours)
    assert (ours - stock).abs().max() > 1e-4
    assert torch.equal(run(model), stock)
    assert not any("forward" in vars(module) for module in model.modules())


def test_it_works_beside_exact_windows() -> None:
    model = ace_step()
    with approximate_full_layers(model, half_width=8):
        alone = denoise(model)
        with exact_windows(model):
            both = denoise(model)
    assert (both - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_an_attention_that_it_would_not_reach_is_an_error() -> None:
    model = ace_step()
    attention = next(layer.self_attn for layer in model.layers if layer.self_attn.sliding_window is None)
    attention.set_processor(lambda attn, hidden_states, **_: hidden_states)
    with (
        approximate_full_layers(model, half_width=8),
        pytest.raises(RuntimeError, match="native attention backend alone"),
    ):
        denoise(model)


def test_what_it_does_not_serve_is_one_line() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"half_width": 0}, "half_width=0, sampled_keys=128: accepted"),
        ({"half_width": "3"}, "half_width='3', sampled_keys=128: accepted are whole numbers from 1"),
        ({"half_width": 4, "sampled_keys": 2.5}, "half_width=4, sampled_keys=2.5: accepted are whole numbers"),
        ({"half_width": 4, "seed": 2**63}, r"seed=9223372036854775808: accepted are whole numbers between -2\*\*43"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):  # noqa: SIM117
            with approximate_full_layers(ace_step(), **options):
                pass
    for seed in (2**43 - 1, 1 - 2**43):
        model = ace_step()
        with approximate_full_layers(model, half_width=4, seed=seed):
            assert denoise(model).isfinite().all()
    autoencoder = AutoencoderSAME(
        patch_size=16, encoder_channels=32, encoder_c_mults=[2], encoder_strides=[4], encoder_transformer_depths=[1],
        latent_dim=8, dim_heads=16,
    )  # fmt: skip
    with pytest.raises(TypeError, match="AutoencoderSAME has no full self-attention of a known layout"):  # noqa: SIM117
        with approximate_full_layers(autoencoder, half_width=8):
            pass
