"""A pytest plugin for diffusers' own tests: the installed library, no network, and LiteFocus in what they build.

The environment variable INJECT says what goes in: "nothing", "litefocus", "all_keys" (LiteFocus whose every query has
every key: the dense output to rounding) or "exact_windows". Many tests begin with `set_default_attn_processor()`, which
diffusers refuses on a patched UNet; there the advice of that error is followed: LiteFocus out, then in again.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

# Before the checkout's conftest puts its own source first: what is tested is the installed library.
import diffusers
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, RobertaTokenizer, T5Tokenizer

from experiments.testbed.models.text import make_roberta_tokenizer, make_t5_tokenizer
from litefocus import LiteFocusConfig, disable_lite_focus, inject_lite_focus, lite_focus_state, repair_pipeline
from litefocus.long_audio.windows import inject_exact_windows

CAPTIONS = ["a hammer hitting a wooden surface", "egg cracking", "this is a negative prompt", "a brown cat"]
# Classes from which the tests ask for tiny files of the hub, and what they get instead.
LOCAL: dict[type, Callable[..., Any]] = {
    RobertaTokenizer: lambda: make_roberta_tokenizer(CAPTIONS),
    T5Tokenizer: lambda: make_t5_tokenizer(CAPTIONS),
    AutoTokenizer: lambda: make_roberta_tokenizer(CAPTIONS),
    ClapFeatureExtractor: ClapFeatureExtractor,
}
FOCUSED = ("AudioLDM2Pipeline", "AudioLDMPipeline", "MusicLDMPipeline")
UNETS = ("AudioLDM2UNet2DConditionModel", "UNet2DConditionModel")
WINDOWED = ("AutoencoderSAME", "AceStepTransformer1DModel")


def pytest_configure() -> None:
    for kind, build in LOCAL.items():
        _serve_locally(kind, build)
    if not hasattr(ClapConfig, "from_text_audio_configs"):
        ClapConfig.from_text_audio_configs = classmethod(_clap_config)
    inject = os.environ["INJECT"]
    for name in FOCUSED if inject in ("litefocus", "all_keys") else ():
        config = LiteFocusConfig() if inject == "litefocus" else LiteFocusConfig(same_frequency=False, sparse_ratio=1.0)
        _after_construction(
            getattr(diffusers, name), lambda pipe, c=config: inject_lite_focus(repair_pipeline(pipe), c)
        )
    for name in UNETS:
        _follow_advice(getattr(diffusers, name))
    for name in WINDOWED if inject == "exact_windows" else ():
        _after_construction(getattr(diffusers, name), inject_exact_windows)


def _clap_config(cls: Any, text_config: Any, audio_config: Any, **options: Any) -> Any:
    """Of older transformers, called by the tests of MusicLDM."""
    return cls(text_config=text_config.to_dict(), audio_config=audio_config.to_dict(), **options)


def _serve_locally(kind: Any, build: Callable[[], Any]) -> None:
    original = kind.from_pretrained.__func__

    @functools.wraps(original)
    def from_pretrained(cls: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        if os.path.isdir(name):
            return original(cls, name, *args, **kwargs)
        served = build()
        for key in ("model_max_length", "hop_length"):
            if key in kwargs:
                setattr(served, key, kwargs[key])
        return served

    kind.from_pretrained = classmethod(from_pretrained)


def _after_construction(kind: Any, inject: Callable[[Any], Any]) -> None:
    original = kind.__init__

    @functools.wraps(original)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        inject(self)

    kind.__init__ = construct


def _follow_advice(kind: Any) -> None:
    original = kind.set_default_attn_processor

    @functools.wraps(original)
    def set_default_attn_processor(unet: Any) -> None:
        state = lite_focus_state(unet)
        disable_lite_focus(unet)
        original(unet)
        if state is not None:
            inject_lite_focus(unet, state.config)

    kind.set_default_attn_processor = set_default_attn_processor
