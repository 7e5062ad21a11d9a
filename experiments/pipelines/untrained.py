"""AudioLDM 2's published architecture with seeded random weights: its true cost, with nothing to fetch.

The UNet, VAE and vocoder have the published sizes. The text encoders are replaced by seeded embeddings of the
published shapes, since they run once per clip and cost nothing beside the denoising loop. The audio is noise.

Shapes: B prompts, L text tokens.
"""

import hashlib
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AudioLDM2Pipeline, AudioLDM2UNet2DConditionModel, AutoencoderKL, DDIMScheduler
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from experiments.pipelines.audioldm2_config import PUBLISHED_AUDIOLDM2_UNET
from experiments.pipelines.pipeline import Pipeline, prepare

TEXT_TOKENS = 16
PUBLISHED_VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (128, 256, 512),
    "layers_per_block": 2,
    "latent_channels": 8,
    "scaling_factor": 0.4110932946205139,
}
PUBLISHED_VOCODER = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "normalize_before": False,
}
PUBLISHED_SCHEDULER = {
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# The published topology (levels, double self-attention, heads, 16 x 4 grid steps) at a width for smoke tests.
TINY_UNET = {
    **PUBLISHED_AUDIOLDM2_UNET,
    "block_out_channels": (16, 32, 48, 64),
    "cross_attention_dim": [[None, 12, 20]] * 4,
    "norm_num_groups": 8,
    "layers_per_block": 1,
}
TINY_VAE = {**PUBLISHED_VAE, "block_out_channels": (8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4}
TINY_VOCODER = {**PUBLISHED_VOCODER, "upsample_initial_channel": 32}
SIZES = {
    "full": (PUBLISHED_AUDIOLDM2_UNET, PUBLISHED_VAE, PUBLISHED_VOCODER),
    "tiny": (TINY_UNET, TINY_VAE, TINY_VOCODER),
}


class SeededTextAudioLDM2Pipeline(AudioLDM2Pipeline):
    """AudioLDM2Pipeline whose text embeddings are random numbers that depend on the caption and a seed alone."""

    def __init__(self, vae: Any, unet: Any, scheduler: Any, vocoder: Any) -> None:
        super(AudioLDM2Pipeline, self).__init__()
        self.register_modules(vae=vae, unet=unet, scheduler=scheduler, vocoder=vocoder)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)

    def check_inputs(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to check: the harness validated prompt and duration, and there is no text encoder."""

    def encode_prompt(
        self,
        prompt: list[str],
        device: torch.device,
        num_waveforms_per_prompt: int,
        do_classifier_free_guidance: bool,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(T5 stream (B, L, D5), its mask (B, L), GPT-2 stream (B, 8, D2)); empty captions first under guidance."""
        if num_waveforms_per_prompt != 1:
            raise ValueError(f"num_waveforms_per_prompt={num_waveforms_per_prompt}: accepted is 1")
        texts = ([""] * len(prompt) if do_classifier_free_guidance else []) + list(prompt)
        widths = _text_widths(self.unet)
        dtype = self.unet.dtype
        generated = torch.stack([seeded_embedding(text, 8, widths[0]) for text in texts])
        encoded = torch.stack([seeded_embedding(text, TEXT_TOKENS, widths[1]) for text in texts])
        mask = torch.ones(len(texts), TEXT_TOKENS, dtype=torch.long, device=device)
        return encoded.to(device, dtype), mask, generated.to(device, dtype)


def _text_widths(unet: Any) -> tuple[int, int]:
    widths = [width for width in unet.config.cross_attention_dim[0] if width is not None]
    return widths[0], widths[1]


def seeded_embedding(text: str, tokens: int, width: int) -> torch.Tensor:
    """A standard normal (tokens, width) that depends on the text alone."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randn(tokens, width, generator=generator)


@contextmanager
def seeded_initialisation(seed: int) -> Any:
    """Seed torch's global RNG (weight initialisation offers no other way) and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_untrained(
    device: torch.device,
    dtype: torch.dtype,
    *,
    name: str,
    seed: int,
    size: str,
    trained: bool,
    training_length_s: float,
) -> Pipeline:
    """Build the pipeline with seeded random weights.

    Args:
        size: "full" (the published 346,943,496-parameter UNet, VAE and vocoder) or "tiny" (same topology, narrow).
    Raises:
        ValueError: an unknown size, or an attempt to declare it trained.
    """
    if size not in SIZES:
        raise ValueError(f"pipeline.size {size!r}: accepted are {', '.join(SIZES)}")
    if trained:
        raise ValueError("pipeline.trained=true: this pipeline has random weights; leave it false")
    unet, vae, vocoder = SIZES[size]
    with seeded_initialisation(seed):
        pipe = SeededTextAudioLDM2Pipeline(
            vae=AutoencoderKL(**vae).eval(),
            unet=AudioLDM2UNet2DConditionModel(**unet).eval(),
            scheduler=DDIMScheduler(**PUBLISHED_SCHEDULER),
            vocoder=SpeechT5HifiGan(SpeechT5HifiGanConfig(**vocoder)).eval(),
        )
    weights = f"untrained:{size}:seed{seed}:torch{torch.__version__}"
    return Pipeline(name, prepare(pipe, device, dtype), trained, training_length_s, weights)
