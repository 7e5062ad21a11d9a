"""The testbed's gate: can this model test a claim about its attention? Five numbers with fixed thresholds.

Read at noise levels t = 500-800, as means over the 12 sites, at each tested length, on 32 held-out real clips:

1. same-frequency attention mass at least 2x uniform;
2. ln N - H (distance from uniform attention) at least 1 nat;
3. deleting the sites costs at least 5% of the loss at t = 500 and at t = 700;
4. focus-only is better than deleted;
5. compensation-only is worse than dense by more than 3 standard errors.

The gate, like the tied initialisation, selects for the structure that LiteFocus assumes: passing it is no result.

A reading names the UNet it was taken on by the sha256 of its half-precision file, the form in which it ships.

    python -m experiments.testbed.assessment.gate run=runs/testbed/unet lengths=1,4 record=results/testbed/gate.jsonl
    W=experiments/testbed/weights
    python -m experiments.testbed.assessment.gate unet=$W/unet vae=$W/vae text=$W steps_before=23800
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AudioLDM2UNet2DConditionModel
from safetensors.torch import load_file, save

from experiments.records.gate_criteria import (
    COMPENSATION_ERRORS,
    DELETION_SHARE,
    ENTROPY_GAP_NAT,
    MASS_RATIO,
    TOKEN_FRAMES_PER_SECOND,
)
from experiments.records.site_structure import FAR_S, SiteStructure, octaves
from experiments.stages.probes import ProbeClips, attention_structure, losses_by_method
from experiments.system.files import write_whole
from experiments.system.settings import program
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, Scene, render_scene, sample_scene
from experiments.testbed.models.judges_data import corpus_version
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.text import TEXT_PARTS
from experiments.testbed.models.vae import encode_mel
from experiments.testbed.models.vocoder import load_vae
from experiments.testbed.training.train_state import append_record, content_digest, half_bytes
from experiments.testbed.training.train_text import load_text_parts
from experiments.testbed.training.train_unet import averaged_unet, encode_text, make_scheduler

LOSS_LEVELS = (500, 700)
STRUCTURE_LEVELS = (500, 600, 700, 800)
FIRST_HELDOUT_SEED = 50_000


@dataclass(frozen=True)
class GateSettings:
    """`run` holds checkpoint.pt; `lengths` are multiples of 5.12 s; structure is read on `structure_clips` clips.

    `unet` is a folder with a saved UNet to read instead of `run`. `steps_before` are those of the run that `run`
    started from, or all that `unet` was trained; records count them.
    """

    run: str = "runs/testbed/unet"
    unet: str = ""
    vae: str = "runs/testbed/vae/vae"
    text: str = "runs/testbed/text"
    cache: str = "runs/testbed/cache"
    lengths: str = "1"
    clips: int = 32
    structure_clips: int = 32
    record: str = "results/testbed/gate.jsonl"
    label: str = "tied"
    steps_before: int = 0


@dataclass(frozen=True)
class GateReading:
    """The gate at one length. Losses are per noise level of LOSS_LEVELS; errors are standard errors over clips.

    `same_frequency_by_site`: mass per site, mean over STRUCTURE_LEVELS. `frequency_mass` and `time_mass`: attention
    by |offset| over that of uniform attention, in bins and in octaves of token frames (0, 1, 2-3, 4-7, ...).
    """

    length: int
    clips: int
    same_frequency_ratio: float
    entropy_gap_nat: float
    far_same_frequency: float
    deletion_share: dict[str, float]
    focus_minus_deleted: dict[str, float]
    compensation_minus_dense: dict[str, float]
    compensation_errors: dict[str, float]
    loss: dict[str, dict[str, float]]
    same_frequency_by_site: list[float]
    frequency_mass: list[float]
    time_mass: list[float]

    def verdicts(self) -> dict[str, bool]:
        """Pass or fail of the five criteria; those on losses hold at every noise level of LOSS_LEVELS."""
        return {
            "same_frequency": self.same_frequency_ratio >= MASS_RATIO,
            "entropy_gap": self.entropy_gap_nat >= ENTROPY_GAP_NAT,
            "deletion": min(self.deletion_share.values()) >= DELETION_SHARE,
            "focus_beats_deleted": max(self.focus_minus_deleted.values()) < 0.0,
            "compensation_worse": min(self.compensation_errors.values()) > COMPENSATION_ERRORS,
        }


def heldout_scenes(count: int) -> list[Scene]:
    """Held-out scenes without an order in time: single events and "while" pairs alternate."""
    kinds = ("single", "while")
    return [
        sample_scene(FIRST_HELDOUT_SEED + index, split="heldout", relation=kinds[index % 2]) for index in range(count)
    ]


@torch.no_grad()
def heldout_clips(settings: GateSettings, length: int) -> ProbeClips:
    """Latents and text inputs of held-out clips of `length` x 5.12 s; cached under the digest of what made them."""
    text_parts = (Path(settings.text) / name for name in TEXT_PARTS)
    made_by = content_digest(corpus_version(), Path(settings.vae), *text_parts)
    path = Path(settings.cache) / f"heldout_{settings.clips}_{length}x_{made_by}.safetensors"
    if not path.exists():
        vae = load_vae(settings.vae)
        scenes = heldout_scenes(settings.clips)
        tensors = encode_text(load_text_parts(Path(settings.text)), [scene.caption for scene in scenes])
        audio = [render_scene(scene, length * TRAIN_DURATION_S) for scene in scenes]
        latents = [encode_mel(vae, log_mel(torch.from_numpy(samples)[None])) for samples in audio]
        tensors["latents"] = torch.cat(latents).half()
        write_whole(path, save(tensors))
    tensors = load_file(path)
    text = {
        "encoder_hidden_states": tensors["generated"].float(),
        "encoder_hidden_states_1": tensors["t5"].float(),
        "encoder_attention_mask_1": tensors["t5_mask"].long(),
    }
    return ProbeClips(tensors["latents"].float(), text)


def read_gate(unet: Any, scheduler: Any, clips: ProbeClips, length: int, structure_clips: int) -> GateReading:
    """Takes the five numbers at one length (a multiple of the training length)."""
    few = clips.batch(slice(0, structure_clips), clips.latents.shape[2])
    rate = TOKEN_FRAMES_PER_SECOND
    structure: list[SiteStructure] = []
    for t in STRUCTURE_LEVELS:
        structure += attention_structure(unet, scheduler, few, t, frames_per_second=rate)
    losses = losses_by_method(unet, scheduler, clips, LOSS_LEVELS)
    dense = losses["dense"]

    def difference(method: str, base: str) -> dict[str, np.ndarray]:
        return {str(t): losses[method][t] - losses[base][t] for t in LOSS_LEVELS}

    compensation = difference("compensation_only", "dense")
    means = {t: float(x.mean()) for t, x in compensation.items()}
    errors = {t: float(x.std(ddof=1) / len(x) ** 0.5) for t, x in compensation.items()}
    return GateReading(
        length=length,
        clips=len(clips.latents),
        same_frequency_ratio=float(np.mean([s.same_frequency / s.uniform_same_frequency for s in structure])),
        entropy_gap_nat=float(np.mean([s.entropy_gap_nat for s in structure])),
        far_same_frequency=float(np.mean([s.far_same_frequency for s in structure])),
        deletion_share={t: float(x.mean() / dense[int(t)].mean()) for t, x in difference("deleted", "dense").items()},
        focus_minus_deleted={t: float(x.mean()) for t, x in difference("focus_only", "deleted").items()},
        compensation_minus_dense=means,
        compensation_errors={t: means[t] / errors[t] for t in means},
        loss={name: {str(t): float(x.mean()) for t, x in by_t.items()} for name, by_t in losses.items()},
        same_frequency_by_site=_by_site(structure),
        frequency_mass=_over_uniform(structure, "frequency", [[o] for o in range(len(structure[0].frequency_mass))]),
        time_mass=_over_uniform(structure, "time", octaves(structure[0].frames)),
    )


def _by_site(structure: list[SiteStructure]) -> list[float]:
    names = list(dict.fromkeys(site.site for site in structure))
    return [float(np.mean([s.same_frequency for s in structure if s.site == name])) for name in names]


def _over_uniform(structure: list[SiteStructure], axis: str, groups: list[list[int]]) -> list[float]:
    mass = np.mean([getattr(site, f"{axis}_mass") for site in structure], axis=0)
    uniform = np.asarray(getattr(structure[0], f"{axis}_uniform"))
    return [float(mass[group].sum() / uniform[group].sum()) for group in groups]


def describe(reading: GateReading) -> str:
    """The reading in one line per criterion, with pass or FAIL."""
    verdicts = {name: "pass" if passed else "FAIL" for name, passed in reading.verdicts().items()}
    percent = {t: f"{100 * x:.1f}%" for t, x in reading.deletion_share.items()}
    focus = {t: f"{x:+.4f}" for t, x in reading.focus_minus_deleted.items()}
    errors = {t: f"{x:.1f}" for t, x in reading.compensation_errors.items()}
    return "\n".join(
        (
            f"{reading.length}x, {reading.clips} clips, dense loss {reading.loss['dense']}",
            f"  {verdicts['same_frequency']} same-frequency mass {reading.same_frequency_ratio:.2f} x uniform"
            f" (beyond {FAR_S:g} s: {reading.far_same_frequency:.3f})",
            f"  {verdicts['entropy_gap']} ln N - H {reading.entropy_gap_nat:.2f} nat",
            f"  {verdicts['deletion']} deletion costs {percent}",
            f"  {verdicts['focus_beats_deleted']} focus-only minus deleted {focus}",
            f"  {verdicts['compensation_worse']} compensation-only minus dense, in standard errors {errors}",
        )
    )


def load_unet(settings: GateSettings) -> tuple[AudioLDM2UNet2DConditionModel, int]:
    """The UNet to read, its weights rounded to half precision as they ship but computed with in single; its steps.

    Raises:
        FileNotFoundError: no checkpoint in `run`.
        ValueError: `unet` without `steps_before`.
    """
    if not settings.unet:
        unet, steps = averaged_unet(Path(settings.run))
        return unet.half().float(), settings.steps_before + steps
    if settings.steps_before < 1:
        raise ValueError(f"unet={settings.unet} does not say how long it was trained: give steps_before=, at least 1")
    unet = AudioLDM2UNet2DConditionModel.from_pretrained(settings.unet, dtype=torch.float32, local_files_only=True)
    return unet.half().float().eval(), settings.steps_before


def _main(settings: GateSettings) -> None:
    unet, step = load_unet(settings)
    unet_sha256 = hashlib.sha256(half_bytes(unet.state_dict())).hexdigest()
    for length in (int(word) for word in settings.lengths.split(",")):
        clips = heldout_clips(settings, length)
        reading = read_gate(unet, make_scheduler(), clips, length, settings.structure_clips)
        record = {"label": settings.label, "step": step, "unet_sha256": unet_sha256}
        append_record(Path(settings.record), record | asdict(reading) | {"verdicts": reading.verdicts()})
        print(f"step {step} {describe(reading)}")


if __name__ == "__main__":
    program(GateSettings, _main, __doc__)
