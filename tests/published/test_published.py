"""Our numbers against the released packages, on seeded random weights. Runs in the second environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import MISSING, agree

if MISSING:
    pytest.skip(
        f"{', '.join(MISSING)} not installed: this runs in the second environment (make test-published)",
        allow_module_level=True,
    )

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

import frechet_audio_distance
import laion_clap
from frechet_audio_distance.models import pann
from hear21passt import base
from hear21passt.models import passt
from local_hub import REVISION
from networks import save_cnn14, save_vggish
from torchvggish import mel_features, torchvggish, vggish_input

from evaluation.embedders.networks.laion import LaionClapEmbedder
from evaluation.embedders.networks.packages import PackageClapEmbedder, PackagePasstEmbedder, PackageVGGishEmbedder
from evaluation.embedders.networks.panns import Cnn14Embedder
from evaluation.embedders.networks.vggish import VGGishEmbedder
from evaluation.embedders.spectrogram import vggish_examples
from evaluation.embedders.weights import WeightsError, read_state_dict
from evaluation.evaluate import evaluate
from evaluation.metrics.fad import frechet_distance

PACKAGE = "frechet-audio-distance"
CAPTIONS = ["a dog barks while rain falls", "A bell rings, then a horn sounds.", "wind"]


def noise(seconds, rate, seed=0):
    t = np.arange(round(seconds * rate)) / rate
    samples = 0.1 * np.random.default_rng(seed).standard_normal(len(t)) + 0.3 * np.sin(2 * np.pi * 440 * (seed + 1) * t)
    return samples.astype(np.float32)


def test_vggish_log_mel_equals_torchvggish():
    waveform = noise(3, 16_000)
    expected = vggish_input.waveform_to_examples(waveform, 16_000, return_tensor=False)
    found = vggish_examples(torch.from_numpy(waveform)[None])[0].numpy()
    agree("VGGish log-mel", "torchvggish", found, expected, atol=1e-5)
    frames = mel_features.log_mel_spectrogram(
        waveform, audio_sample_rate=16_000, log_offset=0.01, window_length_secs=0.025, hop_length_secs=0.01,
        num_mel_bins=64, lower_edge_hertz=125, upper_edge_hertz=7500,
    )  # fmt: skip
    assert frames.shape == (298, 64)


@pytest.fixture(scope="module")
def vggish(tmp_path_factory):
    return save_vggish(tmp_path_factory.mktemp("weights") / "vggish.pth")


def test_vggish_frames_equal_torchvggish(vggish):
    waveforms = [noise(1, 16_000, seed) for seed in range(2)]
    ours = VGGishEmbedder(vggish).embed(waveforms)
    theirs = PackageVGGishEmbedder(vggish).embed(waveforms)
    for one, other in zip(ours, theirs, strict=True):
        agree("VGGish frames", "torchvggish", one["frames"], other["frames"], rtol=1e-4, atol=1e-4)


def distance_of_package(first, second):
    package = frechet_audio_distance.FrechetAudioDistance.__new__(frechet_audio_distance.FrechetAudioDistance)
    moments = [value for rows in (first, second) for value in package.calculate_embd_statistics(rows)]
    return package.calculate_frechet_distance(*moments)


def test_frechet_distance_equals_the_package_at_full_rank_and_below():
    generator = np.random.default_rng(0)
    full = [generator.standard_normal((1000, 128)) @ generator.standard_normal((128, 128)) for _ in range(2)]
    agree("Fréchet distance, n > d", PACKAGE, frechet_distance(*full), distance_of_package(*full), rtol=1e-6)
    few = [generator.standard_normal((100, 128)) + shift for shift in (0.0, 0.3)]
    agree("Fréchet distance, n < d", PACKAGE, frechet_distance(*few), distance_of_package(*few), rtol=1e-5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    for side, first in (("ref", 0), ("gen", 100)):
        (root / side).mkdir()
        for i in range(8):
            soundfile.write(root / side / f"c{i}.wav", noise(2, 16_000, first + i), 16_000, subtype="FLOAT")
    return root


def test_whole_fad_equals_the_packages_own_score(folders, vggish, monkeypatch):
    """Their loading, embedding, statistics and distance, with only the download replaced."""

    def local_model(repo_or_dir, model):
        network = torchvggish.VGG(torchvggish.make_layers(), postprocess=False)
        network.load_state_dict(torch.load(vggish, weights_only=True) | {})
        network.forward = lambda audio, rate: torchvggish.VGG.forward(
            network, vggish_input.waveform_to_examples(audio, rate)
        )
        return network

    monkeypatch.setattr(torch.hub, "load", local_model)
    package = frechet_audio_distance.FrechetAudioDistance(model_name="vggish", sample_rate=16_000)
    theirs = package.score(str(folders / "ref"), str(folders / "gen"))
    weights = {"vggish": str(vggish)}
    options = {"weights": weights, "metrics": ["fad"], "cache_dir": None, "floors": False, "window_s": 2.0}
    ours = evaluate(folders / "ref", folders / "gen", **options)
    named = evaluate(folders / "ref", folders / "gen", preset="published", **options)
    assert theirs > 1
    agree("FAD of two folders, from file to score", PACKAGE, ours.value("fad"), theirs, rtol=1e-4)
    assert named.value("fad") == pytest.approx(theirs, rel=1e-4)
    assert named.results[0].preset == "published"


def test_cnn14_equals_the_package_network(tmp_path):
    checkpoint = save_cnn14(tmp_path / "cnn14.pth")
    package = pann.Cnn14_16k(
        sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=527
    ).eval()
    package.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    waveform = noise(2, 16_000)
    with torch.inference_mode():
        theirs = package(torch.from_numpy(waveform)[None], None)
    ours = Cnn14Embedder(checkpoint).embed([waveform])[0]
    agree("Cnn14 16 kHz, embedding", PACKAGE, ours["embedding"], theirs["embedding"][0], rtol=1e-3, atol=1e-3)
    posteriors = 1 / (1 + np.exp(-ours["logits"].astype(np.float64)))
    agree("Cnn14 16 kHz, posteriors", PACKAGE, posteriors, theirs["clipwise_output"][0], atol=1e-3)


def test_their_own_checkpoint_layout_is_read(tmp_path):
    """A state dict written by their network, not by ours."""
    torch.manual_seed(0)
    package = pann.Cnn14(
        sample_rate=32_000, window_size=1024, hop_size=320, mel_bins=64, fmin=50, fmax=14_000, classes_num=527
    ).eval()
    torch.save({"model": package.state_dict()}, tmp_path / "32k.pth")
    waveform = noise(1, 32_000)
    with torch.inference_mode():
        theirs = package(torch.from_numpy(waveform)[None], None)["embedding"][0].numpy()
    ours = Cnn14Embedder(tmp_path / "32k.pth", sample_rate=32_000).embed([waveform])[0]["embedding"]
    agree("Cnn14 32 kHz, embedding", PACKAGE, ours, theirs, rtol=1e-3, atol=1e-5)


def test_pann_fad_of_the_package_is_a_scalar_fad():
    """Open issue 37: vectors of clips are joined end to end, so that mean and covariance are single numbers."""
    package = frechet_audio_distance.FrechetAudioDistance.__new__(frechet_audio_distance.FrechetAudioDistance)
    package.model_name, package.verbose, package.device = "pann", False, torch.device("cpu")
    package.model = lambda audio, _: {"embedding": audio[:, :2048]}
    rows = package.get_embeddings([noise(1, 16_000, seed) for seed in range(4)], 16_000)
    assert rows.shape == (4 * 2048,)
    assert package.calculate_embd_statistics(rows)[1].shape == ()


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """A LAION checkpoint as their training writes it: prefixed names, NumPy scalars beside the tensors."""
    path = tmp_path_factory.mktemp("weights") / "clap.pt"
    torch.manual_seed(1)
    module = laion_clap.CLAP_Module(enable_fusion=False, device="cpu").model
    for name, value in module.named_parameters():
        # Fresh networks barely react to their input; spread the weights so that a wrong mapping would show.
        if value.ndim > 1 and "embeddings" not in name and "extractor" not in name:
            torch.nn.init.xavier_uniform_(value, gain=1.5)
    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    torch.save({"epoch": np.int64(15), "best": np.float64(0.9), "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def tokenizer():
    from conftest import HOME

    return HOME / "hub" / "models--roberta-base" / "snapshots" / REVISION


@pytest.fixture(scope="module")
def laion(clap):
    return PackageClapEmbedder(clap)


@pytest.fixture(scope="module")
def own(clap, tokenizer):
    return LaionClapEmbedder(clap, tokenizer)


@pytest.mark.parametrize("seconds", [10.0, 7.0, 3.0])
def test_clap_audio_equals_laion(laion, own, seconds):
    waveforms = [noise(seconds, 48_000, seed) for seed in range(2)]
    ours, theirs = own.embed(waveforms), laion.embed(waveforms)
    for one, other in zip(ours, theirs, strict=True):
        agree("CLAP audio, unit vectors", "laion-clap", one["embedding"], other["embedding"], atol=1e-4)
    assert np.abs(theirs[0]["embedding"] - theirs[1]["embedding"]).max() > 1e-3


def test_clap_text_equals_laion(laion, own):
    ours, theirs = own.embed_text(CAPTIONS), laion.embed_text(CAPTIONS)
    agree("CLAP text, unit vectors", "laion-clap", ours, theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3


def test_clap_score_through_both_code_paths(folders, clap, tokenizer):
    captions = {f"c{i}": CAPTIONS[i % 3] + f" {i}" for i in range(8)}
    options = {"metrics": ["clap"], "cache_dir": None, "floors": False, "window_s": 2.0}
    weights = {"clap": str(clap), "tokenizer": str(tokenizer)}
    published = evaluate(None, folders / "gen", captions, preset="published", weights=weights, **options)
    own = evaluate(None, folders / "gen", captions, preset="tango", weights=weights, **options)
    agree("CLAP score of a folder", "laion-clap", own.value("clap"), published.value("clap"), atol=1e-4)
    for clip, row in published.per_clip.items():
        assert own.per_clip[clip]["clap"] == pytest.approx(row["clap"], abs=1e-4)


def test_passt_equals_the_package_as_audioldm_eval_calls_it(tmp_path, monkeypatch):
    """Branch passt_replace_panns: `get_basic_model(mode="logits")` on the first 10 s, zeros after a shorter clip."""
    load = passt.get_model
    monkeypatch.setattr(base, "get_model_passt", lambda arch: load(arch=arch, pretrained=False))
    torch.manual_seed(0)
    package = base.get_basic_model(mode="logits").eval()
    torch.save(package.net.state_dict(), tmp_path / "passt.pt")
    ours = PackagePasstEmbedder(tmp_path / "passt.pt")
    for seconds in (10.0, 3.0):
        waveform = noise(seconds, 32_000)
        filled = torch.nn.functional.pad(torch.from_numpy(waveform), (0, 320_000 - len(waveform)))[None]
        with torch.inference_mode():
            logits, embedding = package.net(package.mel(filled).unsqueeze(1))
            np.testing.assert_array_equal(package(filled), logits)
        found = ours.embed([waveform])[0]
        agree("PaSST logits", "hear21passt", found["logits"], logits[0], rtol=1e-5, atol=1e-5)
        agree("PaSST embedding", "hear21passt", found["embedding"], embedding[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="at most 320000"):
        ours.embed([noise(11, 32_000)])


def test_laion_draws_a_random_crop_beyond_ten_seconds(laion):
    """Why longer clips are refused: the package answers differently each time."""
    module = laion.network
    long = np.concatenate([noise(10, 48_000, 1), noise(10, 48_000, 20)])[None]
    np.random.seed(0)  # noqa: NPY002 (the package draws from the global generator)
    with torch.inference_mode():
        values = [module.get_audio_embedding_from_data(long) for _ in range(3)]
    assert max(np.abs(values[0] - value).max() for value in values[1:]) > 1e-3
    with pytest.raises(ValueError, match="at most 480000"):
        laion.embed([long[0]])


def test_a_fusion_checkpoint_is_refused(clap, tokenizer, tmp_path):
    state = read_state_dict(clap, "state_dict")
    state["module.audio_branch.patch_embed.mel_conv2d.weight"] = torch.ones(1)
    torch.save({"state_dict": state}, tmp_path / "fusion.pt")
    with pytest.raises(ValueError, match="fusion model"):
        LaionClapEmbedder(tmp_path / "fusion.pt", tokenizer).embed([noise(1, 48_000)])
    torch.save({"state_dict": {"module.visual.weight": torch.ones(1)}}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match="no LAION CLAP"):
        LaionClapEmbedder(tmp_path / "clip.pt", tokenizer).embed([noise(1, 48_000)])


@pytest.mark.skipif(
    "MAIN_PYTHON" not in os.environ, reason="MAIN_PYTHON names no main environment (make test-published)"
)
def test_the_main_environment_scores_a_run_as_this_one_does(folders, vggish, clap, tmp_path):
    """`metrics=published` in the harness's own environment: the same values, and what made them in the records."""
    (tmp_path / "prompts.txt").write_text("\n".join(CAPTIONS))
    run = tmp_path / "run"
    words = ["pipeline=testbed", "metrics=published", "data=captions", f"data.file={tmp_path / 'prompts.txt'}",
             "durations=[1.28]", "steps=1", "seeds=[0,1]", "stages=[generate,score]",
             f"metrics.weights.vggish={vggish}", f"metrics.weights.clap={clap}",
             f"metrics.cache_dir={tmp_path / 'cache'}", f"out_dir={run}",
             f"hydra.run.dir={tmp_path / 'log'}"]  # fmt: skip
    script = (
        "import sys; from experiments.datasets.prompts import load_captions\n"
        "print(*(prompt.id for prompt in load_captions(sys.argv[1])))"
    )
    root = Path(__file__).resolve().parents[2]
    main = {"cwd": root, "check": True, "text": True, "env": os.environ | {"PYTHONPATH": str(root)}}
    listed = subprocess.run(
        [os.environ["MAIN_PYTHON"], "-c", script, str(tmp_path / "prompts.txt")], stdout=subprocess.PIPE, **main
    )
    ids = listed.stdout.split()
    references = tmp_path / "references"
    references.mkdir()
    for number, name in enumerate(ids):
        soundfile.write(references / f"{name}.wav", noise(1.28, 16_000, 50 + number), 16_000, subtype="FLOAT")
    subprocess.run(
        [os.environ["MAIN_PYTHON"], "-m", "experiments.run", *words, f"data.references={references}"], **main
    )
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    found = {r["metric"]: r for r in records if r["kind"] == "metric" and r["window"] < 0 and not r["baseline"]}
    (audio,) = (folder for folder in (run / "audio").iterdir() if folder.is_dir())
    captions = dict(zip(ids, CAPTIONS, strict=True))
    inside = evaluate(
        references, audio, captions, preset="published", weights={"vggish": str(vggish), "clap": str(clap)},
        id_pattern="(.*)_[0-9]+", window_s=1.28, duration_s=1.28, cache_dir=None, floors=False,
    )  # fmt: skip
    for metric in ("fad", "clap"):
        assert found[metric]["value"] == pytest.approx(inside.value(metric), rel=1e-6)
        assert found[metric]["preset"] == "published"
    per_clip = {name: scores["clap"] for name, scores in inside.per_clip.items()}
    assert found["clap"]["details"]["per_clip"] == pytest.approx(per_clip, rel=1e-6)
    made_with = found["clap"]["details"]
    assert found["clap"]["judges"] == {"text": inside.provenance["embedders"]["text"]}
    assert made_with["environment"]["packages"]["laion-clap"] == "1.1.7"
    assert made_with["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]
