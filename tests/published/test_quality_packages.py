"""Networks of packages that came later, on seeded random weights. Runs in the second environment."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MISSING

if MISSING or importlib.util.find_spec("audiobox_aesthetics") is None:
    pytest.skip(
        "audiobox-aesthetics not installed: this runs in the second environment (make test-published)",
        allow_module_level=True,
    )

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

from audiobox_aesthetics.infer import AesPredictor
from audiobox_aesthetics.model.aes import AesMultiOutput
from networks import noise_clip, write_folder

from evaluation.embedders.packages import PackageAestheticsEmbedder
from evaluation.evaluate import evaluate
from evaluation.weights import WeightsError

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
    np.testing.assert_allclose(found, expected, rtol=1e-5)
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
