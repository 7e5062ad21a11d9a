"""An embedder in an environment of its own: here this interpreter stands for the other one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import BandEmbedder, TinyEmbedder, noise_clip, save_tiny, write_folder

from evaluation.embedders import worker
from evaluation.embedders.weights import WeightsError
from evaluation.embedders.worker_embedder import WorkerEmbedder, WorkerError
from evaluation.evaluate import evaluate
from evaluation.presets import find_preset
from evaluation.run import build

CAPTIONS = {"a": "a dog barks", "b": "rain", "c": "a bell rings", "d": "wind"}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The worker finds the tests' classes as a user's own: through PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    for side, first in (("ref", 0), ("gen", 50)):
        write_folder(root / side, {name: noise_clip(first + i, 2, 8000) for i, name in enumerate(CAPTIONS)})
    return root


def bands(**options):
    return WorkerEmbedder("bands.BandEmbedder", sys.executable, **options)


def test_scores_through_a_worker_equal_those_of_the_embedder_itself(folders):
    options = {"metrics": ["fad", "kl", "clap"], "cache_dir": None, "window_s": 1.0, "floors": True}
    roles = ("frames", "classifier", "text")
    here = evaluate(
        folders / "ref", folders / "gen", CAPTIONS, embedders=dict.fromkeys(roles, BandEmbedder()), **options
    )
    there = evaluate(folders / "ref", folders / "gen", CAPTIONS, embedders=dict.fromkeys(roles, bands()), **options)
    assert there.per_clip == here.per_clip
    assert [r.value for r in there.results] == [r.value for r in here.results]
    assert [r.value for r in there.floors] == [r.value for r in here.floors]
    assert there.provenance["embedders"] == here.provenance["embedders"]
    environment = there.provenance["environments"]["frames"]
    assert environment["packages"]["numpy"] == np.__version__
    assert here.provenance["environments"] == {}
    json.dumps(there.provenance)


def test_a_network_is_found_here_and_loaded_there(tmp_path):
    weights = save_tiny(tmp_path / "tiny.pt")
    own, other = TinyEmbedder(weights), WorkerEmbedder("networks.TinyEmbedder", sys.executable, weights, batch_size=3)
    waveforms = [noise_clip(seed, 0.3, 100) for seed in range(5)]
    for one, two in zip(own.embed(waveforms), other.embed(waveforms), strict=True):
        np.testing.assert_array_equal(one["embedding"], two["embedding"])
    assert (other.identity, other.name, other.min_samples, other.max_samples) == (own.identity, "tiny", 10, None)
    assert other.embed([]) == []
    with pytest.raises(TypeError, match="tiny has no embed_text"):
        other.embed_text(["rain"])
    with pytest.raises(WeightsError, match="does not exist"):
        WorkerEmbedder("networks.TinyEmbedder", sys.executable, tmp_path / "absent.pt").identity  # noqa: B018


def test_further_files_are_found_here_and_named_there(tmp_path):
    weights, words = save_tiny(tmp_path / "tiny.pt"), tmp_path / "words"
    made = WorkerEmbedder("networks.TinyEmbedder", sys.executable, weights, files={"weights": weights, "words": words})
    assert made.sources == (weights, weights, words)
    with pytest.raises(WeightsError, match="words does not exist"):
        build.check_sources([made])
    words.mkdir()
    with pytest.raises(TypeError, match="unexpected keyword argument 'words'"):
        made.name  # noqa: B018


def test_errors_of_the_other_side_are_one_line_of_the_same_kind():
    with pytest.raises(TypeError, match="unexpected keyword argument 'size' .in "):
        bands(size=3).name  # noqa: B018
    with pytest.raises(ValueError, match="waveform 0 has 10 samples; bands takes at least 800"):
        bands().embed([np.zeros(10)])
    with pytest.raises(WorkerError, match="module 'bands' has no attribute 'Nothing'"):
        WorkerEmbedder("bands.Nothing", sys.executable).name  # noqa: B018
    with pytest.raises(ImportError, match="No module named 'absent'"):
        WorkerEmbedder("absent.Nothing", sys.executable).name  # noqa: B018
    assert len(bands().embed([np.zeros(800)])) == 1


def test_files_carry_waveforms_and_features_of_any_shape_in_order(tmp_path):
    sent, received = tmp_path / "sent.npz", tmp_path / "received.npz"
    waveforms = [noise_clip(seed, 0.1 + seed / 10) for seed in range(12)]
    worker.write_waveforms(sent, waveforms)
    served = []
    assert worker.answer({"call": "make", "target": "bands.BandEmbedder", "options": {"version": "2"}}, served)[
        "sample_rate"
    ] == 8000  # fmt: skip
    assert worker.answer({"call": "identity"}, served) == BandEmbedder("2").identity
    worker.answer({"call": "embed", "input": str(sent), "output": str(received)}, served)
    for found, expected in zip(worker.read_features(received), BandEmbedder().embed(waveforms), strict=True):
        assert list(found) == ["frames", "embedding", "logits"]
        np.testing.assert_equal(found, expected)
    worker.answer({"call": "embed_text", "captions": ["rain"], "output": str(received)}, served)
    np.testing.assert_equal(worker.read_features(received)[0]["embedding"], BandEmbedder().embed_text(["rain"]))


def test_a_process_that_ends_says_its_last_words(tmp_path, monkeypatch):
    (tmp_path / "ending.py").write_text(
        "import os, sys\nprint('noise on standard output')\n"
        "class Ending:\n    def __init__(self):\n"
        "        print('out of memory', file=sys.stderr, flush=True)\n        os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkerError, match="ended with code 3: out of memory"):
        WorkerEmbedder("ending.Ending", sys.executable).name  # noqa: B018


def test_what_a_package_prints_is_no_reply(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text(
        "import os, numpy as np\nprint('loading')\nos.system('echo from a child')\n"
        "class Loud:\n    name, sample_rate, outputs, min_samples, max_samples = 'loud', 8, ('embedding',), 1, None\n"
        "    identity = '0'\n"
        "    def embed(self, waveforms):\n        print('embedding')\n"
        "        return [{'embedding': np.full(2, len(row), np.float32)} for row in waveforms]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    features = WorkerEmbedder("loud.Loud", sys.executable).embed([np.zeros(3), np.zeros(4)])
    assert [row["embedding"].tolist() for row in features] == [[3.0, 3.0], [4.0, 4.0]]


def test_an_embedder_that_names_what_it_needs_is_refused_where_that_is_not_installed():
    with pytest.raises(ImportError, match="no-such-package is not installed in this environment .in "):
        WorkerEmbedder("bands.NeedyEmbedder", sys.executable).name  # noqa: B018


def test_without_the_second_environment_the_published_preset_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PUBLISHED_ENVIRONMENT", tmp_path / ".venv-published")
    with pytest.raises(
        FileNotFoundError, match=r"\.venv-published, which is not there; make it: make install-published"
    ):
        build.build_embedders(find_preset("published"), ("fad",), {}, {})


def test_the_published_preset_runs_in_the_second_environment(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(build, "PUBLISHED_ENVIRONMENT", tmp_path)
    two = build.build_embedders(find_preset("av-benchmark"), ("clap_on_ms_clap",), {"gpt2": "words"}, {})["ms_clap"]
    assert [str(getattr(source, "filename", source)) for source in two.sources] == ["CLAP_weights_2023.pth", "words"]
    built = build.build_embedders(find_preset("published"), ("fad", "clap"), {"vggish": "v.pth"}, {}, batch_size=2)
    frames, text = built["frames"], built["text"]
    assert frames.python == tmp_path / "bin" / "python"
    assert (frames.target.rpartition(".")[2], str(frames.source), frames.options) == (
        "PackageVGGishEmbedder", "v.pth", {"batch_size": 2},
    )  # fmt: skip
    assert text.source.filename == "630k-audioset-best.pt"


def test_the_process_ends_with_its_owner():
    worker = bands()._worker
    assert worker._process.poll() is None
    worker._end()
    assert worker._process.returncode == 0
    from evaluation.embedders.worker_embedder import _worker

    _worker.cache_clear()
