"""The published AudioLDM 2 UNet, as numbers: what the untrained pipeline, the cost model and the tests build."""

from typing import Any

PUBLISHED_AUDIOLDM2_UNET: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (128, 256, 384, 640),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": [[None, 768, 1024]] * 4,
    "transformer_layers_per_block": 1,
}
