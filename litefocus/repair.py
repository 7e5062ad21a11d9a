"""What newer transformers broke in the published pipelines, mended on a loaded one.

Two cases, both in the text side and neither to do with LiteFocus, but without them the published weights do not make a
clip (diffusers 0.42 with transformers 5; diffusers issue 12630):

- `cvssp/audioldm2*` names its language model `GPT2Model`; the pipeline calls a method that only a model with a
  generation loop has, so the first prompt ends in an AttributeError.
- MusicLDM takes CLAP's text features for a tensor; they are an output object now.

A pipeline that can generate, because a later diffusers mends these itself, is left as it is.
"""

import inspect
from functools import partial
from typing import Any

import torch

_GENERATION_STEP = "_update_model_kwargs_for_generation"


def repair_pipeline(pipe: Any) -> Any:
    """Make a published AudioLDM 2 or MusicLDM pipeline able to generate; any other pipeline is left as it is.

    The language model is wrapped, not copied: it shares its weights, device, precision and `config.max_new_tokens`
    with what was loaded. Calling it twice does nothing more.

    Args:
        pipe: a diffusers pipeline, as `from_pretrained` returns it.

    Returns:
        the same pipeline.
    """
    if _has_bare_language_model(pipe):
        pipe.register_modules(language_model=_with_generation(pipe.language_model))
    if _takes_features_for_tensor(pipe):
        # A partial, unlike a closure or a bound method, follows a deepcopy and a pickle to the copy's encoder.
        pipe.text_encoder.get_text_features = partial(_text_features, pipe.text_encoder)
    return pipe


def why_it_cannot_generate(pipe: Any) -> str | None:
    """One line that says why the pipeline fails at its first prompt and what to do, or None where it does not."""
    if _has_bare_language_model(pipe):
        fault = f"its language model is a {type(pipe.language_model).__name__}, which has no generation loop"
    elif _takes_features_for_tensor(pipe):
        fault = "it takes CLAP's text features for a tensor"
    else:
        return None
    return f"this {type(pipe).__name__} fails at its first prompt ({fault}): call litefocus.repair_pipeline(pipe) first"


def _has_bare_language_model(pipe: Any) -> bool:
    model = getattr(pipe, "language_model", None)
    return (
        model is not None
        and not hasattr(model, _GENERATION_STEP)
        and _GENERATION_STEP in _names_in(pipe, "generate_language_model")
    )


def _with_generation(model: Any) -> Any:
    """A GPT2LMHeadModel around a GPT2Model, weights shared."""
    from transformers import GPT2LMHeadModel

    # Nothing is allocated and no random number drawn: both halves are replaced.
    with torch.device("meta"):
        wrapped = GPT2LMHeadModel(model.config)
    wrapped.transformer = model
    wrapped.lm_head.weight = model.wte.weight
    return wrapped.train(model.training)


def _takes_features_for_tensor(pipe: Any) -> bool:
    """Whether the pipeline uses `get_text_features` as MusicLDM does, and its text encoder is not mended yet."""
    names = _names_in(pipe, "_encode_prompt")
    encoder = getattr(pipe, "text_encoder", None)
    return (
        "get_text_features" in names
        and "pooler_output" not in names
        and hasattr(encoder, "get_text_features")
        and "get_text_features" not in vars(encoder)
    )


def _text_features(clap: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """CLAP's text features as the tensor that they were."""
    output = type(clap).get_text_features(clap, *args, **kwargs)
    return getattr(output, "pooler_output", output)


def _names_in(pipe: Any, method: str) -> tuple[str, ...]:
    """The attributes that a method of the pipeline's class reads; empty where there is no such method."""
    function = inspect.unwrap(getattr(type(pipe), method, None) or (lambda: None))
    return tuple(function.__code__.co_names)
