"""A small ACE-Step transformer, half of whose layers have windows, and one forward of it."""

from typing import Any

import torch
from diffusers import AceStepTransformer1DModel


def ace_step() -> Any:
    torch.manual_seed(0)
    return AceStepTransformer1DModel(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, in_channels=24, audio_acoustic_hidden_dim=8, sliding_window=6,
    ).eval()  # fmt: skip


def denoise(model: Any, length: int = 100) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(
            torch.randn(2, length, 8, generator=generator),
            torch.tensor([0.7, 0.3]),
            torch.tensor([0.7, 0.3]),
            torch.randn(2, 5, 32, generator=generator),
            torch.randn(2, length, 16, generator=generator),
        ).sample
