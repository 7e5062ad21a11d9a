"""Put LiteFocus into a pipeline or UNet, and take it out again without a trace."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

from torch import nn

from litefocus.config import LiteFocusConfig, as_config
from litefocus.context import CHANGING, enter, entered_context, leave, refuse_other_threads
from litefocus.grid import GridTracker
from litefocus.keys import KeySource, Stream
from litefocus.processor import (
    FrequencyMajor,
    LiteFocusSite,
    SelfAttentionForward,
    SelfAttentionProcessor,
    SiteFunction,
    refuse_weights,
    stock_processor,
)
from litefocus.repair import why_it_cannot_generate
from litefocus.sites import AttentionSite, find_frequency_axis, find_sites, find_unet

_ATTRIBUTE = "_litefocus_patch"
Config = LiteFocusConfig | Mapping[str, Any] | None
# number of a site -> what it shall compute
BuildSite = Callable[[int], SiteFunction]


class SitePatch:
    """A replacement of some self-attentions of one UNet, which can be removed and installed again.

    Args:
        unet: from `find_unet`.
        sites: from `find_sites`.
        build: called once per site.
        stream: what the sites draw from; it advances at the start of every call of the UNet and finishes at its end.
        frequency_axis: of the latents, -1 or -2; None where the UNet itself tells (`find_frequency_axis`).
        config: the LiteFocus options that the sites follow, where one set holds for all of them.

    Raises:
        TypeError: a UNet that does not tell its frequency axis, or a site whose processor has weights of its own.
    """

    def __init__(
        self,
        unet: nn.Module,
        sites: list[AttentionSite],
        build: BuildSite,
        stream: Stream | None = None,
        frequency_axis: int | None = None,
        config: LiteFocusConfig | None = None,
    ) -> None:
        self.frequency_axis = find_frequency_axis(unet, frequency_axis)
        for site in sites:
            refuse_weights(site.name, getattr(site.attention, "processor", None))
        self.unet = unet
        self.sites = sites
        self.build = build
        self.stream = stream
        self.config = config
        self._replaced: list[tuple[AttentionSite, Any, Any]] = []
        self._trackers: list[GridTracker] = []
        self._handles: list[Any] = []

    def install(self) -> None:
        """Replace the sites' attention; if that fails, nothing is replaced."""
        functions = [self.build(number) for number in range(len(self.sites))]
        setattr(self.unet, _ATTRIBUTE, self)
        try:
            recall = None if self.stream is None else self.stream.recall
            transformers = {site.transformer for site in self.sites}
            trackers = {module: GridTracker(module, self.frequency_axis, recall) for module in transformers}
            self._trackers = list(trackers.values())
            for site, function in zip(self.sites, functions, strict=True):
                ordered = FrequencyMajor(function) if self.frequency_axis == -2 else function
                self._replace(site, ordered, trackers[site.transformer])
            self._handles = [
                self.unet.register_forward_pre_hook(self._before_forward, with_kwargs=True),
                self.unet.register_forward_hook(self._after_forward, always_call=True),
            ]
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Restore the original processors, where ours are still in place, and take all hooks off.

        Does nothing on a patch that is not the UNet's active one.
        """
        if active_patch(self.unet) is not self:
            return
        for site, ours, original in self._replaced:
            attention: Any = site.attention
            if _current(attention) is not ours:
                continue
            if hasattr(attention, "set_processor"):
                attention.set_processor(original)
            elif original is None:
                del attention.forward
            else:
                attention.forward = original
        for hook in (*self._trackers, *self._handles):
            hook.remove()
        self._replaced, self._trackers, self._handles = [], [], []
        delattr(self.unet, _ATTRIBUTE)

    def _before_forward(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._check_processors()
        if self.stream is not None:
            # diffusers' UNets and the original package's: forward(sample, timestep, ...), forward(x, timesteps, ...).
            self.stream.advance(args[1] if len(args) > 1 else kwargs.get("timestep", kwargs.get("timesteps")))

    def _after_forward(self, *_: Any) -> None:
        if self.stream is not None:
            self.stream.finish()

    def _check_processors(self) -> None:
        for site, ours, _ in self._replaced:
            if hasattr(site.attention, "set_processor") and _current(site.attention) is not ours:
                raise RuntimeError(
                    f"the processor of {site.name} was replaced after inject_lite_focus (attention slicing, "
                    f"set_attn_processor): inject again, or disable_lite_focus()"
                )

    def _replace(self, site: AttentionSite, function: SiteFunction, tracker: GridTracker) -> None:
        attention: Any = site.attention
        ours: SelfAttentionProcessor | SelfAttentionForward
        if hasattr(attention, "set_processor"):
            original = stock_processor(attention.processor)
            ours = SelfAttentionProcessor(function, tracker, original)
            attention.set_processor(ours)
        else:
            # What was put on the instance before (another patch, a profiler) comes back; usually nothing was.
            original = vars(attention).get("forward")
            ours = attention.forward = SelfAttentionForward(function, tracker, attention)
        self._replaced.append((site, ours, original))


def _current(attention: Any) -> Any:
    """What is in the place that a patch replaces: a diffusers attention's processor, the original package's forward."""
    return vars(attention).get("processor" if hasattr(attention, "set_processor") else "forward")


def active_patch(unet: nn.Module) -> SitePatch | None:
    """The patch that is installed in a UNet, if any."""
    return getattr(unet, _ATTRIBUTE, None)


@contextmanager
def patched(patch: SitePatch) -> Iterator[int]:
    """Install a patch inside the context, in place of the one before, which comes back afterwards.

    Contexts of one thread nest, and may be left in any order: the last one that was entered serves until it is left.

    Yields:
        the number of patched sites.

    Raises:
        RuntimeError: the UNet is inside a context of another thread, whose run would change.
    """
    with CHANGING:
        refuse_other_threads(patch.unet)
        before = active_patch(patch.unet)
        try:
            _exchange(patch.unet, patch)
        except BaseException:
            _exchange(patch.unet, before)
            raise
        entered = enter(patch.unet, before)
    try:
        yield len(patch.sites)
    finally:
        with CHANGING:
            if leave(patch.unet, entered):
                _exchange(patch.unet, entered.before)


def _exchange(unet: nn.Module, patch: SitePatch | None) -> None:
    """Put a patch, or none, in place of the active one: not always the last context's, whose body may change it."""
    current = active_patch(unet)
    if current is not None:
        current.remove()
    if patch is not None:
        patch.install()


