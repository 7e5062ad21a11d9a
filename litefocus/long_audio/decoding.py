"""Decoding in chunks: the memory of VAE and vocoder stays constant while the clip grows.

The vocoder is convolutions alone, so chunks with enough context are exact up to rounding. The VAE is not local (its
group normalisation and middle attention see the whole clip), so its chunks are an approximation; neighbours overlap
and fade into each other.

Shapes: B clips, C channels, T latent frames, F latent bins, M mel frames, S samples.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from litefocus.context import replaced


@dataclass(frozen=True)
class DecodingChunks:
    """Sizes in latent frames (AudioLDM 2 has 25 per second).

    Attributes:
        beyond_frames: longer clips are decoded in chunks; others as always, bit for bit.
        chunk_frames: new frames per chunk.
        overlap_frames: what the VAE decodes beyond a chunk's own frames on each side; over as many frames, centred on
            the border, two chunks fade into each other. The vocoder's context follows from its kernels.
        vae, vocoder: which of the two.

    Raises:
        ValueError: a size out of range.
    """

    beyond_frames: int = 2048
    chunk_frames: int = 512
    overlap_frames: int = 64
    vae: bool = True
    vocoder: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.chunk_frames <= self.beyond_frames:
            raise ValueError(
                f"chunk_frames={self.chunk_frames} with beyond_frames={self.beyond_frames}: "
                f"accepted is 1 <= chunk_frames <= beyond_frames"
            )
        if not 1 <= self.overlap_frames <= self.chunk_frames:
            raise ValueError(f"overlap_frames={self.overlap_frames}: accepted is 1 <= overlap <= {self.chunk_frames}")


@contextmanager
def decoding_in_chunks(pipe: Any, chunks: DecodingChunks | None = None) -> Iterator[None]:
    """A diffusers pipeline whose VAE and vocoder take long clips in chunks, inside the context.

    Args:
        pipe: an AudioLDM2, AudioLDM or MusicLDM pipeline.
        chunks: sizes; None takes the defaults.

    Raises:
        TypeError: a vocoder that is no HiFi-GAN, unless `chunks` leaves it out.
    """
    chunks = chunks or DecodingChunks()
    with ExitStack() as stack:
        if chunks.vae:
            stack.enter_context(replaced(pipe.vae, "decode", lambda decode: _vae_in_chunks(decode, chunks)))
        if chunks.vocoder:
            wrap = _vocoder_in_chunks(pipe.vocoder, chunks, int(pipe.vae_scale_factor))
            stack.enter_context(replaced(pipe.vocoder, "forward", wrap))
        yield


def vocoder_context(vocoder: Any) -> tuple[int, int]:
    """Mel frames before and after a frame that its samples depend on, from the HiFi-GAN's kernels.

    Args:
        vocoder: transformers' SpeechT5HifiGan.

    Raises:
        TypeError: another vocoder, whose reach its layers do not tell.
    """
    if not all(hasattr(vocoder, name) for name in ("conv_pre", "upsampler", "resblocks", "conv_post")):
        raise TypeError(
            f"got the vocoder {type(vocoder).__name__}; decoding in chunks knows SpeechT5HifiGan: give "
            "DecodingChunks(vocoder=False), which leaves the vocoder whole"
        )
    first, last = 0, math.prod(layer.stride[0] for layer in vocoder.upsampler) - 1
    first, last = _through(vocoder.conv_post, first, last)
    for level in reversed(range(len(vocoder.upsampler))):
        blocks = vocoder.resblocks[level * vocoder.num_kernels : (level + 1) * vocoder.num_kernels]
        reaches = [_through_block(block, first, last) for block in blocks]
        first, last = min(low for low, _ in reaches), max(high for _, high in reaches)
        first, last = _through_transposed(vocoder.upsampler[level], first, last)
    first, last = _through(vocoder.conv_pre, first, last)
    return -first, last


def _through(conv: nn.Conv1d, first: int, last: int) -> tuple[int, int]:
    """The inputs that outputs first..last of a convolution read (stride 1)."""
    start = first - int(conv.padding[0])
    return start, start + (last - first) + conv.dilation[0] * (conv.kernel_size[0] - 1)


def _through_block(block: Any, first: int, last: int) -> tuple[int, int]:
    for conv1, conv2 in zip(reversed(block.convs1), reversed(block.convs2), strict=True):
        low, high = _through(conv1, *_through(conv2, first, last))
        first, last = min(first, low), max(last, high)
    return first, last


def _through_transposed(conv: nn.ConvTranspose1d, first: int, last: int) -> tuple[int, int]:
    """Output o of a transposed convolution reads inputs (o + padding - j) / stride, j = 0 .. kernel - 1."""
    stride, padding, kernel = conv.stride[0], int(conv.padding[0]), conv.kernel_size[0]
    return -(-(first + padding - kernel + 1) // stride), (last + padding) // stride


def _vocoder_in_chunks(
    vocoder: Any, chunks: DecodingChunks, mel_per_latent: int
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    before, after = vocoder_context(vocoder)
    hop = math.prod(layer.stride[0] for layer in vocoder.upsampler)
    size = chunks.chunk_frames * mel_per_latent

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(spectrogram: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            """(B, M, mels) or (M, mels) -> (B, S) or (S,)."""
            frames = spectrogram.shape[-2]
            if frames <= chunks.beyond_frames * mel_per_latent:
                return forward(spectrogram, **kwargs)
            parts = []
            for start in range(0, frames, size):
                low, high = max(0, start - before), min(frames, start + size + after)
                wave = forward(spectrogram[..., low:high, :], **kwargs)
                # The last chunk keeps the samples that some kernels add behind the last frame.
                stop = (start + size - low) * hop if start + size < frames else None
                parts.append(wave[..., (start - low) * hop : stop])
            return torch.cat(parts, dim=-1)

        return run

    return wrap


def _vae_in_chunks(decode: Callable[..., Any], chunks: DecodingChunks) -> Callable[..., Any]:
    # Names and order are those of AutoencoderKL.decode.
    def run(z: torch.Tensor, return_dict: bool = True, *args: Any, **kwargs: Any) -> Any:
        """(B, C, T, F) -> an output whose sample is (B, 1, M, mels)."""
        frames = z.shape[2]
        if frames <= chunks.beyond_frames:
            return decode(z, return_dict, *args, **kwargs)
        sample = None
        for start, stop in cores(frames, chunks):
            low, high = max(0, start - chunks.overlap_frames), min(frames, stop + chunks.overlap_frames)
            output = decode(z[:, :, low:high], return_dict, *args, **kwargs)
            part = output[0]
            scale = part.shape[2] // (high - low)
            if sample is None:
                sample = part.new_zeros(*part.shape[:2], frames * scale, part.shape[3])
            weights = fade(low, high, start, stop, frames, chunks.overlap_frames, scale).to(part)
            sample[:, :, low * scale : high * scale].addcmul_(part, weights[:, None])
        return type(output)(sample=sample) if return_dict else (sample,)

    return run


def cores(frames: int, chunks: DecodingChunks) -> list[tuple[int, int]]:
    """(start, stop) of the chunks' own frames; a last one shorter than the overlap joins the one before."""
    starts = list(range(0, frames, chunks.chunk_frames))
    if len(starts) > 1 and frames - starts[-1] < chunks.overlap_frames:
        starts.pop()
    return list(pairwise([*starts, frames]))


def fade(low: int, high: int, start: int, stop: int, frames: int, overlap: int, scale: int) -> torch.Tensor:
    """Weights ((high - low) * scale,) of a chunk that decoded frames low..high and owns start..stop of `frames`.

    Linear over `overlap` frames centred on the border with a neighbour, whose weights add up to 1 with these; 0 beyond,
    where the chunk's own edge is near.
    """
    position = low + (torch.arange((high - low) * scale) + 0.5) / scale
    weights = torch.ones_like(position)
    if start > 0:
        weights *= ((position - start) / overlap + 0.5).clamp(0, 1)
    if stop < frames:
        weights *= ((stop - position) / overlap + 0.5).clamp(0, 1)
    return weights
