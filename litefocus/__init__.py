"""LiteFocus (arXiv 2407.10468): training-free sparse self-attention for long text-to-audio diffusion."""

from litefocus.attention import lite_focus_attention
from litefocus.config import LiteFocusConfig
from litefocus.grid import TokenGrid
from litefocus.keys import sample_cross_keys
from litefocus.levers.optimize import optimize, optimized, restore
from litefocus.long_audio.band import band_attention
from litefocus.long_audio.full_layers import approximate_full_layers
from litefocus.long_audio.windows import disable_exact_windows, exact_windows, inject_exact_windows
from litefocus.patch import LiteFocusState, disable_lite_focus, inject_lite_focus, lite_focus, lite_focus_state
from litefocus.repair import repair_pipeline
from litefocus.schedule import LengthRule, LengthSchedule, scheduled_focus
from litefocus.windowed import window_focus_attention

__version__ = "1.0.0"

__all__ = [
    "LengthRule",
    "LengthSchedule",
    "LiteFocusConfig",
    "LiteFocusState",
    "TokenGrid",
    "approximate_full_layers",
    "band_attention",
    "disable_exact_windows",
    "disable_lite_focus",
    "exact_windows",
    "inject_exact_windows",
    "inject_lite_focus",
    "lite_focus",
    "lite_focus_attention",
    "lite_focus_state",
    "optimize",
    "optimized",
    "repair_pipeline",
    "restore",
    "sample_cross_keys",
    "scheduled_focus",
    "window_focus_attention",
]
