"""Networks of packages that came later, on seeded random weights. Runs in the second environment."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MISSING, agree

if MISSING or not all(importlib.util.find_spec(name) for name in ("audiobox_aesthetics", "msclap")):
    pytest.skip(
        "audiobox-aesthetics or msclap not installed: this runs in the second environment (make test-published)",
        allow_module_level=True,
    )

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

import msclap.models.clap
from audiobox_aesthetics.infer import AesPredictor
from audiobox_aesthetics.model.aes import AesMultiOutput
from local_hub import bytes_to_unicode
from msclap.CLAPWrapper import CLAPWrapper
from networks import noise_clip, write_folder
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from evaluation.embedders.networks.ms_clap import MsClapEmbedder
from evaluation.embedders.networks.packages import PackageAestheticsEmbedder
from evaluation.embedders.weights import WeightsError
from evaluation.evaluate import evaluate

AXES = ("CE", "CU", "PC", "PQ")
SETTINGS = {
    "proj_num_layer": 5, "proj_ln": True, "proj_act_fn": "gelu", "proj_dropout": 0, "nth_layer": 13,
    "use_weighted_layer_sum": True, "precision": "bf16", "normalize_embed": True, "output_dim": 1,
}  # fmt: skip
TARGETS = {axis: {"mean": 5.0 + number, "std": 1.5 - number / 4} for number, axis in enumerate(AXES)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """In the layout that the package's own predictor reads: names below "model.", settings and scale beside them."""
    torch.manual_seed(0)
    network = AesMultiOutput(**SETTINGS, target_transform=TARGETS)
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pt"
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "model_cfg": SETTINGS, "target_transform": TARGETS}, path)
    return path


def noise(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(round(seconds * 16_000))
    return (0.1 * samples).astype(np.float32)


def of_package(checkpoint, waveforms):
    rows = [{"path": torch.from_numpy(row)[None], "sample_rate": 16_000} for row in waveforms]
    return np.array([[row[axis] for axis in AXES] for row in AesPredictor(checkpoint).forward(rows)])


def test_aesthetics_equal_the_package_for_whole_short_and_long_clips(checkpoint):
    waveforms = [noise(10, 1), noise(3.5, 2), noise(20, 3)]
    expected = of_package(str(checkpoint), waveforms)
    ours = PackageAestheticsEmbedder(checkpoint)
    found = [row["embedding"] for row in ours.embed([*waveforms[:2], *np.split(waveforms[2], 2)])]
    found = np.array([*found[:2], np.mean(found[2:], axis=0)])
    agree("Aesthetics, four axes", "audiobox-aesthetics", found, expected, rtol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3, "the network hears a difference"
    with pytest.raises(ValueError, match="at most 160000"):
        ours.embed([noise(11)])


def test_aesthetics_of_a_folder_are_means_of_its_clips(checkpoint, tmp_path):
    clips = {f"c{number}": noise_clip(number, 10, 16_000) for number in range(3)}
    write_folder(tmp_path / "gen", clips, 16_000)
    metrics = [f"aesthetics_{axis.lower()}" for axis in AXES]
    found = evaluate(
        None, tmp_path / "gen", metrics=metrics, weights={"aesthetics": str(checkpoint)}, cache_dir=None, floors=False
    )
    expected = of_package(str(checkpoint), [clip.astype(np.float32) for clip in clips.values()])
    assert [found.value(metric) for metric in metrics] == pytest.approx(expected.mean(axis=0), rel=1e-4)
    assert found.provenance["embedders"]["aesthetics"].endswith(PackageAestheticsEmbedder(checkpoint).identity)


def test_another_checkpoint_is_named(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "model_cfg": {}}, tmp_path / "bare.pt")
    with pytest.raises(WeightsError, match=r"bare.pt is no checkpoint of audiobox-aesthetics: it lacks 'proj_num"):
        PackageAestheticsEmbedder(tmp_path / "bare.pt").embed([noise(1)])
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match=r"cut.pt is not a AesMultiOutput checkpoint: .*Missing key"):
        PackageAestheticsEmbedder(tmp_path / "cut.pt").embed([noise(1)])


