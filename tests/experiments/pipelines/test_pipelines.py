"""The three published families, tiny and with random weights, through the code that loads and runs the real ones."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableAudioDiTModel
from published_layout import BUILDERS, CAPTIONS, write_published

from experiments.checks.lines import FAIL, OK
from experiments.checks.weights import file_lines
from experiments.datasets.prompts import Prompt
from experiments.pipelines.pipeline import load_published, select_device
from experiments.pipelines.pipeline_folder import hash_weights
from experiments.pipelines.untrained import build_untrained, seeded_initialisation
from litefocus import inject_lite_focus, lite_focus

CPU = torch.device("cpu")


def load(path, family):
    return load_published(
        CPU, torch.float32, name="tiny", family=family, hub_id="nobody/nothing", revision=None, path=str(path),
        trained=True, training_length_s=10.24,
    )  # fmt: skip


@pytest.mark.parametrize("family", BUILDERS)
def test_a_local_folder_loads_and_runs_under_the_method(tmp_path, family):
    pipeline = load(write_published(tmp_path, family), family)
    arguments = ([Prompt("a", CAPTIONS[0]), Prompt("b", CAPTIONS[1])], [0, 1], 1.0, 2, 3.0)
    dense = pipeline.generate(*arguments)
    with lite_focus(pipeline.pipe) as sites:
        sparse = pipeline.generate(*arguments)
    assert sites >= 3
    assert [clip.samples.shape for clip in dense] == [(16000,), (16000,)]
    assert all(clip.latency_s > 0 and clip.step_s > 0 for clip in dense)
    # Random weights make quiet audio: compare with its own size, not with an absolute number.
    scale = np.abs(dense[0].samples).max()
    assert np.abs(dense[0].samples - sparse[0].samples).max() > 1e-6 * scale
    assert np.array_equal(dense[0].samples, pipeline.generate(*arguments)[0].samples)
    assert pipeline.weights == f"sha256:{hash_weights(tmp_path)}"


def test_the_weights_identity_follows_the_content(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"1")
    first = hash_weights(tmp_path)
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"2")
    assert hash_weights(tmp_path) != first
    (tmp_path / "unet" / "a.safetensors").rename(tmp_path / "a.safetensors")
    assert len({first, hash_weights(tmp_path)}) == 2


def test_weights_behind_a_link_to_a_folder_count(tmp_path):
    """A second model behind the same link would share the first one's run folder."""
    plain = tmp_path / "plain"
    (plain / "unet").mkdir(parents=True)
    (plain / "unet" / "a.safetensors").write_bytes(b"1")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "unet").symlink_to(plain / "unet")
    (plain / "unet" / "back").symlink_to(plain)
    first = hash_weights(linked)
    (plain / "unet" / "a.safetensors").write_bytes(b"2")
    assert len({first, hash_weights(linked), hash_weights(tmp_path / "nothing")}) == 3
    (plain / "unet" / "back").unlink()
    assert hash_weights(linked) == hash_weights(plain)


def only_its_config(folder):
    for file in (folder / "tokenizer").iterdir():
        if file.name != "tokenizer_config.json":
            file.unlink()


def shorter(name):
    def cut(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def as_variant(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))


def without_weights(folder):
    for file in (folder / "unet").glob("diffusion_pytorch_model.*"):
        file.unlink()


DAMAGE = {
    "no_vocabulary": (only_its_config, r"tokenizer holds no vocabulary \(tokenizer.json, vocab.json"),
    "no_tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer is missing; save the folder"),
    "lfs_pointer": (
        lambda folder: (folder / "vocoder/model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
        "vocoder/model.safetensors: no whole safetensors file",
    ),
    "cut_weights": (shorter("unet/diffusion_pytorch_model.safetensors"), "model.safetensors: no whole safetensors"),
    "cut_tokenizer": (shorter("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json: not valid JSON"),
    "list_config": (lambda folder: (folder / "unet/config.json").write_text("[]"), "unet/config.json: got a list"),
    "variant_alone": (as_variant, "fp16.safetensors, a variant that is not read"),
    "no_weights": (without_weights, "unet holds no .safetensors file"),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), "AudioLDMPipeline")


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused_by_file_and_the_check_says_the_same(tmp_path, published, damage, message):
    folder = shutil.copytree(published, tmp_path / "folder")
    assert {line.mark for line in file_lines(folder)} == {OK}
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refused:
        load(folder, "AudioLDMPipeline")
    assert "\n" not in str(refused.value)
    assert [line.text for line in file_lines(folder) if line.mark == FAIL] == [str(refused.value)]


