"""What a clip takes in memory at any length and precision, counted on weightless twins of a pipeline's networks.

Every tensor counts from its making until it is freed; of fused attention its output alone. What kernels take as
workspace, and CUDA itself, is not in it: `SHARE_FREE` and `GIB_FREE` leave room for both.

Shapes: B clips, C channels, T latent frames, F latent bins, M mel frames.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from experiments.pipelines.pipeline import DTYPES, Pipeline
from experiments.system.memory import GIB
from litefocus.cost import text_inputs
from litefocus.long_audio.decoding import DecodingChunks, decoding_in_chunks

SHARE_FREE, GIB_FREE = 0.15, 1.0
BATCHES = (64, 32, 16, 8, 4, 2, 1)


class Footprint(NamedTuple):
    """Most memory of one dense clip with guidance in float32, in GiB.

    Attributes:
        weights: of all networks. step, decode: beside them, in a denoising step and in decoding as configured.
        in_chunks: in decoding in chunks whatever the length, `decode_in_chunks.beyond_frames=512`.
    """

    weights: float
    step: float
    decode: float
    in_chunks: float

    def peak_gib(self, dtype: str, batch: int = 1, in_chunks: bool = False) -> float:
        """Of clips that are made together in a precision: all tensors are as many, and so much smaller."""
        of_clip = max(self.step, self.in_chunks if in_chunks else self.decode)
        return (self.weights + batch * of_clip) * torch.finfo(DTYPES[dtype]).bits / 32

    def largest_batch(self, dtype: str, card_gib: float, in_chunks: bool = False) -> int:
        """The most clips that a device of that size makes together, with room to spare; 0 for none."""
        room = (card_gib - GIB_FREE) / (1 + SHARE_FREE)
        return next((batch for batch in BATCHES if self.peak_gib(dtype, batch, in_chunks) <= room), 0)


class _FusedAttention(TorchFunctionMode):
    """Attention that makes its output and no scores, as fused kernels do; without weights there is no kernel to ask."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3] if len(args) > 2 else (args + tuple(kwargs.values()))[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, except of those given."""

    def __init__(self, given: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()
        self._given = [tensor.untyped_storage() for tensor in given]
        self._known.update(dict.fromkeys(self._given, 0))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, found)
        return found

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


def peak_gib(call: Callable[[], object], given: Sequence[torch.Tensor]) -> float:
    """Most GiB alive at once in tensors that `call` makes, those of `given` left out; on meta tensors nothing runs."""
    with torch.no_grad(), _FusedAttention(), _Live(given) as live:
        call()
    return live.peak / GIB


def _again(model: Any) -> Any:
    """Another model of the same configuration: diffusers and transformers build them by different calls."""
    return model.from_config(model.config) if hasattr(model, "from_config") else type(model)(model.config)


def footprints(pipeline: Pipeline, durations_s: Sequence[float]) -> dict[float, Footprint]:
    """Length -> the memory of a clip; the pipeline's own networks stay as they are and do not run."""
    pipe = pipeline.pipe
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    weights = sum(4 * parameter.numel() for part in parts for parameter in part.parameters()) / GIB
    with torch.device("meta"):
        unet, vae, vocoder = (_again(part).eval().to("meta") for part in (pipe.unet, pipe.vae, pipe.vocoder))
    decoder = SimpleNamespace(vae=vae, vocoder=vocoder, vae_scale_factor=pipe.vae_scale_factor)
    always = DecodingChunks(beyond_frames=DecodingChunks.chunk_frames)

    def of(duration_s: float) -> Footprint:
        latents = torch.empty(1, unet.config.in_channels, *pipeline.latent_grid(duration_s), device="meta")
        rows, inputs = latents.expand(2, -1, -1, -1), text_inputs(unet, 2)
        step = peak_gib(lambda: unet(rows, 0, **inputs), [*unet.parameters(), latents])
        decoding = []
        for chunks in (pipeline.usable(pipeline.decode_in_chunks), pipeline.usable(always)):
            with decoding_in_chunks(decoder, chunks) if chunks else nullcontext():
                given = [*vae.parameters(), *vocoder.parameters(), latents]
                decoding.append(peak_gib(lambda: vocoder(vae.decode(latents).sample.squeeze(1)), given))
        return Footprint(weights, step, *decoding)

    return {duration_s: of(duration_s) for duration_s in durations_s}
