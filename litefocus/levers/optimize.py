"""Exact speed-ups of everything around the attention sites, behind one call that can be taken back.

Each lever replaces the `forward` of some modules on the instance and leaves weights, processors and state dict alone,
so that deleting the replacements restores the model bit for bit. Outputs agree with the stock UNet to rounding (fp32:
1e-4). Levers hold copies of the weights they rearrange (`packed_linears`: every linear layer's; the others: what they
fuse), so they refuse to run on weights that changed or moved since. Writes through `.data` (diffusers' EMAModel) and to
inference tensors leave no trace in torch, so a few elements of every weight are compared, which a change to all of a
weight cannot miss. Nothing is checked inside a UNet that is compiled as a whole.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from types import MethodType
from typing import Any, NoReturn

import torch
from torch import nn

from litefocus.context import CHANGING, entered_context
from litefocus.levers.fused import (
    BuildLinear,
    ChannelsLastConvolution,
    FusedAttention,
    GatedFeedForward,
    PhasedUpsampling,
    TokensIn,
    TokensOut,
    is_exactly,
    is_gated,
    is_hooked,
    is_nearest_upsampler,
    is_plain,
    is_projected_by_convolutions,
    pads_with_zeros,
)
from litefocus.levers.packed import PackedLinear, PlainLinear, unavailable
from litefocus.levers.weights import Samples, adapted
from litefocus.sites import find_unet

DEFAULT_LEVERS = ("token_projections", "fused_attention", "fused_feed_forward", "packed_linears", "phased_upsampling")
LEVERS = (*DEFAULT_LEVERS, "channels_last", "compiled_blocks")
_ATTRIBUTE = "_litefocus_optimization"


def optimize(pipe_or_unet: Any, levers: Sequence[str] | None = None) -> tuple[str, ...]:
    """Make a diffusers UNet faster at equal output, with or without LiteFocus in it, until `restore`.

    Call it after weights, device and dtype are final; inference only. Calling again replaces the levers. A layer that
    is not exactly a Linear or Conv2d with a plain weight (LoRA adapters, quantised layers, circular padding) or has a
    forward hook stays as it is, and a hook that comes later is refused at the next forward. An error leaves no lever
    half on. What wraps forwards, such as attention_reuse, goes on afterwards and off before `restore`.

    Args:
        pipe_or_unet: a diffusers AudioLDM2, AudioLDM or MusicLDM pipeline or its UNet.
        levers: any of
            token_projections   1x1 convolutions around the transformers as linear layers on tokens
            fused_attention     one product for query, key and value (text: key and value); no division by one
            fused_feed_forward  the gate in two products without the double-width tensor, long clips in pieces
            packed_linears      linear layers with weights in oneDNN's layout, bias and gate inside (CPU, float32)
            phased_upsampling   nearest upsampling and its 3x3 convolution as four 2x2 convolutions, 4/9 of the work
            channels_last       convolutions and activations in (B, T, F, C) memory order
            compiled_blocks     torch.compile of each transformer block; not together with packed_linears
            None means the first five, without packed_linears where oneDNN cannot serve.

    Returns:
        the levers that are on.

    Raises:
        TypeError: a model without a diffusers UNet, or levers that are not a list of names.
        ValueError: an unknown lever, or `packed_linears` or `compiled_blocks` asked for where it cannot serve.
        RuntimeError: a module whose forward something else has replaced: offloading, layerwise casting, another lever.
    """
    unet: Any = find_unet(pipe_or_unet)
    if not hasattr(unet, "down_blocks"):
        raise TypeError(f"optimize({type(unet).__name__}): accepted are diffusers UNets")
    chosen = _chosen_levers(unet, levers)
    with CHANGING:
        _refuse_other_forwards(unet)
        restore(unet)
        _Optimization(unet, chosen).install()
    return chosen


def restore(pipe_or_unet: Any) -> None:
    """Take all levers back: the output is bit-equal to before. Does nothing on a model without them.

    Raises:
        RuntimeError: something wrapped a lever after `optimize`; deleting it would delete the wrapper.
    """
    unet = find_unet(pipe_or_unet)
    with CHANGING:
        optimization = active_optimization(unet)
        if optimization is not None:
            optimization.check_replaced()
            optimization.remove()


def active_optimization(unet: nn.Module) -> "_Optimization | None":
    """The levers that are on in a UNet, if any."""
    return getattr(unet, _ATTRIBUTE, None)


@entered_context
def optimized(pipe_or_unet: Any, levers: Sequence[str] | None = None) -> Iterator[tuple[str, ...]]:
    """`with optimized(pipe): ...`: the levers inside the context. Arguments and errors as `optimize`.

    Raises:
        ValueError: the model is optimized already, here or in another thread.
    """
    with CHANGING:
        if active_optimization(find_unet(pipe_or_unet)) is not None:
            raise ValueError(
                "this model is optimized already: restore() it first, or optimize() it once before threads start"
            )
        chosen = optimize(pipe_or_unet, levers)
    try:
        yield chosen
    finally:
        restore(pipe_or_unet)


def _chosen_levers(unet: nn.Module, levers: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(levers, str):
        raise ValueError(f"levers={levers!r}: accepted is a list of names, like [{levers!r}]")
    if levers is not None and not (isinstance(levers, Iterable) and all(isinstance(name, str) for name in levers)):
        raise TypeError(
            f"levers of type {type(levers).__name__}: accepted is a list of names out of {', '.join(LEVERS)}, or None; "
            f"LiteFocus's own options go to inject_lite_focus(pipe, config)"
        )
    reason = next(filter(None, map(unavailable, unet.parameters())), "")
    if levers is None:
        return tuple(lever for lever in DEFAULT_LEVERS if lever != "packed_linears" or not reason)
    if unknown := sorted(set(levers) - set(LEVERS)):
        raise ValueError(f"levers {unknown}: accepted are {', '.join(LEVERS)}")
    if "packed_linears" in levers and reason:
        raise ValueError(f"levers=packed_linears: {reason}; leave it out")
    if "compiled_blocks" in levers:
        _check_compiler(levers)
    return tuple(lever for lever in LEVERS if lever in levers)


def _refuse_other_forwards(unet: nn.Module) -> None:
    """Levers and hooks both replace `forward` on the instance: a lever put over a hook would run without it."""
    optimization = active_optimization(unet)
    for name, module in unet.named_modules():
        forward = vars(module).get("forward")
        # Hooks that were taken off (accelerate, DeepCache) leave the class's own forward on the instance.
        if forward is None or forward == MethodType(type(module).forward, module):
            continue
        if optimization is None or not optimization.owns(module, "forward", forward):
            raise RuntimeError(
                f"{name or 'the UNet'} has a forward of its own (offloading, layerwise casting, another lever): "
                f"optimize() without hooks, and enter levers such as attention_reuse after it"
            )


def compile_blocks(unet: nn.Module) -> list[nn.Module]:
    """Compile every transformer block of a UNet, each as one graph of its own; returns the blocks.

    Blocks share their code but not what is in them (sites, levers), so that torch's limit of recompilations must count
    per block: with the shared count, torch would run most blocks uncompiled and only log it.

    Raises:
        ValueError: a torch that cannot count per block, or packed linears, which torch's compiler cannot trace.
    """
    optimization = active_optimization(unet)
    _check_compiler(() if optimization is None else optimization.levers)
    blocks = _transformer_blocks(unet)
    for block in blocks:
        block.compile(fullgraph=True, isolate_recompiles=True)
    return blocks


def _transformer_blocks(unet: nn.Module) -> list[nn.Module]:
    return [module for module in unet.modules() if type(module).__name__ == "BasicTransformerBlock"]


def _check_compiler(levers: Sequence[str]) -> None:
    if "packed_linears" in levers:
        raise ValueError(
            "compiled blocks with packed_linears: torch's compiler cannot trace them, leave one of both out"
        )
    if "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        raise ValueError(
            f"compiled blocks need torch.compile(isolate_recompiles=...); torch {torch.__version__} has none"
        )


class _Optimization:
    """What was replaced in one UNet, and how to take it back."""

    def __init__(self, unet: nn.Module, levers: tuple[str, ...]) -> None:
        self.unet = unet
        self.levers = levers
        self._replaced: list[tuple[nn.Module, str, Any]] = []
        self._compiled: list[tuple[nn.Module, Any]] = []
        self._passed_over: list[nn.Module] = []  # layers that a lever computes without calling them
        self._handle: Any = None
        self._weights = self._fingerprint()
        self._samples = Samples(unet)

    def install(self) -> None:
        setattr(self.unet, _ATTRIBUTE, self)
        try:
            self._replace(self.unet, "__reduce_ex__", _refuse_copies)
            self._install_levers()
            self._handle = self.unet.register_forward_pre_hook(self._before_forward)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        for module, name, _ in self._replaced:
            delattr(module, name)
        for module, before in self._compiled:
            module._compiled_call_impl = before
        if self._handle is not None:
            self._handle.remove()
        delattr(self.unet, _ATTRIBUTE)

    def owns(self, module: nn.Module, name: str, value: Any) -> bool:
        """Whether `value` is what a lever put in place of `module.name`."""
        return any(m is module and n == name and v is value for m, n, v in self._replaced)

    def check_replaced(self) -> None:
        """Raise RuntimeError if something else lies where a lever was put."""
        names = {module: name for name, module in self.unet.named_modules()}
        for module, name, value in self._replaced:
            if vars(module).get(name) is not value:
                raise RuntimeError(
                    f"{name} of {names.get(module, type(module).__name__)} was replaced after optimize(): "
                    f"take that hook or lever off, then restore()"
                )

    def _install_levers(self) -> None:
        linear: BuildLinear = PackedLinear if "packed_linears" in self.levers else PlainLinear
        left = adapted(self.unet)
        module: Any
        for module in self.unet.modules():
            if "token_projections" in self.levers and is_projected_by_convolutions(module):
                self._token_projections(module, linear)
            if "fused_attention" in self.levers and hasattr(module, "to_q") and is_plain(module):
                self._replace(module, "forward", FusedAttention(module, linear))
                self._passed_over += FusedAttention.passes_over(module)
            if "fused_feed_forward" in self.levers and is_gated(module):
                self._replace(module, "forward", GatedFeedForward(module.net, linear))
                left.update(module.modules())
                self._passed_over += module.net.modules()
            if "phased_upsampling" in self.levers and is_nearest_upsampler(module):
                self._replace(module, "forward", PhasedUpsampling(module))
                self._passed_over.append(module.conv)
            if "packed_linears" in self.levers and is_exactly(module, nn.Linear) and module not in left:
                self._replace(module, "forward", PackedLinear(module.weight, module.bias))
            if "channels_last" in self.levers and is_exactly(module, nn.Conv2d) and module not in left:
                self._replace(module, "forward", ChannelsLastConvolution(module))
        if "compiled_blocks" in self.levers:
            self._compiled = [(block, block._compiled_call_impl) for block in _transformer_blocks(self.unet)]
            compile_blocks(self.unet)

    def _replace(self, module: nn.Module, name: str, value: Any) -> None:
        # Not nn.Module.__setattr__, which would register what it is given.
        object.__setattr__(module, name, value)
        self._replaced.append((module, name, value))

    def _token_projections(self, transformer: Any, linear: BuildLinear) -> None:
        self._replace(transformer, "_operate_on_continuous_inputs", TokensIn(transformer, linear))
        self._replace(transformer, "_get_output_for_continuous_inputs", TokensOut(transformer, linear))
        self._passed_over += [transformer.proj_in, transformer.proj_out]

    def _before_forward(self, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if torch.is_grad_enabled():
            raise RuntimeError("an optimized UNet is for inference: use torch.inference_mode(), or restore() it first")
        if "packed_linears" in self.levers and torch.is_autocast_enabled("cpu"):
            raise RuntimeError(
                "packed_linears under torch.autocast: they compute in float32 only, leave one of both out"
            )
        if self._weights != self._fingerprint() or not self._samples.unchanged():
            raise RuntimeError("the UNet's weights changed or moved since optimize(): optimize() again, or restore()")
        for layer in self._passed_over:
            if is_hooked(layer) or not pads_with_zeros(layer):
                name = next(name for name, module in self.unet.named_modules() if module is layer)
                raise RuntimeError(
                    f"{name} got a forward hook or another padding_mode since optimize(), whose levers never call it: "
                    f"optimize() again, or restore()"
                )

    def _fingerprint(self) -> list[tuple[int, int]]:
        """Where each weight lies and how often it was written to."""
        return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.unet.parameters()]


def _refuse_copies(_: int) -> NoReturn:
    raise RuntimeError("an optimized UNet cannot be copied or pickled: restore() it first, optimize() the copy")
