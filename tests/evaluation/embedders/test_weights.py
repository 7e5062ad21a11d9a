"""Weight files: hashes, downloads, safe reading, and errors that say what to do."""

import hashlib
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evaluation.embedders import weights
from evaluation.embedders.network import hash_weights
from evaluation.embedders.weights import (
    CLAP_MUSIC_SPEECH_AUDIOSET,
    CNN14_16K,
    VGGISH,
    WeightsError,
    WeightSource,
    find_weights,
    load_exactly,
    read_state_dict,
)

CONTENT = b"weights" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path):
    return WeightSource("weights.x", "x.pth", "https://example.org/x.pth", "MIT", SHA, folder=tmp_path / "w")


class Response(io.BytesIO):
    headers = {"Content-Length": str(len(CONTENT))}  # noqa: RUF012


@pytest.fixture
def served(monkeypatch):
    opened = []

    def urlopen(url, timeout):
        opened.append(url)
        return Response(CONTENT)

    monkeypatch.setattr(weights.urllib.request, "urlopen", urlopen)
    return opened


def test_a_download_is_checked_kept_and_not_repeated(source, served):
    assert find_weights(source).read_bytes() == CONTENT
    assert find_weights(source) == source.path
    assert served == ["https://example.org/x.pth"]
    assert [path.name for path in source.path.parent.iterdir()] == ["x.pth"]


def test_a_download_with_another_hash_is_refused_and_removed(source, served):
    wrong = source.with_sha256("0" * 64)
    with pytest.raises(WeightsError, match=f"has sha256 {SHA}, expected {'0' * 64}.*weights.x"):
        find_weights(wrong)
    assert list(source.path.parent.iterdir()) == []


@pytest.mark.parametrize("sha256", ["", SHA[:1], SHA[:63], SHA + "0", "g" * 64, SHA + "\n"])
def test_a_hash_has_64_hex_digits(source, served, sha256):
    with pytest.raises(ValueError, match=r"weights.x: sha256 '.*'; give its 64 hex digits"):
        find_weights(source.with_sha256(sha256))
    assert served == []


def test_no_hash_stands_for_a_model_folder():
    folder = WeightSource("weights.clap", "clap-htsat-unfused", "the Hugging Face hub, laion/x", "Apache-2.0")
    with pytest.raises(ValueError, match=r"clap-htsat-unfused is a folder .*; save it and set weights.clap"):
        folder.with_sha256(SHA)


def test_a_file_in_place_is_checked_too(source):
    source.path.parent.mkdir()
    source.path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"it is not x.pth; delete it, or set weights.x"):
        find_weights(source)


def test_without_a_hash_nothing_is_fetched(source, served):
    unknown = replace(source, sha256=None)
    with pytest.raises(WeightsError, match=r"x.pth is not at .*x.pth and its hash is not known here.*weights.x"):
        find_weights(unknown)
    assert served == []
    unknown.path.parent.mkdir()
    unknown.path.write_bytes(CONTENT)
    assert find_weights(unknown) == unknown.path


def test_a_hash_in_the_file_name_is_checked(source):
    source.path.parent.mkdir()
    source.path.write_bytes(CONTENT)
    assert find_weights(replace(source, sha256=None, sha256_prefix=SHA[:8])) == source.path
    with pytest.raises(WeightsError, match="expected 10086976"):
        find_weights(replace(source, sha256=None, sha256_prefix="10086976"))


def test_offline_the_error_names_file_source_place_and_option(source, monkeypatch):
    def refuse(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    with pytest.raises(WeightsError) as caught:
        find_weights(source)
    for part in ("x.pth", "https://example.org/x.pth", str(source.path), "weights.x", "network is unreachable"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interrupted_download_leaves_nothing(source, monkeypatch):
    class Broken(Response):
        def read(self, size=-1):
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: Broken(CONTENT))
    with pytest.raises(WeightsError, match="reset by peer"):
        find_weights(source)
    assert list(source.path.parent.iterdir()) == []


def test_local_paths(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    assert find_weights(tmp_path / "a.pth") == tmp_path / "a.pth"
    with pytest.raises(WeightsError, match="nowhere.pth does not exist"):
        find_weights(str(tmp_path / "nowhere.pth"))


def test_what_is_known_of_the_published_files():
    assert CNN14_16K.sha256.startswith("e2ee543a27919542")
    assert CLAP_MUSIC_SPEECH_AUDIOSET.sha256.startswith("51c68f12f9d7ea25")
    assert (VGGISH.sha256, VGGISH.sha256_prefix) == (None, "10086976")
    assert VGGISH.filename == f"vggish-{VGGISH.sha256_prefix}.pth"


def test_state_dicts_from_pickles_and_safetensors(tmp_path):
    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"model": state, "epoch": 3}, tmp_path / "nested.pth")
    save_file(state, tmp_path / "a.safetensors")
    for path, entry in (("plain.pth", None), ("nested.pth", "model"), ("a.safetensors", None)):
        assert torch.equal(read_state_dict(tmp_path / path, entry)["a"], state["a"])


@pytest.mark.parametrize("core", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_scalars_of_either_generation_pass(tmp_path, core):
    torch.save({"loss": np.float64(0.5), "n": np.int64(3), "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    found = "numpy._core.multiarray" if "_core" in np.float64(0).__reduce__()[0].__module__ else "numpy.core.multiarray"
    rewrite_pickle(tmp_path / "a.pt", f"c{found}\n".encode(), f"c{core}\n".encode())
    assert read_state_dict(tmp_path / "a.pt", "state_dict")["a"].item() == 1


def rewrite_pickle(path, old, new):
    """Replace bytes in the pickle inside a torch zip archive."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data.replace(old, new) if name.endswith("data.pkl") else data)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_code_in_a_pickle_is_never_run(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil.pth cannot be read as a checkpoint without running its code"):
        read_state_dict(tmp_path / "evil.pth", "model")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state_dict(tmp_path / "raw.pth")


@pytest.mark.parametrize("entry", ["model", None])
def test_a_checkpoint_without_tensors_by_name(tmp_path, entry):
    torch.save({"epoch": 3} if entry else [torch.ones(1)], tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_state_dict(tmp_path / "a.pth", entry)


def test_loading_is_exact(tmp_path):
    network = torch.nn.Linear(2, 2)
    with pytest.raises(WeightsError, match=r"a.pth is not a Linear checkpoint: .*bias"):
        load_exactly(network, {"weight": torch.ones(2, 2)}, tmp_path / "a.pth")


def test_the_identity_of_a_model_folder_is_that_of_what_decides_its_results(tmp_path):
    def folder(name, **files):
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return hash_weights(tmp_path / name)

    model = {"config.json": "{}", "model.safetensors": "weights", "merges.txt": "a b"}
    plain = folder("saved", **model)
    extra = {".cache/huggingface/download/config.json.metadata": "yesterday", ".gitattributes": "x", "README.md": "y",
             "LICENSE": "z", "pytorch_model.bin": "a second copy", ".DS_Store": "?"}  # fmt: skip
    assert folder("downloaded", **model, **extra) == plain
    assert folder("other", **{**model, "merges.txt": "a c"}) != plain
    assert folder("pickled", **{"pytorch_model.bin": "1"}) != folder("pickled again", **{"pytorch_model.bin": "2"})
