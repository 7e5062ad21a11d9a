"""Decoding in chunks, on the real VAE and vocoder classes, small: exact where it says so, untouched where inactive."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from litefocus.long_audio.decoding import DecodingChunks, cores, decoding_in_chunks, fade, vocoder_context

MELS = 8
PUBLISHED = {
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}
SMALL = {
    "upsample_rates": [4, 4],
    "upsample_kernel_sizes": [8, 8],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 9]],
}


def vocoder(shape: dict[str, Any]) -> Any:
    """A vocoder whose weights let the furthest input show in the output."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SpeechT5HifiGan(SpeechT5HifiGanConfig(model_in_dim=MELS, upsample_initial_channel=32, **shape))
        for module in model.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                module.reset_parameters()
    return model.eval()


def pipeline(shape: dict[str, Any] = SMALL) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 8),
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=2,
        ).eval()
    return SimpleNamespace(vae=vae, vocoder=vocoder(shape), vae_scale_factor=4)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def reach(model: Any, frame: int, frames: int, hop: int) -> tuple[int, int]:
    """Frames before and after `frame` whose input has a gradient to its samples: the receptive field, measured."""
    with torch.enable_grad():
        mel = normal(frames, MELS).double().requires_grad_()
        model.double()(mel)[frame * hop : (frame + 1) * hop].abs().sum().backward()
    assert mel.grad is not None
    touched = mel.grad.abs().sum(1).nonzero()[:, 0]
    return frame - int(touched.min()), int(touched.max()) - frame


@pytest.mark.parametrize(("shape", "hop"), [(PUBLISHED, 160), (SMALL, 16)], ids=["published", "small"])
def test_context_is_the_receptive_field(shape: dict[str, Any], hop: int) -> None:
    assert vocoder_context(vocoder(shape)) == reach(vocoder(shape), 40, 80, hop)


@pytest.mark.parametrize("shape", [PUBLISHED, SMALL], ids=["published", "small"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-14)])
@pytest.mark.parametrize("frames", [13, 24, 25, 95, 96, 97])
def test_vocoder_in_chunks_is_exact(shape: dict[str, Any], frames: int, dtype: torch.dtype, tolerance: float) -> None:
    pipe = pipeline(shape)
    pipe.vocoder.to(dtype)
    mel = normal(2, frames, MELS).to(dtype)
    whole = pipe.vocoder(mel)
    with decoding_in_chunks(pipe, DecodingChunks(beyond_frames=3, chunk_frames=3, overlap_frames=1)):
        chunked, single = pipe.vocoder(mel), pipe.vocoder(mel[0])
    assert chunked.shape == whole.shape
    assert whole.abs().max() > 1e-3
    # In double precision the furthest frame of the context, whose share is below single precision, must count too.
    assert (chunked - whole).abs().max() < tolerance * whole.abs().max()
    assert (single - whole[0]).abs().max() < tolerance * whole.abs().max()


def test_short_clips_and_afterwards_are_bit_equal_and_long_ones_are_chunked() -> None:
    pipe = pipeline()
    latents, mel = normal(1, 2, 12, 4), normal(1, 48, MELS)
    expected = pipe.vae.decode(latents).sample, pipe.vocoder(mel)
    sizes = []
    handle = pipe.vocoder.conv_pre.register_forward_hook(lambda module, args, out: sizes.append(args[0].shape[-1]))
    with decoding_in_chunks(pipe, DecodingChunks(beyond_frames=12, chunk_frames=4, overlap_frames=2)):
        assert torch.equal(pipe.vae.decode(latents).sample, expected[0])
        assert torch.equal(pipe.vocoder(mel), expected[1])
        assert sizes == [48]
        pipe.vocoder(normal(1, 160, MELS))
    assert max(sizes[1:]) == 16 + sum(vocoder_context(pipe.vocoder)) < 160
    handle.remove()
    assert torch.equal(pipe.vae.decode(latents).sample, expected[0])
    assert "decode" not in vars(pipe.vae)
    assert "forward" not in vars(pipe.vocoder)


def test_switches_turn_each_part_off() -> None:
    pipe = pipeline()
    sizes = DecodingChunks(beyond_frames=4, chunk_frames=4, overlap_frames=2, vae=False)
    with decoding_in_chunks(pipe, sizes):
        assert "decode" not in vars(pipe.vae)
        assert "forward" in vars(pipe.vocoder)
    with decoding_in_chunks(pipe, DecodingChunks(vocoder=False)):
        assert "decode" in vars(pipe.vae)
        assert "forward" not in vars(pipe.vocoder)


