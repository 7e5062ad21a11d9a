"""Small UNets of the real diffusers classes, and a structural twin of the original package's model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel, UNet2DConditionModel
from original_model import LatentDiffusion

TEXT_WIDTHS = (12, 20)
COMMON: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16, 24),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
Run = Callable[..., torch.Tensor]


def seeded(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def latents(batch: int, time: int) -> torch.Tensor:
    return torch.randn(batch, 4, time, 16, generator=torch.Generator().manual_seed(time))


@pytest.fixture
def audioldm2_unet() -> Any:
    """Sites: 1 down + 2 up layers of 4 self-attentions each at level 0 (8 bins of 16)."""
    widths = [[None, *TEXT_WIDTHS]] * 3
    return seeded(lambda: AudioLDM2UNet2DConditionModel(**COMMON, cross_attention_dim=widths))


@pytest.fixture
def two_level_unet() -> Any:
    """The same with two resolutions, that of the sites among them: compiling takes its time for every layer."""
    two: dict[str, Any] = COMMON | {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 16),
    }
    return seeded(lambda: AudioLDM2UNet2DConditionModel(**two, cross_attention_dim=[[None, *TEXT_WIDTHS]] * 2))


@pytest.fixture
def audioldm_unet() -> Any:
    """AudioLDM and MusicLDM: no text context, a class embedding instead, "cross" attentions as wide as their layer."""
    options = {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 10}
    return seeded(
        lambda: UNet2DConditionModel(
            **COMMON, **options, class_embeddings_concat=True, cross_attention_dim=(8, 16, 24), sample_size=16
        )
    )


@pytest.fixture
def without_gradients() -> Any:
    """The levers are for inference only."""
    with torch.no_grad():
        yield


@pytest.fixture
def original_model() -> Any:
    return seeded(LatentDiffusion)


@pytest.fixture
def run() -> Run:
    """Forward of a small AudioLDM 2 UNet on seeded inputs: (batch, 4, time, 16)."""

    def forward(unet: Any, time: int = 24, batch: int = 2, timestep: int = 5) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        first, second = (torch.randn(batch, 3, width, generator=generator) for width in TEXT_WIDTHS)
        sample = latents(batch, time)
        return unet(sample, timestep, encoder_hidden_states=first, encoder_hidden_states_1=second).sample

    return forward


@pytest.fixture
def run_audioldm() -> Run:
    """Forward of a small AudioLDM UNet, as its pipeline calls it."""

    def forward(unet: Any, time: int = 24, batch: int = 2, **options: Any) -> torch.Tensor:
        labels = torch.randn(batch, 10, generator=torch.Generator().manual_seed(1))
        return unet(latents(batch, time), 5, encoder_hidden_states=None, class_labels=labels, **options).sample

    return forward
