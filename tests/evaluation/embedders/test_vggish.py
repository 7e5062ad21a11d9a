"""VGGish: frame counts, front end against an independent formulation, network against a hand-built one, variants."""

import numpy as np
import pytest
import scipy.signal
import torch
from networks import save_vggish, write_folder
from torch.nn import functional

from evaluation.embedders.networks.vggish import VGGishEmbedder
from evaluation.embedders.spectrogram import vggish_examples
from evaluation.embedders.weights import VGGISH, WeightsError
from evaluation.embedding.cache import EmbeddingCache
from evaluation.embedding.embed import embed_files
from evaluation.embedding.preprocessing import Preprocessing
from evaluation.metrics.fad import frechet_distance


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return VGGishEmbedder(save_vggish(tmp_path_factory.mktemp("weights") / "vggish.pth"))


def chirp(seconds):
    t = np.arange(round(seconds * 16_000)) / 16_000
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(t))
    return (0.5 * scipy.signal.chirp(t, 100, seconds, 7000) + noise).astype(np.float32)


def textbook_log_mel(waveform):
    """The front end written out bin by bin, after the description in the AudioSet release."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    count = 1 + (len(waveform) - 400) // 160
    frames = np.array([waveform[160 * i : 160 * i + 400] * window for i in range(count)], np.float64)
    spectrum = np.abs(np.fft.rfft(frames, 512))
    mel = lambda hz: 1127.0 * np.log(1 + hz / 700.0)  # noqa: E731
    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    filters = np.zeros((257, 64))
    for band in range(64):
        left, centre, right = edges[band : band + 3]
        for k in range(1, 257):
            position = mel(k * 16_000 / 512)
            if left < position <= centre:
                filters[k, band] = (position - left) / (centre - left)
            elif centre < position < right:
                filters[k, band] = (right - position) / (right - centre)
    return np.log(spectrum @ filters + 0.01)


@pytest.mark.parametrize(("seconds", "count"), [(10, 10), (20, 20), (40, 41), (80, 83), (160, 166), (320, 333)])
def test_frames_per_clip_of_the_published_tools(seconds, count):
    assert vggish_examples(torch.zeros(1, seconds * 16_000)).shape == (1, count, 96, 64)


def test_google_variant_has_nineteen_examples_in_ten_seconds():
    assert vggish_examples(torch.zeros(1, 160_000), 50).shape[1] == 19


def test_log_mel_matches_the_textbook_front_end_on_a_chirp():
    waveform = chirp(2.0)
    examples = vggish_examples(torch.from_numpy(waveform)[None])[0].numpy()
    expected = textbook_log_mel(waveform)[:192].reshape(2, 96, 64)
    np.testing.assert_allclose(examples, expected, atol=1e-5)


def test_shortest_clip(embedder):
    assert embedder.embed([np.ones(15_600, np.float32)])[0]["frames"].shape == (1, 128)
    with pytest.raises(ValueError, match=r"15599 samples; vggish takes at least 15600 at 16000 Hz"):
        embedder.embed([np.ones(15_599, np.float32)])


def test_network_computes_the_published_layers(embedder):
    state = torch.load(embedder.path, weights_only=True)
    example = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    maps = example
    for index, pools in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        maps = functional.relu(functional.conv2d(maps, weight, bias, padding=1))
        maps = functional.max_pool2d(maps, 2) if pools else maps
    rows = torch.stack([maps[:, :, t, f] for t in range(6) for f in range(4)], dim=1).flatten(1)
    for index in (0, 2, 4):
        rows = functional.linear(rows, state[f"embeddings.{index}.weight"], state[f"embeddings.{index}.bias"])
        rows = functional.relu(rows) if index < 4 else rows
    with torch.inference_mode():
        torch.testing.assert_close(embedder.network(example), rows, atol=1e-4, rtol=1e-4)
    assert (rows < 0).any(), "the last layer must have no ReLU"


def test_batches_do_not_change_a_clip(embedder):
    clips = [chirp(2.0), 0.1 * chirp(2.0), chirp(3.0)]
    together = embedder.embed(clips)
    for clip, features in zip(clips, together, strict=True):
        np.testing.assert_allclose(embedder.embed([clip])[0]["frames"], features["frames"], rtol=1e-4, atol=1e-4)
    assert np.abs(together[0]["frames"] - together[1]["frames"]).max() > 1e-3


def test_google_variant_divides_by_the_maximum_but_lifts_by_twenty_decibels_at_most(embedder):
    google = VGGishEmbedder(embedder.path, variant="google")
    loud, quiet, faint = (gain * chirp(2.0) for gain in (1.0, 0.4, 0.01))
    frames = [google.embed([clip.astype(np.float32)])[0]["frames"] for clip in (loud, quiet, faint)]
    np.testing.assert_allclose(frames[0], frames[1], rtol=1e-3, atol=1e-3)
    assert np.abs(frames[0] - frames[2]).max() > 0.1
    assert google.identity != embedder.identity
    with pytest.raises(ValueError, match="variant='tf'"):
        VGGishEmbedder(embedder.path, variant="tf")


def test_another_models_checkpoint_is_refused(tmp_path):
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth is not a VGGish checkpoint: .*features.0.weight"):
        VGGishEmbedder(tmp_path / "other.pth").embed([np.ones(16_000, np.float32)])


def sine_sets(folder):
    """Google's sanity check: ten clean sines of 100 to 1000 Hz, and five of them under noise of two strengths."""
    t = np.arange(160_000) / 16_000
    generator = np.random.default_rng(0)
    clean = {f"{f}": np.sin(2 * np.pi * f * t) for f in range(100, 1100, 100)}
    sets = {"clean": clean}
    for name, strength in (("test1", 1e-4), ("test2", 1e-5)):
        sets[name] = {f: clean[f] + strength * generator.standard_normal(len(t)) for f in list(clean)[:5]}
    return {name: write_folder(folder / name, clips, 16_000) for name, clips in sets.items()}


@pytest.mark.weights
@pytest.mark.parametrize(("variant", "expected"), [("torch", (12.74, 4.98)), ("google", (12.44, 4.77))])
def test_sine_sets_of_google(tmp_path, variant, expected):
    if not VGGISH.path.exists():
        pytest.skip(f"needs {VGGISH.filename} at {VGGISH.path}: get it from {VGGISH.url}")
    embedder = VGGishEmbedder(variant=variant)
    frames = {}
    for name, folder in sine_sets(tmp_path).items():
        paths = {path.stem: path for path in sorted(folder.iterdir())}
        found = embed_files(paths, embedder, Preprocessing(cut="whole"), EmbeddingCache(None))
        frames[name] = found.first_windows("frames")[0]
    for name, value in zip(("test1", "test2"), expected, strict=True):
        assert frechet_distance(frames["clean"], frames[name]) == pytest.approx(value, abs=0.5)
