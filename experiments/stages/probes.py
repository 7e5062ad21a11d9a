"""Probes of a text-to-audio UNet that need no sampling: denoising loss on real audio, and attention structure.

Shapes: B clips, C latent channels, T latent frames, F frequency bins, latents (B, C, T, F); inside an attention of a
level: H heads, N = T * F tokens (of that level), D head dim.

Works for any diffusers AudioLDM2, AudioLDM or MusicLDM UNet: `condition` makes its text inputs, and a *method* is any
context manager factory `method(unet)` that patches it (`litefocus.lite_focus`, `experiments.methods.baselines`, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.methods.baselines import deleted_sites
from experiments.records.site_structure import FAR_S, SiteStructure, octaves, uniform_offsets
from experiments.system.seeds import numbered_generator
from litefocus import LiteFocusConfig, TokenGrid, lite_focus
from litefocus.patch import SitePatch, patched
from litefocus.processor import ProjectedSite
from litefocus.sites import find_sites, find_unet

Method = Callable[[Any], AbstractContextManager[Any]]


class UniformSite(ProjectedSite):
    """Attention that weighs all tokens alike: what a site gives when its queries and keys say nothing."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid, scale: float) -> Tensor:
        """Mean of the values, for every query."""
        return value.mean(dim=2, keepdim=True).expand_as(value)


@contextmanager
def uniform_attention(pipe_or_unet: Any) -> Iterator[int]:
    """Every site of the finest attention level averages its values; yields the number of sites."""
    unet = find_unet(pipe_or_unet)
    with patched(SitePatch(unet, find_sites(unet), lambda number: UniformSite())) as sites:
        yield sites


def lite_focus_method(**options: Any) -> Method:
    """`lite_focus` with the given LiteFocusConfig options, as a method; keys follow the count, as in conf/method."""
    return partial(lite_focus, config=LiteFocusConfig(**{"stream": "count", **options}))


METHODS: Mapping[str, Method] = {
    "dense": nullcontext,
    "litefocus": lite_focus_method(),
    "focus_only": lite_focus_method(cross_frequency=False),
    "compensation_only": lite_focus_method(same_frequency=False),
    "deleted": deleted_sites,
    "uniform": uniform_attention,
}


@dataclass(frozen=True)
class ProbeClips:
    """Real clips as a diffusion model sees them.

    Attributes:
        latents: (B, C, T, F), scaled as the UNet expects them.
        condition: keyword arguments of the UNet, first dimension B each.
    """

    latents: Tensor
    condition: Mapping[str, Tensor]

    def batch(self, rows: slice, frames: int) -> ProbeClips:
        """Some of the clips, cut to their first `frames` latent frames."""
        return ProbeClips(self.latents[rows, :, :frames], {name: x[rows] for name, x in self.condition.items()})


@torch.no_grad()
def condition(pipe: Any, captions: Sequence[str]) -> dict[str, Tensor]:
    """The UNet's keyword arguments for captions, without guidance, from a diffusers pipeline.

    Captions are encoded one by one, so that the padding of a batch cannot change them.

    Raises:
        TypeError: a pipeline that is not of the AudioLDM2, AudioLDM or MusicLDM family.
    """
    if hasattr(pipe, "encode_prompt"):
        encoded = [pipe.encode_prompt([text], pipe.unet.device, 1, False) for text in captions]
        length = max(prompt.shape[1] for prompt, _, _ in encoded)
        pad = torch.nn.functional.pad
        return {
            "encoder_hidden_states": torch.cat([generated for _, _, generated in encoded]),
            "encoder_hidden_states_1": torch.cat([pad(p, (0, 0, 0, length - p.shape[1])) for p, _, _ in encoded]),
            "encoder_attention_mask_1": torch.cat([pad(m, (0, length - m.shape[1])) for _, m, _ in encoded]),
        }
    if hasattr(pipe, "_encode_prompt"):
        return {
            "class_labels": torch.cat([pipe._encode_prompt([text], pipe.unet.device, 1, False) for text in captions])
        }
    raise TypeError(
        f"{type(pipe).__name__} encodes no prompts: accepted are AudioLDM2, AudioLDM and MusicLDM pipelines"
    )


def clip_noise(shape: torch.Size, clip: int, seed: int) -> Tensor:
    """Noise (C, T, F) of one clip, the same for every method; a longer clip's noise starts with the shorter one's."""
    generator = numbered_generator(seed, clip)
    frames_first = torch.randn(shape[1], shape[0], shape[2], generator=generator)
    return frames_first.transpose(0, 1)


def _noised(clips: ProbeClips, scheduler: Any, t: int, first_clip: int, seed: int) -> tuple[Tensor, Tensor]:
    clean = clips.latents
    noise = torch.stack([clip_noise(clean.shape[1:], first_clip + row, seed) for row in range(len(clean))]).to(clean)
    steps = torch.full((len(clean),), t, device=clean.device)
    kind = scheduler.config.prediction_type
    targets = {"epsilon": lambda: noise, "v_prediction": lambda: scheduler.get_velocity(clean, noise, steps)}
    if kind not in targets:
        raise ValueError(f"prediction_type={kind!r}: accepted are {', '.join(targets)}")
    return scheduler.add_noise(clean, noise, steps), targets[kind]()