@pytest.mark.parametrize("frames", [9, 16, 17, 18, 19, 40])
def test_vae_chunks_of_a_local_decoder_add_up_to_the_whole(frames: int) -> None:
    # A decoder that repeats each frame four times is local, so any overlap must give the whole exactly.
    pipe = pipeline()
    latents = normal(2, 1, frames, 3)
    calls: list[int] = []

    def local(z: torch.Tensor, return_dict: bool = True) -> Any:
        calls.append(z.shape[2])
        return (z.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3),)

    pipe.vae.decode = local
    whole = local(latents)[0]
    with decoding_in_chunks(pipe, DecodingChunks(beyond_frames=8, chunk_frames=8, overlap_frames=2, vocoder=False)):
        chunked = pipe.vae.decode(latents, return_dict=False)[0]
    torch.testing.assert_close(chunked, whole)
    assert max(calls[1:]) <= 8 + 3 * 2 - 1


def test_vae_in_chunks_is_near_the_whole_and_keeps_its_type() -> None:
    pipe = pipeline()
    latents = normal(1, 2, 50, 4)
    whole = pipe.vae.decode(latents)
    with decoding_in_chunks(pipe, DecodingChunks(beyond_frames=32, chunk_frames=32, overlap_frames=16)):
        chunked = pipe.vae.decode(latents)
        assert torch.equal(pipe.vae.decode(latents, return_dict=False)[0], chunked.sample)
    assert type(chunked) is type(whole)
    assert chunked.sample.shape == whole.sample.shape
    error = (chunked.sample - whole.sample).abs().mean() / whole.sample.std()
    # Random weights: group normalisation sees other statistics in every chunk. Away from that it would be 0.
    assert 0 < error < 0.2
    hard = _hard_cut(pipe, latents)
    assert error < (hard - whole.sample).abs().mean() / whole.sample.std()


@pytest.mark.parametrize("frames", [8, 20])
def test_decode_takes_what_the_original_takes(frames: int) -> None:
    pipe = pipeline()
    latents, generator = normal(1, 2, frames, 4), torch.Generator()
    with decoding_in_chunks(pipe, DecodingChunks(beyond_frames=8, chunk_frames=8, overlap_frames=2)):
        expected = pipe.vae.decode(latents).sample
        assert torch.equal(pipe.vae.decode(z=latents, return_dict=True, generator=generator).sample, expected)
        assert torch.equal(pipe.vae.decode(latents, False, generator)[0], expected)


def _hard_cut(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """The same chunks without overlap."""
    return torch.cat([pipe.vae.decode(part).sample for part in latents.split(32, dim=2)], dim=2)


def test_fade_by_hand() -> None:
    # Core 4..8 of 12 frames, overlap 2: fades over 3..5 and 7..9, in half frames.
    weights = fade(low=2, high=10, start=4, stop=8, frames=12, overlap=2, scale=2)
    rising = [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]
    assert weights.tolist() == [*rising, *reversed(rising)]


def test_a_last_core_shorter_than_the_overlap_joins_the_one_before() -> None:
    sizes = DecodingChunks(beyond_frames=8, chunk_frames=8, overlap_frames=3)
    assert cores(16, sizes) == [(0, 8), (8, 16)]
    assert cores(18, sizes) == [(0, 8), (8, 18)]
    assert cores(19, sizes) == [(0, 8), (8, 16), (16, 19)]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"chunk_frames": 0}, "chunk_frames=0 with beyond_frames=2048: accepted is 1 <= chunk_frames"),
        ({"beyond_frames": 100}, "chunk_frames=512 with beyond_frames=100: accepted is"),
        ({"overlap_frames": 0}, "overlap_frames=0: accepted is 1 <= overlap <= 512"),
        ({"overlap_frames": 513}, "overlap_frames=513: accepted is"),
    ],
)
def test_bad_size_is_one_clear_line(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DecodingChunks(**sizes)  # type: ignore[arg-type]


def test_another_vocoder_is_named_before_anything_is_replaced() -> None:
    pipe = pipeline()
    pipe.vocoder = torch.nn.Linear(MELS, 4)
    decode = pipe.vae.decode
    with (
        pytest.raises(TypeError, match="got the vocoder Linear; decoding in chunks knows SpeechT5HifiGan"),
        decoding_in_chunks(pipe),
    ):
        pass
    assert pipe.vae.decode == decode
    with decoding_in_chunks(pipe, DecodingChunks(vocoder=False)):
        assert pipe.vae.decode != decode
