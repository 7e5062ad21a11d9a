"""A weights folder from a stranger: code in it is never run, whichever loader reads it."""

import json
import shutil

import pytest
import torch

from evaluation.embedders.networks.ast import AstEmbedder
from evaluation.embedders.networks.clap import ClapEmbedder
from evaluation.embedders.networks.laion import LaionClapEmbedder
from evaluation.embedders.networks.panns import Cnn14Embedder
from evaluation.embedders.networks.vggish import VGGishEmbedder
from evaluation.embedders.weights import WeightsError
from experiments.pipelines.pipeline import load_published
from experiments.testbed.plugin import load
from experiments.testbed.training.train_state import load_checkpoint

CPU = torch.device("cpu")


class Bomb:
    """Leaves a file behind where it is unpickled by anything that runs code."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (exec, (f"open({self.marker!r}, 'w')",))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code-ran"


@pytest.fixture
def folder(tmp_path):
    """A copy of the testbed's weights, to be tampered with."""
    return shutil.copytree(load.WEIGHTS, tmp_path / "weights")


def published(folder, **changes):
    options = {"name": "x", "family": "AudioLDM2Pipeline", "hub_id": "cvssp/audioldm2", "revision": "0" * 40}
    options |= {"path": str(folder), "trained": True, "training_length_s": 10.24}
    return load_published(CPU, torch.float32, **options | changes)


@pytest.mark.parametrize("part", ["unet", "vae", "vocoder", "text_encoder", "language_model"])
def test_a_pickle_in_place_of_safetensors_is_refused_by_name(folder, marker, part):
    (weights,) = (folder / part).glob("*.safetensors")
    weights.unlink()
    names = {"model.safetensors": "pytorch_model.bin"}
    torch.save({"a": Bomb(marker)}, folder / part / names.get(weights.name, "diffusion_pytorch_model.bin"))
    with pytest.raises(
        FileNotFoundError, match=rf"{weights.parent.name} holds .bin weights only; save its .safetensors"
    ):
        published(folder)
    assert not marker.exists()


def test_code_that_a_folder_brings_is_refused(folder, marker):
    code = f"open({str(marker)!r}, 'w')\nclass Evil:\n    @classmethod\n    def from_pretrained(cls, *a, **k): pass\n"
    (folder / "unet" / "evil.py").write_text(code)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Evil"]}))
    with pytest.raises(ValueError, match="contains custom code"):
        published(folder)
    (folder / "pipeline.py").write_text(code)
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline", "Evil"]}))
    with pytest.raises(ValueError, match=r"got a \['pipeline', 'Evil'\], this pipeline= loads a"):
        published(folder)
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["subprocess", "Popen"]}))
    with pytest.raises(ValueError, match="cannot be loaded"):
        published(folder)
    assert not marker.exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "c8e7e18", "C" * 40, "0" * 41])
def test_a_revision_that_can_move_is_refused_before_the_network(revision, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(ValueError, match=r"fetched at a pinned commit only.*cvssp/audioldm2"):
        published(None, path=None, revision=revision)


def test_the_testbed_refuses_a_changed_or_added_file(folder, marker):
    torch.save({"a": Bomb(marker)}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="is not in .*manifest"):
        load.load_testbed_pipeline(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").unlink()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"has sha256 .*, expected .*restore the file"):
        load.load_testbed_pipeline(folder)
    assert not marker.exists()


def test_the_judges_refuse_pickles(folder, tmp_path, marker):
    torch.save({"a": Bomb(marker)}, tmp_path / "classifier.safetensors")
    with pytest.raises(Exception, match="[Hh]eader"):
        load.load_classifier(tmp_path / "classifier.safetensors")
    (folder / "clap" / "model.safetensors").unlink()
    torch.save({"a": Bomb(marker)}, folder / "clap" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load.load_clap(folder / "clap")
    assert not marker.exists()


def test_a_training_state_is_read_without_its_code(tmp_path, marker):
    torch.save({"model": {}, "extra": Bomb(marker)}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load_checkpoint(tmp_path / "state.pt")
    assert not marker.exists()


@pytest.mark.parametrize("build", [VGGishEmbedder, Cnn14Embedder, lambda path: LaionClapEmbedder(path, path.parent)])
def test_published_checkpoints_of_the_judges(build, tmp_path, marker):
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {"a": torch.ones(1)}, "state_dict": {"a": torch.ones(1)}, "extra": Bomb(marker)}, path)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint without running its code"):
        build(path)._load(path)
    assert not marker.exists()


@pytest.mark.parametrize("build", [AstEmbedder, ClapEmbedder])
def test_folders_of_the_judges(build, folder, marker):
    clap = folder / "clap"
    (clap / "model.safetensors").unlink()
    torch.save({"a": Bomb(marker)}, clap / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="does not hold a"):
        build(clap)._load(clap)
    assert not marker.exists()


def test_a_tokenizer_that_brings_code_is_not_asked_about(folder, marker):
    clap = folder / "clap"
    config = json.loads((clap / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    (clap / "tokenizer_config.json").write_text(json.dumps(config))
    (clap / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    assert type(ClapEmbedder(clap).tokenizer).__name__ != "Evil"
    assert not marker.exists()