@torch.no_grad()
def denoising_loss(
    unet: Any, scheduler: Any, clips: ProbeClips, t: int, method: Method, *, seed: int = 0, batch: int = 4
) -> np.ndarray:
    """Teacher-forced denoising loss per clip at noise level t: (B,) mean squared error of the model's own target.

    Every method sees the same latents and the same noise, so differences are paired per clip.

    Raises:
        ValueError: a scheduler whose prediction type is neither "epsilon" nor "v_prediction".
    """
    losses = []
    with method(unet):
        for first in range(0, len(clips.latents), batch):
            part = clips.batch(slice(first, first + batch), clips.latents.shape[2])
            noisy, target = _noised(part, scheduler, t, first, seed)
            predicted = unet(noisy, t, **part.condition).sample
            losses.append(((predicted - target) ** 2).mean((1, 2, 3)).double().cpu().numpy())
    return np.concatenate(losses)


def losses_by_method(
    unet: Any,
    scheduler: Any,
    clips: ProbeClips,
    levels: Sequence[int],
    methods: Mapping[str, Method] = METHODS,
    **options: Any,
) -> dict[str, dict[int, np.ndarray]]:
    """`denoising_loss` of each method at each noise level: method -> t -> (B,)."""
    return {
        name: {t: denoising_loss(unet, scheduler, clips, t, method, **options) for t in levels}
        for name, method in methods.items()
    }


class StructureSite(ProjectedSite):
    """Dense attention that also adds up where its weights lie: a (T, F, F) sum and the entropy."""

    def __init__(self) -> None:
        self.grid: TokenGrid | None = None
        self.mass = torch.zeros(())
        self.entropy = 0.0
        self.rows = 0

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid, scale: float) -> Tensor:
        """Exact dense attention, in chunks of one query frame."""
        self.grid = grid
        if self.mass.ndim == 0:
            self.mass = torch.zeros(grid.time, grid.freq, grid.freq, dtype=torch.float64)
        outputs = []
        for frame in range(grid.time):
            rows = query[:, :, frame * grid.freq : (frame + 1) * grid.freq]
            weights = (rows @ key.transpose(-1, -2) * scale).softmax(dim=-1)
            outputs.append(weights @ value)
            self._add(weights, frame, grid)
        return torch.cat(outputs, dim=2)

    def _add(self, weights: Tensor, frame: int, grid: TokenGrid) -> None:
        blocks = weights.sum((0, 1)).unflatten(1, grid).transpose(0, 1).double().cpu()
        offsets = (torch.arange(grid.time) - frame).abs()
        self.mass.index_add_(0, offsets, blocks)
        self.entropy -= float(torch.xlogy(weights, weights).sum(dtype=torch.float64))
        self.rows += weights.shape[0] * weights.shape[1] * weights.shape[2]


def _summary(site: StructureSite, name: str, t: int, frames_per_second: float) -> SiteStructure:
    assert site.grid is not None
    grid, mass = site.grid, site.mass / site.rows
    far = torch.arange(grid.time) > FAR_S * frames_per_second
    joint = [_by_frequency_offset(mass[group].sum(0)) for group in octaves(grid.time)]
    frequency = _by_frequency_offset(mass.sum(0))
    return SiteStructure(
        site=name,
        t=t,
        frames=grid.time,
        frames_per_second=frames_per_second,
        same_frequency=frequency[0],
        uniform_same_frequency=1.0 / grid.freq,
        entropy_gap_nat=float(np.log(grid.tokens)) - site.entropy / site.rows,
        far_same_frequency=float(mass[far].diagonal(dim1=1, dim2=2).sum()) if frames_per_second > 0 else float("nan"),
        frequency_mass=frequency,
        frequency_uniform=uniform_offsets(grid.freq),
        time_mass=mass.sum((1, 2)).tolist(),
        time_uniform=uniform_offsets(grid.time),
        joint_mass=joint,
    )


def _by_frequency_offset(mass: Tensor) -> list[float]:
    """(F, F) mass from query bin to key bin -> (F,) by |offset|."""
    return [float(sum(mass.diagonal(o).sum() for o in {df, -df})) for df in range(len(mass))]


@torch.no_grad()
def attention_structure(
    unet: Any, scheduler: Any, clips: ProbeClips, t: int, *, frames_per_second: float = 0.0, seed: int = 0
) -> list[SiteStructure]:
    """Where every site of the finest attention level looks at noise level t, over real noised clips.

    Args:
        frames_per_second: of the tokens at that level (for `far_same_frequency`); 0 where unknown.

    Returns:
        one SiteStructure per site, in the order of `litefocus.sites.find_sites`.
    """
    inner = find_unet(unet)
    sites = find_sites(inner)
    probes = [StructureSite() for _ in sites]
    with patched(SitePatch(inner, sites, lambda number: probes[number])):
        for row in range(len(clips.latents)):
            part = clips.batch(slice(row, row + 1), clips.latents.shape[2])
            noisy, _ = _noised(part, scheduler, t, row, seed)
            unet(noisy, t, **part.condition)
    return [_summary(probe, site.name, t, frames_per_second) for probe, site in zip(probes, sites, strict=True)]
