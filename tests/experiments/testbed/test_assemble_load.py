"""From parts to audio: the assembled folder is a stock AudioLDM2Pipeline, and a changed file is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AudioLDM2Pipeline
from safetensors.torch import load_file, save_file

from experiments.datasets.prompts import Prompt
from experiments.system.files import sha256_file
from experiments.testbed.corpus.scenes import sample_scene
from experiments.testbed.models.clap import clap_config
from experiments.testbed.models.classifier import EventClassifier
from experiments.testbed.models.text import make_roberta_tokenizer, make_text_parts
from experiments.testbed.models.unet import export_unet, make_unet
from experiments.testbed.models.vae import make_vae
from experiments.testbed.models.vocoder import MelGriffinLim
from experiments.testbed.plugin import load
from experiments.testbed.plugin.judges import TestbedClapEmbedder, TestbedClassifierEmbedder
from experiments.testbed.plugin.load import (
    check_file,
    load_clap,
    load_classifier,
    load_testbed_pipeline,
    write_manifest,
)
from experiments.testbed.training.assemble import GATE_KEYS, AssembleSettings, assemble
from experiments.testbed.training.loop import seeded
from experiments.testbed.training.train_clap import save_clap
from experiments.testbed.training.train_state import save_half
from experiments.testbed.training.train_text import save_text_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> AssembleSettings:
    """Untrained parts as the training programs write them."""
    from transformers import ClapModel

    folder = tmp_path_factory.mktemp("parts")
    captions = [sample_scene(i, split="train").caption for i in range(200)]
    make_vae((8, 16, 16)).save_pretrained(folder / "vae")
    export_unet(make_unet((16, 16, 16))).save_pretrained(folder / "unet")
    save_text_parts(make_text_parts(captions), folder / "text")
    MelGriffinLim().save_pretrained(folder / "vocoder")
    save_half(seeded(EventClassifier, 0), folder / "classifier.safetensors")
    tokenizer = make_roberta_tokenizer(captions)
    save_clap(seeded(lambda: ClapModel(clap_config(tokenizer, width=16)), 0), tokenizer, folder / "clap")
    names = ("vae", "unet", "text", "vocoder", "clap")
    return AssembleSettings(
        **{name: str(folder / name) for name in names}, classifier=str(folder / "classifier.safetensors")
    )


@pytest.fixture(scope="module")
def weights(parts: AssembleSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights")
    assemble(AssembleSettings(**{**parts.__dict__, "out": str(out)}))
    return out


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights, tmp_path / "copy"))


def generate(pipe: AudioLDM2Pipeline, duration_s: float) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        ["a dog barks"], audio_length_in_s=duration_s, num_inference_steps=2, guidance_scale=3.0, generator=generator
    ).audios


@pytest.mark.parametrize("duration_s", [5.12, 10.24])
def test_a_prompt_becomes_audio_of_the_asked_length(weights: Path, duration_s: float) -> None:
    pipe = load_testbed_pipeline(weights)
    audio = generate(pipe, duration_s)
    assert audio.shape == (1, int(duration_s * 16000))
    assert np.isfinite(audio).all()
    assert np.array_equal(audio, generate(load_testbed_pipeline(weights), duration_s))


def test_it_is_a_stock_pipeline_in_single_precision(weights: Path) -> None:
    stock = AudioLDM2Pipeline.from_pretrained(weights, dtype=torch.float32)
    ours = load_testbed_pipeline(weights)
    names = ("vae", "unet", "text_encoder", "text_encoder_2", "projection_model", "language_model", "vocoder")
    for name in names:
        module = getattr(ours, name)
        assert {p.dtype for p in module.parameters()} == {torch.float32}, name
        assert not module.training, name
        for a, b in zip(module.parameters(), getattr(stock, name).parameters(), strict=True):
            assert torch.equal(a, b), name
    assert ours.scheduler.config.prediction_type == "v_prediction"
    assert ours.vocoder.config.model_in_dim == 64


def test_shipped_tensors_are_the_trained_ones_in_half_precision(parts: AssembleSettings, weights: Path) -> None:
    name = "diffusion_pytorch_model.safetensors"
    trained, shipped = load_file(Path(parts.unet) / name), load_file(weights / "unet" / name)
    assert trained.keys() == shipped.keys()
    assert all(torch.equal(trained[key].half(), shipped[key]) for key in trained)


def test_parts_may_come_one_after_the_other(parts: AssembleSettings, tmp_path: Path) -> None:
    assemble(AssembleSettings(vocoder=parts.vocoder, classifier=parts.classifier, out=str(tmp_path)))
    assert not (tmp_path / "model_index.json").exists()
    with pytest.raises(ValueError, match=r"model_index\.json is not in"):
        load_testbed_pipeline(tmp_path)
    assert load_classifier(check_file(tmp_path, "classifier.safetensors")).head.out_features == 28
    assemble(AssembleSettings(**{**parts.__dict__, "vocoder": "", "classifier": "", "out": str(tmp_path)}))
    assert generate(load_testbed_pipeline(tmp_path), 5.12).shape == (1, 81920)


@pytest.mark.parametrize("victim", ["unet/diffusion_pytorch_model.safetensors", "vocoder/config.json"])
def test_a_changed_file_is_refused_in_one_line(copy: Path, victim: str) -> None:
    content = bytearray((copy / victim).read_bytes())
    content[-3] ^= 1
    (copy / victim).write_bytes(content)
    with pytest.raises(ValueError, match=f"{victim} has sha256 .* expected .*: restore the file") as error:
        load_testbed_pipeline(copy)
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files_are_refused(copy: Path) -> None:
    (copy / "unet" / "extra.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"unet/extra\.bin is not in"):
        load_testbed_pipeline(copy)
    (copy / "unet" / "extra.bin").unlink()
    (copy / "unet" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_testbed_pipeline(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in"):
        load_testbed_pipeline(copy)


def test_the_manifest_lists_every_file_and_refuses_large_ones(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "README.md").write_text("card")
    listed = json.loads(write_manifest(copy).read_text())["files"]
    present = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    assert set(listed) == present - {"README.md", "manifest.json"}
    assert listed["clap/config.json"]["bytes"] == (copy / "clap" / "config.json").stat().st_size
    save_file({"x": torch.zeros(2**20)}, copy / "large.safetensors")
    monkeypatch.setattr(load, "FILE_LIMIT_BYTES", 2**21)
    with pytest.raises(ValueError, match="large.safetensors has 41"):
        write_manifest(copy)
    monkeypatch.setattr(load, "FILE_LIMIT_BYTES", 2**23)
    monkeypatch.setattr(load, "FOLDER_LIMIT_BYTES", 2**21)
    with pytest.raises(ValueError, match="must stay below 2097152"):
        write_manifest(copy)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no part at .*nowhere"):
        assemble(AssembleSettings(vae=str(tmp_path / "nowhere"), out=str(tmp_path / "out")))


def test_the_embedders_take_the_shipped_weights_and_check_them(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.testbed.plugin.judges.WEIGHTS", copy)
    wave = 0.1 * np.random.default_rng(0).standard_normal(81920).astype(np.float32)
    features = TestbedClassifierEmbedder().embed([wave, wave[:20000]])
    assert features[0]["logits"].shape == (28,)
    assert features[1]["embedding"].shape == (64,)
    clap = TestbedClapEmbedder()
    assert np.linalg.norm(clap.embed([wave])[0]["embedding"]) == pytest.approx(1.0, abs=1e-5)
    model, _ = load_clap(copy / "clap")
    assert next(model.parameters()).dtype == torch.float32
    assert TestbedClassifierEmbedder().identity != clap.identity
    with (copy / "classifier.safetensors").open("ab") as handle:
        handle.write(b"0")
    with pytest.raises(ValueError, match=r"classifier\.safetensors has sha256"):
        TestbedClassifierEmbedder()


def test_the_harness_loads_it_and_its_identity_is_that_of_the_pipelines_parts(copy: Path) -> None:
    arguments = {"name": "testbed", "path": str(copy), "trained": True, "training_length_s": 5.12}
    pipeline = load.load_pipeline(torch.device("cpu"), torch.float32, **arguments)
    assert pipeline.latent_grid(5.12) == (80, 16)
    assert pipeline.sample_rate == 16000
    clip = pipeline.generate([Prompt("a", "a dog barks")], [0], 5.12, 1, 1.0)[0]
    assert clip.samples.shape == (81920,)
    (copy / "classifier.safetensors").write_bytes(b"another judge")
    write_manifest(copy)
    assert load.load_pipeline(torch.device("cpu"), torch.float32, **arguments).weights == pipeline.weights
    shutil.copy(copy / "clap" / "model.safetensors", copy / "vocoder" / "other.safetensors")
    write_manifest(copy)
    assert load.load_pipeline(torch.device("cpu"), torch.float32, **arguments).weights != pipeline.weights


def test_the_gate_ships_with_the_weights_that_it_was_read_on(copy: Path, tmp_path: Path) -> None:
    assert load.load_gate(copy) == ()
    reading = dict.fromkeys(GATE_KEYS, 0) | {"label": "tied", "length": 1, "verdicts": {"deletion": True}, "loss": {}}
    unet = copy / load.UNET_FILE
    own = {"unet_sha256": sha256_file(unet)}

    def ship(*lines: dict) -> None:
        (tmp_path / "gate.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assemble(AssembleSettings(gate=str(tmp_path / "gate.jsonl"), out=str(copy)))

    # A later step of the same label, but of another UNet, and a reading from before hashes were recorded.
    others = [{**reading, "step": 9, "unet_sha256": "0" * 64}, {**reading, "step": 8}]
    ship({**reading, "step": 1, **own}, {**reading, "step": 2, **own}, *others)
    (shipped,) = load.load_gate(copy)
    assert (shipped["step"], shipped["verdicts"]) == (2, {"deletion": True})
    with pytest.raises(ValueError, match=rf"no reading of the UNet with sha256 {own['unet_sha256'][:12]}.*unet="):
        ship(*others)
    state = load_file(unet)
    save_file({name: tensor + 1 for name, tensor in state.items()}, unet)
    write_manifest(copy)
    with pytest.raises(ValueError, match=r"gate\.json was read on another UNet"):
        load.load_gate(copy)
