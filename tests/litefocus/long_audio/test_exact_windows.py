"""Exact windows in diffusers' own models: equal to the stock model, without its mask, and gone without a trace."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderSAME, UNet2DConditionModel
from diffusers.models.autoencoders import autoencoder_same
from diffusers.models.transformers import ace_step_transformer
from windowed_models import ace_step, denoise

from litefocus import disable_exact_windows, exact_windows, inject_exact_windows
from litefocus.long_audio.windows import BandMask, rebound


@pytest.fixture
def autoencoder() -> Any:
    torch.manual_seed(0)
    model = AutoencoderSAME(
        patch_size=16, encoder_channels=32, encoder_c_mults=[2], encoder_strides=[4], encoder_transformer_depths=[2],
        latent_dim=8, dim_heads=16, sliding_window=2,
    ).eval()  # fmt: skip
    return with_all_layers_at_work(model)


@pytest.fixture
def transformer() -> Any:
    return with_all_layers_at_work(ace_step())


def with_all_layers_at_work(model: Any) -> Any:
    """The classes start some layers at zero, where attention would not show in the output."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


def decode(model: Any, latents: int = 60) -> Any:
    z = torch.randn(2, 8, latents, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.decode(z).sample


@pytest.mark.parametrize(("name", "run", "count"), [("autoencoder", decode, 2), ("transformer", denoise, 1)])
def test_the_output_is_the_stock_model_s_and_no_mask_is_built(
    name: str, run: Any, count: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(name)
    stock = run(model)
    attributes = {module: set(vars(module)) for module in model.modules()}
    with exact_windows(model) as found, monkeypatch.context() as patch:
        assert found == count
        patch.setattr(torch.Tensor, "masked_fill", lambda *_: pytest.fail("a mask was built"))
        ours = run(model)
    assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()
    assert not torch.equal(ours, stock)
    assert torch.equal(run(model), stock)
    assert {module: set(vars(module)) for module in model.modules()} == attributes


@pytest.mark.parametrize("latents", [1, 2, 7, 60, 61])
def test_chunks_change_nothing_but_the_rounding(autoencoder: Any, latents: int) -> None:
    audio = torch.randn(2, 2, 60 * 64 - 5, generator=torch.Generator().manual_seed(2))
    for run in (decode, lambda model: model.encode(audio[..., : audio.shape[-1] // 16 * 16]).latents.detach()):
        stock = run(autoencoder)
        with exact_windows(autoencoder, chunk_latents=latents):
            ours = run(autoencoder)
        assert ours.shape == stock.shape
        assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()
        assert torch.equal(run(autoencoder), stock)


def test_a_chunk_s_halo_is_as_wide_as_the_layers_reach_and_no_wider(autoencoder: Any) -> None:
    """With one latent less the output would differ: what a latent gives reads as many latents to its right as that.

    To its left one less, since a latent stands at the beginning of its own segment, whose output is the rest.
    """
    z = torch.randn(1, 8, 60, generator=torch.Generator().manual_seed(1))
    touched = z.clone()
    touched[..., 30] += 1.0
    with torch.no_grad():
        change = (autoencoder.decode(touched).sample - autoencoder.decode(z).sample).abs().amax(dim=(0, 1))
    latents = change.unflatten(0, (60, -1)).amax(dim=1).nonzero().flatten().tolist()
    block = autoencoder.decoder.blocks[0]
    halo = len(block.transformers) * block.sliding_window
    assert latents == list(range(30 - halo, 30 + halo))


def test_chunks_of_no_latent_or_of_no_autoencoder_are_refused(autoencoder: Any, transformer: Any) -> None:
    with pytest.raises(ValueError, match="chunk_latents=0 for AutoencoderSAME: accepted are None and"):
        inject_exact_windows(autoencoder, chunk_latents=0)
    with pytest.raises(ValueError, match="chunk_latents=8 for AceStepTransformer1DModel"):
        inject_exact_windows(transformer, chunk_latents=8)
    assert not any("_decode" in vars(module) or "forward" in vars(module) for module in transformer.modules())


def test_the_window_matters_to_what_these_tests_compare(autoencoder: Any, transformer: Any) -> None:
    before = decode(autoencoder), denoise(transformer)
    autoencoder.decoder.blocks[0].sliding_window = 1
    transformer.register_to_config(sliding_window=2)
    for stock, narrow in zip(before, (decode(autoencoder), denoise(transformer)), strict=True):
        assert (narrow - stock).abs().max() > 1e-3 * stock.abs().max()


def test_a_pipeline_s_models_are_found_and_injecting_twice_is_injecting_once(autoencoder: Any) -> None:
    pipe = SimpleNamespace(components={"vae": autoencoder, "scheduler": object()})
    stock = decode(autoencoder)
    assert inject_exact_windows(pipe) == inject_exact_windows(pipe) == 2
    disable_exact_windows(pipe)
    disable_exact_windows(pipe)
    assert torch.equal(decode(autoencoder), stock)


def test_encoding_is_served_too(autoencoder: Any) -> None:
    audio = torch.randn(1, 2, 16 * 4 * 40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        stock = autoencoder.encode(audio).latents
        with exact_windows(autoencoder):
            ours = autoencoder.encode(audio).latents
    assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()


def test_gradients_and_checkpointing_are_the_stock_model_s(transformer: Any) -> None:
    def gradient(model: Any) -> Any:
        model.zero_grad()
        with torch.enable_grad():
            generator = torch.Generator().manual_seed(1)
            tokens = torch.randn(1, 80, 8, generator=generator)
            text = torch.randn(1, 5, 32, generator=generator)
            context = torch.randn(1, 80, 16, generator=generator)
            model(tokens, torch.tensor([0.5]), torch.tensor([0.5]), text, context).sample.square().mean().backward()
        return model.layers[0].self_attn.to_k.weight.grad.clone()

    stock = gradient(transformer)
    inject_exact_windows(transformer)
    ours = gradient(transformer)
    assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()
    transformer.train()
    transformer.enable_gradient_checkpointing()
    assert torch.equal(gradient(transformer), ours)


def test_a_forward_kept_by_offloading_is_the_one_that_changes(transformer: Any) -> None:
    stock, original = denoise(transformer), transformer.forward
    transformer._old_forward = original
    transformer.forward = lambda *args, **kwargs: transformer._old_forward(*args, **kwargs)
    wrapper = transformer.forward
    with exact_windows(transformer):
        assert transformer.forward is wrapper
        ours = denoise(transformer)
    assert not torch.equal(ours, stock)
    assert transformer._old_forward == original
    assert torch.equal(denoise(transformer), stock)


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize(
    ("twin", "name", "run", "chunk"),
    [
        (copy.deepcopy, "transformer", denoise, None),
        (pickled, "transformer", denoise, None),
        (pickled, "autoencoder", decode, 16),
    ],
)
def test_a_copy_of_a_model_with_windows_has_its_own(
    twin: Any, name: str, run: Any, chunk: int | None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(name)
    stock, attributes = run(model), {name: set(vars(module)) for name, module in model.named_modules()}
    inject_exact_windows(model, chunk_latents=chunk)
    expected, copied = run(model), twin(model)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "masked_fill", lambda *_: pytest.fail("a mask was built"))
        assert torch.equal(run(copied), expected)
    disable_exact_windows(copied)
    assert torch.equal(run(copied), stock)
    assert {name: set(vars(module)) for name, module in copied.named_modules()} == attributes
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(run(copied), stock)


@pytest.mark.parametrize("chunk", ["3", 2.5, True])
def test_chunks_of_no_whole_number_are_one_line(autoencoder: Any, chunk: Any) -> None:
    with pytest.raises(ValueError, match=f"chunk_latents={chunk!r} for AutoencoderSAME: accepted are None and"):
        inject_exact_windows(autoencoder, chunk_latents=chunk)


def test_the_modules_of_diffusers_are_left_alone(autoencoder: Any, transformer: Any) -> None:
    makers = autoencoder_same._band_mask, ace_step_transformer._create_4d_mask
    with exact_windows(autoencoder), exact_windows(transformer):
        assert (autoencoder_same._band_mask, ace_step_transformer._create_4d_mask) == makers
        other = autoencoder_same._band_mask(4, 1, torch.device("cpu"), torch.float32)
    assert other.shape == (4, 4)


def test_a_model_without_windows_or_of_another_layout_is_refused(
    monkeypatch: pytest.MonkeyPatch, autoencoder: Any
) -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    with pytest.raises(TypeError, match="UNet2DConditionModel has no windowed attention of a known layout"):
        inject_exact_windows(unet)
    block = autoencoder_same.SAMETransformerResamplingBlock
    monkeypatch.setattr(block, "_decode", lambda self, x: x)
    with pytest.raises(TypeError, match="_decode of this diffusers does not call _band_mask"):
        inject_exact_windows(autoencoder)


def test_another_attention_backend_is_refused_in_one_line() -> None:
    mask = BandMask(4, 1)
    with pytest.raises(AttributeError, match=r"no 'dtype': exact windows work with diffusers' native attention"):
        _ = mask.dtype
    with pytest.raises(TypeError, match="softmax got a BandMask"):
        torch.softmax(mask, 0)  # type: ignore[call-overload]


def test_rebinding_reaches_through_decorators_and_leaves_the_original() -> None:
    def decorated(function: Any) -> Any:
        def wrapper(x: int) -> Any:
            return function(x) + 1

        return wrapper

    @decorated
    def length(x: Any) -> Any:
        return inputs_of(x)  # noqa: F821 - a name that no module has

    twin = rebound(length, "inputs_of", lambda x: 2 * x)
    assert twin(5) == 11
    with pytest.raises(NameError):
        length(5)
    assert rebound(length, "nothing", None) is length
