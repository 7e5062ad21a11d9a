"""The gate's verdicts at and around its thresholds, its arithmetic, and its figures."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from experiments.figures.gate_figures import gate_figure, plot_offsets, plot_steps, read_record
from experiments.stages.probes import METHODS, ProbeClips, attention_structure, denoising_loss
from experiments.system.files import sha256_file
from experiments.testbed.assessment.gate import (
    GateReading,
    GateSettings,
    describe,
    heldout_clips,
    heldout_scenes,
    load_unet,
    read_gate,
)
from experiments.testbed.models.unet import make_unet
from experiments.testbed.models.vae import make_vae
from experiments.testbed.plugin.load import UNET_FILE, WEIGHTS
from experiments.testbed.training.assemble import half_bytes
from experiments.testbed.training.train_text import load_text_parts
from experiments.testbed.training.train_unet import make_scheduler

PASSING = GateReading(
    length=1,
    clips=16,
    same_frequency_ratio=2.0,
    entropy_gap_nat=1.0,
    far_same_frequency=0.2,
    deletion_share={"500": 0.05, "700": 0.06},
    focus_minus_deleted={"500": -0.01, "700": -0.01},
    compensation_minus_dense={"500": 0.02, "700": 0.02},
    compensation_errors={"500": 3.1, "700": 3.1},
    loss={"dense": {"500": 0.4, "700": 0.7}},
    same_frequency_by_site=[0.25] * 12,
    frequency_mass=[2.0] + [0.9] * 7,
    time_mass=[3.0, 1.0],
)


def test_thresholds() -> None:
    assert all(PASSING.verdicts().values())
    failing = {
        "same_frequency": replace(PASSING, same_frequency_ratio=1.99),
        "entropy_gap": replace(PASSING, entropy_gap_nat=0.99),
        "deletion": replace(PASSING, deletion_share={"500": 0.5, "700": 0.049}),
        "focus_beats_deleted": replace(PASSING, focus_minus_deleted={"500": -0.1, "700": 0.001}),
        "compensation_worse": replace(PASSING, compensation_errors={"500": 9.0, "700": 3.0}),
    }
    for name, reading in failing.items():
        assert [key for key, passed in reading.verdicts().items() if not passed] == [name]
        assert describe(reading).count("FAIL") == 1


def clips() -> ProbeClips:
    generator = torch.Generator().manual_seed(0)
    text = {
        "encoder_hidden_states": torch.randn(3, 8, 64, generator=generator),
        "encoder_hidden_states_1": torch.randn(3, 10, 64, generator=generator),
        "encoder_attention_mask_1": torch.ones(3, 10, dtype=torch.long),
    }
    return ProbeClips(torch.randn(3, 8, 16, 16, generator=generator), text)


def test_reading_is_made_of_paired_losses_and_site_means() -> None:
    unet, scheduler, real = make_unet().eval(), make_scheduler(), clips()
    reading = read_gate(unet, scheduler, real, 1, structure_clips=2)
    dense, deleted, sampled = (
        denoising_loss(unet, scheduler, real, 700, METHODS[name]) for name in ("dense", "deleted", "compensation_only")
    )
    assert reading.deletion_share["700"] == pytest.approx((deleted.mean() - dense.mean()) / dense.mean(), rel=1e-6)
    difference = sampled - dense
    assert reading.compensation_errors["700"] == pytest.approx(
        difference.mean() / (difference.std(ddof=1) / np.sqrt(3)), rel=1e-6
    )
    few = real.batch(slice(0, 2), 16)
    sites = [s for t in (500, 600, 700, 800) for s in attention_structure(unet, scheduler, few, t)]
    assert reading.same_frequency_ratio == pytest.approx(8 * np.mean([s.same_frequency for s in sites]), rel=1e-6)
    assert reading.entropy_gap_nat == pytest.approx(np.mean([s.entropy_gap_nat for s in sites]), rel=1e-6)
    assert len(reading.same_frequency_by_site) == 12
    assert reading.frequency_mass[0] == pytest.approx(reading.same_frequency_ratio, rel=1e-6)


def test_heldout_scenes_have_no_order_in_time() -> None:
    scenes = heldout_scenes(6)
    assert [scene.relation for scene in scenes] == ["single", "while"] * 3
    assert heldout_scenes(4) == scenes[:4]


def test_the_shipped_unet_is_read_and_named_by_its_own_file() -> None:
    unet, step = load_unet(GateSettings(unet=str(WEIGHTS / "unet"), steps_before=6100))
    assert step == 6100
    assert unet.dtype == torch.float32
    assert hashlib.sha256(half_bytes(unet.state_dict())).hexdigest() == sha256_file(WEIGHTS / UNET_FILE)
    with pytest.raises(ValueError, match="give steps_before="):
        load_unet(GateSettings(unet=str(WEIGHTS / "unet")))


def test_shipped_text_parts_compute_in_single_precision() -> None:
    modules = load_text_parts(WEIGHTS).modules().values()
    assert {parameter.dtype for module in modules for parameter in module.parameters()} == {torch.float32}


def test_held_out_latents_are_cached_under_the_vae_that_made_them(tmp_path: Path) -> None:
    settings = GateSettings(text=str(WEIGHTS), vae=str(tmp_path / "vae"), cache=str(tmp_path / "cache"), clips=1)
    latents = []
    for seed in (0, 0, 1):
        make_vae((8, 16, 16), seed=seed).save_pretrained(tmp_path / "vae")
        latents.append(heldout_clips(settings, 1).latents)
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_gate_is_read_on_32_clips() -> None:
    assert GateSettings().clips == 32


def test_figures_are_drawn_from_the_record(tmp_path: Path) -> None:
    record = tmp_path / "gate.jsonl"
    one = asdict(PASSING)
    lines = [{"label": "tied", "step": step} | one for step in (100, 200, 200)]
    lines += [{"label": "tied", "step": 200} | one | {"length": 4}, {"label": "short", "step": 100} | one]
    record.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert len(read_record(record)) == 4
    written = gate_figure(tmp_path, tmp_path / "figures" / "gate")
    assert [path.name for path in written] == ["gate.svg", "gate.png", "gate.pdf"]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in gate_figure(tmp_path, tmp_path / "figures" / "gate")] == first
    with pytest.raises(FileNotFoundError, match="gate"):
        read_record(tmp_path / "missing.jsonl")
    assert gate_figure(tmp_path / "figures", tmp_path / "none") == []


def test_every_run_is_drawn_in_a_colour_of_its_own() -> None:
    """A list of five colours once cut the sixth run, the UNet that ships, from the training figure."""
    runs = [f"run{number}" for number in range(12)]
    readings = [{"label": run, "step": 100} | asdict(PASSING) | {"length": n} for run in runs for n in (1, 4)]
    figure, axes = plt.subplots(1, 5)
    plot_steps(readings, list(axes[:3]))
    plot_offsets(readings, list(axes[3:]))
    for ax, names in ((axes[0], runs), (axes[3], [f"{run}, step 100" for run in runs])):
        colours = {line.get_label(): line.get_color() for line in ax.get_lines()}
        assert len({colours[name] for name in names}) == len(runs)
    plt.close(figure)


def test_a_run_read_at_one_length_is_left_out_of_the_offsets() -> None:
    one = asdict(PASSING)
    readings = [{"label": "tied", "step": step} | one | {"length": n} for step, n in ((100, 1), (200, 1), (200, 4))]
    figure, axes = plt.subplots(1, 2)
    plot_offsets([*readings, {"label": "short", "step": 100} | one], list(axes))
    drawn = {line.get_label(): line for line in axes[0].get_lines()}
    assert "tied, step 200" in drawn
    assert not any("short" in label for label in drawn)
    assert drawn["tied, step 200"].get_ydata().tolist() == PASSING.frequency_mass
    assert [line.get_linestyle() for line in axes[1].get_lines()[:2]] == ["-", "-."]
    plt.close(figure)