def test_a_tokenizer_that_knows_no_word_is_refused_after_loading(tmp_path, published):
    """One without a vocabulary gives every caption the same tokens, so every clip the same text."""
    folder = shutil.copytree(published, tmp_path / "folder")
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).unlink()
    file = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    kept = {token: number for token, number in content["model"]["vocab"].items() if token.startswith("<")}
    content["model"] |= {"vocab": kept, "merges": []}
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="tokenizer of .*folder gives every caption the same tokens"):
        load(folder, "AudioLDMPipeline")


def test_a_folder_of_another_family_says_which_pipeline_takes_it(published):
    with pytest.raises(ValueError, match="got a AudioLDMPipeline, this pipeline= loads a .*; take pipeline=audioldm$"):
        load(published, "AudioLDM2Pipeline")


def test_a_pickle_in_the_folder_is_refused(tmp_path):
    with seeded_initialisation(0):
        BUILDERS["AudioLDMPipeline"]().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(FileNotFoundError, match=r"holds \.bin weights only; save its \.safetensors file"):
        load(tmp_path, "AudioLDMPipeline")


def test_errors_name_what_is_accepted(tmp_path):
    with pytest.raises(
        ValueError, match=re.escape("accepted are AudioLDM2Pipeline, AudioLDMPipeline, MusicLDMPipeline")
    ):
        load(tmp_path, "StableAudioPipeline")
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json in"):
        load(tmp_path, "AudioLDM2Pipeline")
    for text, message in (("[]", "got a list, accepted is an object"), ("{", "not valid JSON")):
        (tmp_path / "model_index.json").write_text(text)
        with pytest.raises(ValueError, match=rf"model_index\.json: {message}"):
            load(tmp_path, "AudioLDM2Pipeline")
    with pytest.raises(ValueError, match="device 'tpu': accepted are auto, cpu, cuda"):
        select_device("tpu")


def test_shards_on_one_machine_take_its_devices_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [select_device("auto", shard) for shard in (0, 3, 4, 6)] == [torch.device("cuda", i) for i in (0, 3, 0, 2)]
    assert select_device("cpu", 3) == CPU
    assert select_device("cuda:1", 3) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="device 'cuda:4': torch sees 4 CUDA devices here, counted from 0"):
        select_device("cuda:4")


def test_a_model_without_a_frequency_axis_is_refused():
    with seeded_initialisation(0):
        dit = StableAudioDiTModel(
            sample_size=8, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
            num_key_value_attention_heads=1, out_channels=4, cross_attention_dim=4, time_proj_dim=4,
            global_states_input_dim=4, cross_attention_input_dim=4,
        )  # fmt: skip
    with pytest.raises(TypeError, match="StableAudioDiTModel has no UNet with a frequency axis"):
        inject_lite_focus(dit)


@pytest.fixture(scope="module")
def tiny():
    return build_untrained(CPU, torch.float32, name="tiny", seed=0, size="tiny", trained=False, training_length_s=10.24)


@pytest.mark.parametrize(("duration_s", "frames"), [(10, 250), (10.24, 256), (1.0, 25), (0.04, 1), (10.01, 251)])
def test_latent_grid(tiny, duration_s, frames):
    assert tiny.latent_grid(duration_s) == (frames, 16)


@pytest.mark.parametrize("duration_s", [0.1 + 0.2, 1.005, 0.9999375])
def test_any_whole_number_of_samples_can_be_asked_for(tiny, duration_s):
    (clip,) = tiny.generate([Prompt("a", "rain")], [0], duration_s, 1, 3.5)
    assert len(clip.samples) == round(duration_s * 16000)
    assert np.isnan(clip.step_s)


@pytest.mark.parametrize(("duration_s", "message"), [(0.039, "at least 0.04 s"), (1.00001, "whole number of samples")])
def test_lengths_that_cannot_be_exact_are_refused(tiny, duration_s, message):
    with pytest.raises(ValueError, match=message):
        tiny.check_duration(duration_s)


def test_untrained_weights_depend_on_the_seed_and_leave_the_global_rng_alone(tiny):
    state = torch.random.get_rng_state()
    again, other = (
        build_untrained(CPU, torch.float32, name="t", seed=seed, size="tiny", trained=False, training_length_s=10.24)
        for seed in (0, 1)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    first, second, third = (p.pipe.unet.conv_in.weight for p in (tiny, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert tiny.weights == again.weights != other.weights


def test_untrained_may_not_be_declared_trained():
    with pytest.raises(ValueError, match="this pipeline has random weights"):
        build_untrained(CPU, torch.float32, name="t", seed=0, size="tiny", trained=True, training_length_s=1.0)