def lite_focus_patch(pipe_or_unet: Any, config: Config = None, **options: Any) -> SitePatch:
    """LiteFocus for a model, not installed yet."""
    config = as_config(config, **options)
    unet = find_unet(pipe_or_unet)
    source = KeySource(config)
    sites = find_sites(unet, config.levels, config.blocks)
    return SitePatch(unet, sites, partial(LiteFocusSite, source), source, config.frequency_axis, config)


class SiteCount(int):
    """How many self-attentions are patched. Whoever takes it for the pipeline is told that the patch is in place."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: `pipe = inject_lite_focus(pipe)` lost the pipeline."""
        raise TypeError(_NOT_THE_PIPELINE.format(sites=int(self)))

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"no attribute {name!r}: " + _NOT_THE_PIPELINE.format(sites=int(self)))


_NOT_THE_PIPELINE = (
    "inject_lite_focus changes the pipeline in place and returns the number of patched sites, here {sites}: write "
    "inject_lite_focus(pipe) without assigning it, and call pipe"
)


def inject_lite_focus(pipe_or_unet: Any, config: Config = None, **options: Any) -> SiteCount:
    """Replace the self-attentions of the finest attention level by LiteFocus, until `disable_lite_focus`.

    The model is changed in place. Injecting again replaces the patch. Equal seeds and noise give equal clips, in any
    order and in any thread (`stream="timestep"`). A pipeline that cannot generate with the installed libraries is
    named in a warning, with what to do (`repair_pipeline`).

    Args:
        pipe_or_unet: a diffusers AudioLDM2, AudioLDM or MusicLDM pipeline or UNet, or the original audioldm2 package's
            LatentDiffusion.
        config: a LiteFocusConfig, the authors' dict of options, or None for the defaults.
        options: instead of a config, its options by name: `inject_lite_focus(pipe, sparse_ratio=0.05)`.

    Returns:
        the number of patched sites; 20 on the published AudioLDM 2.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents, one that does not tell its frequency axis or
            has an attention processor with weights at a site, or a config and options beside it.
        ValueError: an invalid option, or a level that the UNet does not have.
        RuntimeError: the UNet is inside a context of another thread.
    """
    fault = why_it_cannot_generate(pipe_or_unet)
    if fault is not None:
        warnings.warn(fault, stacklevel=2)
    patch = lite_focus_patch(pipe_or_unet, config, **options)
    with CHANGING:
        disable_lite_focus(patch.unet)
        patch.install()
    return SiteCount(len(patch.sites))


def disable_lite_focus(pipe_or_unet: Any) -> None:
    """Restore the original attention: the output is bit-equal to before. Does nothing on an unpatched model.

    Raises:
        RuntimeError: the UNet is inside a context of another thread.
    """
    unet = find_unet(pipe_or_unet)
    with CHANGING:
        refuse_other_threads(unet)
        _exchange(unet, None)
        module: Any
        for module in unet.modules():
            # Ours, kept by someone who set it again after its patch was gone: unfuse_qkv_projections does.
            if isinstance(vars(module).get("processor"), SelfAttentionProcessor):
                module.set_processor(stock_processor(module.processor))


class LiteFocusState(NamedTuple):
    """What is in place of a model's self-attentions.

    Attributes:
        sites: how many self-attentions are replaced.
        config: the options they follow; None where a method of another kind replaced them (a schedule by length, say).
    """

    sites: int
    config: LiteFocusConfig | None


def lite_focus_state(pipe_or_unet: Any) -> LiteFocusState | None:
    """What replaces the model's self-attentions now; None on an unpatched model.

    Raises:
        TypeError: a model without a UNet over (time, frequency) latents.
    """
    patch = active_patch(find_unet(pipe_or_unet))
    return None if patch is None else LiteFocusState(len(patch.sites), patch.config)


@entered_context
def lite_focus(pipe_or_unet: Any, config: Config = None, **options: Any) -> Iterator[int]:
    """`with lite_focus(pipe): ...`: LiteFocus inside the context; what was there before, afterwards.

    Without `with` it does nothing and warns; `inject_lite_focus` is the call that stays on, and the one for several
    threads. Arguments and errors are the same.
    """
    with patched(lite_focus_patch(pipe_or_unet, config, **options)) as sites:
        yield sites