CAPTIONS = ["a dog barks while rain falls", "wind!", "a bell rings, then " + "a horn sounds and " * 8]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """GPT-2's tokenizer with single bytes for words: token 0 is "!", as in the real one, the last ends a text."""
    folder = tmp_path_factory.mktemp("gpt2")
    vocabulary = {token: number for number, token in enumerate(bytes_to_unicode())}
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "<|endoftext|>": 50_256}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder


@pytest.fixture(scope="module")
def ms_clap(tmp_path_factory, gpt2):
    """The package's own wrapper, offline, and the checkpoint that it loaded, with the masks that the real one holds."""

    class Local:
        @staticmethod
        def from_pretrained(name):
            assert name == "gpt2"
            return GPT2Model(GPT2Config())

    class Tokenizer:
        @staticmethod
        def from_pretrained(name):
            found = AutoTokenizer.from_pretrained(gpt2)
            # Gone from transformers 5; the package calls it with one text.
            type(found).encode_plus = lambda self, text, **options: self(text, **options)
            return found

    patch = pytest.MonkeyPatch()
    patch.setattr(msclap.models.clap, "AutoModel", Local)
    patch.setattr("msclap.CLAPWrapper.AutoTokenizer", Tokenizer)
    torch.manual_seed(0)
    settings = {"window_size": 1024, "hop_size": 320, "mel_bins": 64, "fmin": 50, "fmax": 8000, "classes_num": 527}
    network = msclap.models.clap.CLAP(
        audioenc_name="HTSAT", sample_rate=44_100, out_emb=768, text_model="gpt2", transformer_embed_dim=768,
        d_proj=1024, **settings,
    )  # fmt: skip
    state = network.state_dict()
    masks = {
        f"caption_encoder.base.h.{n}.attn.{what}": torch.ones(1) for n in range(12) for what in ("bias", "masked_bias")
    }
    path = tmp_path_factory.mktemp("weights") / "CLAP_weights_2023.pth"
    torch.save({"model": {**state, **masks}}, path)
    yield CLAPWrapper(path, version="2023"), path
    patch.undo()


@pytest.mark.parametrize("seconds", [7.0, 3.0])
def test_ms_clap_audio_equals_the_package(ms_clap, gpt2, tmp_path, seconds):
    package, path = ms_clap
    write_folder(tmp_path / "audio", {"c": noise_clip(1, seconds, 44_100)}, 44_100)
    expected = package._get_audio_embeddings(
        package.default_collate([first_of(package, tmp_path / "audio" / "c.wav").reshape(1, -1)])
    )[0]
    found = MsClapEmbedder(path, gpt2).embed([noise_clip(1, seconds, 44_100)])[0]["embedding"]
    agree("MS-CLAP audio", "msclap", found, expected, atol=1e-5)


def first_of(package, path):
    """Their tiling of a file of at most 7 s, read without torchaudio, whose loading needs another package by now."""
    import soundfile

    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    package.read_audio = lambda audio_path, resample: (samples[None], 44_100)
    return package.load_audio_into_tensor(path, 7, True)


def test_ms_clap_takes_the_first_seven_seconds_where_the_package_draws_some(ms_clap, gpt2):
    ours = MsClapEmbedder(ms_clap[1], gpt2)
    long = noise_clip(2, 10, 44_100)
    one, two = ours.embed([long, long[: 7 * 44_100]])
    np.testing.assert_allclose(one["embedding"], two["embedding"], atol=1e-5)
    with pytest.raises(ValueError, match="at most 441000"):
        ours.embed([noise_clip(2, 11, 44_100)])


def test_ms_clap_text_equals_the_package_whatever_stands_beside_it(ms_clap, gpt2):
    package, path = ms_clap
    expected = torch.cat([package.get_text_embeddings([caption]) for caption in CAPTIONS]).numpy()
    found = MsClapEmbedder(path, gpt2).embed_text(CAPTIONS)
    agree("MS-CLAP text", "msclap", found, expected, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_a_network_that_the_ms_clap_checkpoint_does_not_fill_is_refused(ms_clap, gpt2, tmp_path):
    content = torch.load(ms_clap[1], weights_only=True)
    del content["model"]["audio_encoder.projection.linear1.weight"]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match="cut.pth is not a CLAP checkpoint: .*linear1.weight"):
        MsClapEmbedder(tmp_path / "cut.pth", gpt2).embed([noise_clip(1, 1, 44_100)])
