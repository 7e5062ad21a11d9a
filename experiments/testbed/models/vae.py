"""The mel VAE: diffusers' AutoencoderKL on raw log-mels, 4x smaller in time and frequency, 8 channels.

Shapes: B clips, T frames, M = 64 mel bins; latents (B, 8, T / 4, 16).
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from experiments.testbed.models.mel import MEL_MEAN, MEL_STD
from experiments.testbed.models.rates import COMPRESSION

LATENT_CHANNELS = 8


def make_vae(widths: tuple[int, ...] = (16, 32, 64), seed: int = 0) -> AutoencoderKL:
    """An untrained VAE on raw log-mels (the normalisation sits in conv_in and conv_out).

    Middle attention is off: over a long clip it would be dense over every token and hide what the UNet costs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=8,
            sample_size=64,
            scaling_factor=1.0,
            mid_block_add_attention=False,
        )
    with torch.no_grad():
        vae.encoder.conv_in.weight /= MEL_STD
        vae.encoder.conv_in.bias -= vae.encoder.conv_in.weight.sum((1, 2, 3)) * MEL_MEAN
        vae.decoder.conv_out.weight *= MEL_STD
        vae.decoder.conv_out.bias.mul_(MEL_STD).add_(MEL_MEAN)
    return vae


def vae_loss(vae: AutoencoderKL, mel: Tensor, noise: Tensor, kl_weight: float = 2e-3) -> tuple[Tensor, Tensor]:
    """(training loss, L1 in standard deviations) of log-mels (B, T, M).

    L1 + 0.3 MSE + kl_weight x mean KL, all in units of the corpus' standard deviation; `noise` (B, 8, T/4, M/4)
    is the posterior's standard normal draw.
    """
    posterior = vae.encode(mel[:, None]).latent_dist
    error = (vae.decode(posterior.mean + posterior.std * noise).sample[:, 0] - mel) / MEL_STD
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar).mean()
    l1 = error.abs().mean()
    return l1 + 0.3 * (error**2).mean() + kl_weight * kl, l1


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Folds "subtract mean, divide by std" per latent channel (8,) into the 1x1 quantisation convolutions.

    The reconstruction stays the same; posterior means then have zero mean and unit variance, so that the
    pipeline's scaling factor is 1.
    """
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = LATENT_CHANNELS
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2.0 * std.log()
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std[None, :, None, None]


@torch.no_grad()
def encode_mel(vae: AutoencoderKL, mel: Tensor) -> Tensor:
    """Posterior means (B, 8, T // 4, 16) of log-mels (B, T, M); T is cut to a multiple of 4."""
    frames = mel.shape[1] // COMPRESSION * COMPRESSION
    return vae.encode(mel[:, None, :frames]).latent_dist.mean
