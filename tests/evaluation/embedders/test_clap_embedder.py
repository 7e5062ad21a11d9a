"""CLAP: layouts of short, exact and long clips, int16, front end against transformers, text, refusals, LAION names."""

import shutil

import numpy as np
import pytest
import torch
from networks import WORDS, save_clap, save_tokenizer, stft_kernels
from safetensors.torch import load_file, save_file

from evaluation.audio.io import int16_round_trip
from evaluation.embedders.networks.clap import ClapEmbedder, repeat_pad
from evaluation.embedders.networks.laion import LaionClapEmbedder, config_of, convert
from evaluation.embedders.spectrogram import slaney_filters
from evaluation.embedders.weights import WeightsError
from evaluation.embedding.cache import EmbeddingCache
from evaluation.embedding.embed import embed_files
from evaluation.embedding.preprocessing import Preprocessing

RATE = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clap(tmp_path_factory.mktemp("weights") / "clap")


@pytest.fixture(scope="module")
def embedder(folder):
    return ClapEmbedder(folder)


def noise(seconds, seed=0):
    t = np.arange(round(seconds * RATE)) / RATE
    samples = 0.2 * np.random.default_rng(seed).standard_normal(len(t)) + 0.3 * np.sin(2 * np.pi * 300 * (seed + 1) * t)
    return samples.astype(np.float32)


def test_seven_seconds_are_taken_once_and_three_thrice():
    seven, three = torch.arange(1.0, 7 * 48 + 1)[None], torch.arange(1.0, 3 * 48 + 1)[None]
    assert torch.equal(repeat_pad(seven, 480)[0], torch.cat([seven[0], torch.zeros(480 - 7 * 48)]))
    assert torch.equal(repeat_pad(three, 480)[0], torch.cat([three[0]] * 3 + [torch.zeros(48)]))
    exact = torch.arange(480.0)[None]
    assert torch.equal(repeat_pad(exact, 480), exact)


@pytest.mark.parametrize("seconds", [10.0, 7.0, 3.0])
def test_log_mel_and_layout_equal_transformers(embedder, seconds):
    waveform = noise(seconds)
    expected = embedder.extractor(waveform, sampling_rate=RATE, truncation="rand_trunc", return_tensors="np")
    found = embedder._log_mel(repeat_pad(torch.from_numpy(waveform)[None], 480_000)).numpy()
    assert found.shape == (1, 1001, 64)
    np.testing.assert_allclose(found, expected["input_features"][0], atol=2e-3)


def test_audio_embeddings_equal_transformers(embedder, folder):
    from transformers import ClapModel

    waveform = noise(10.0)
    inputs = embedder.extractor(waveform, sampling_rate=RATE, truncation="rand_trunc", return_tensors="pt")
    with torch.inference_mode():
        expected = ClapModel.from_pretrained(folder).get_audio_features(inputs["input_features"].float())
    expected = getattr(expected, "pooler_output", expected)[0].numpy()
    found = embedder.embed([waveform])[0]["embedding"]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)


def test_text_embeddings_equal_transformers(embedder, folder):
    from transformers import ClapModel

    captions = ["a dog barks", "rain"]
    tokens = embedder.tokenizer(captions, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = ClapModel.from_pretrained(folder).get_text_features(tokens["input_ids"], tokens["attention_mask"])
    expected = getattr(expected, "pooler_output", expected).numpy()
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed_text(captions), expected, atol=1e-5)


def test_a_caption_does_not_depend_on_its_neighbours_or_on_the_batch(folder):
    one_by_one = ClapEmbedder(folder, batch_size=1)
    captions = [f"{word} {'and ' * number}" for number, word in enumerate(WORDS)]
    together = ClapEmbedder(folder, batch_size=8).embed_text(captions)
    for caption, row in zip(captions, together, strict=True):
        np.testing.assert_allclose(one_by_one.embed_text([caption])[0], row, atol=1e-6)
    assert np.linalg.norm(together[0] - together[1]) > 1e-4
    long = "word " * 200
    np.testing.assert_array_equal(one_by_one.embed_text([long]), one_by_one.embed_text([long + "more"]))
    with pytest.raises(ValueError, match="got no captions"):
        one_by_one.embed_text([])


def test_clips_beyond_ten_seconds_are_cut_into_windows_or_refused(embedder, tmp_path):
    import soundfile

    with pytest.raises(ValueError, match="491520 samples; clap takes at least 1 and at most 480000"):
        embedder.embed([noise(10.24)])
    soundfile.write(tmp_path / "c.wav", noise(10.24), RATE, subtype="FLOAT")
    found = embed_files({"c": tmp_path / "c.wav"}, embedder, Preprocessing(), EmbeddingCache(None))
    trimmed = embedder.embed([noise(10.24)[:480_000]])[0]["embedding"]
    np.testing.assert_array_equal(found.features[0]["embedding"], trimmed[None])


def test_a_tiled_clip_scores_like_its_ten_seconds_and_twice_the_same(embedder, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "long.wav", np.tile(noise(10.0), 4), RATE, subtype="FLOAT")
    runs = [
        embed_files({"c": tmp_path / "long.wav"}, embedder, Preprocessing(), EmbeddingCache(None)).features[0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0]["embedding"], runs[1]["embedding"])
    assert runs[0]["embedding"].shape == (4, 16)
    once = embedder.embed([noise(10.0)])[0]["embedding"]
    np.testing.assert_allclose(runs[0]["embedding"], np.tile(once, (4, 1)), atol=1e-6)


def test_int16_changes_little_and_the_identity(folder, embedder):
    coarse = ClapEmbedder(folder, int16=True)
    waveform = noise(10.0)
    assert np.abs(int16_round_trip(waveform) - np.clip(waveform, -1, 1)).max() <= 1 / 32767
    np.testing.assert_array_equal(
        coarse.embed([waveform])[0]["embedding"], embedder.embed([int16_round_trip(waveform)])[0]["embedding"]
    )
    assert coarse.identity != embedder.identity


def test_the_global_random_state_is_left_alone(embedder):
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    embedder.embed([noise(3.0)])
    embedder.embed_text(["dog"])
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.random.get_rng_state())


def test_fusion_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a fusion model, whose crops are drawn at random"):
        ClapEmbedder(save_clap(tmp_path / "fusion", fusion=True)).embed([noise(1.0)])


@pytest.mark.parametrize("change", ["missing", "mismatched"])
def test_a_folder_without_all_tensors_is_refused_and_not_filled_at_random(tmp_path, change):
    folder = save_clap(tmp_path / "clap")
    state = load_file(folder / "model.safetensors")
    name = "audio_projection.linear1.weight"
    state = {key: value for key, value in state.items() if key != name}
    if change == "mismatched":
        state[name] = torch.zeros(3, 3)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"is no whole ClapModel: 1 tensors are .*, first {name}; save"):
        ClapEmbedder(folder).embed([noise(1.0)])


def test_index_buffers_may_be_missing_as_they_follow_from_the_sizes(folder, embedder, tmp_path):
    older = tmp_path / "clap"
    shutil.copytree(folder, older)
    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if value.is_floating_point()}
    assert len(kept) < len(state)
    save_file(kept, older / "model.safetensors", metadata={"format": "pt"})
    expected = embedder.embed([noise(1.0)])[0]["embedding"]
    np.testing.assert_array_equal(ClapEmbedder(older).embed([noise(1.0)])[0]["embedding"], expected)
    np.testing.assert_array_equal(ClapEmbedder(older).embed_text(["rain"]), embedder.embed_text(["rain"]))


def test_an_incomplete_folder_is_named(tmp_path):
    with pytest.raises(WeightsError, match="does not hold a ClapFeatureExtractor"):
        ClapEmbedder(tmp_path).embed([noise(1.0)])
    with pytest.raises(WeightsError, match=r"clap-htsat-unfused.*laion/clap-htsat-unfused.*weights.clap"):
        ClapEmbedder(_nowhere(tmp_path)).embed([noise(1.0)])


def test_a_tokenizer_without_a_vocabulary_is_refused(tmp_path):
    folder = save_clap(tmp_path / "clap")
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(WeightsError, match=r"clap has no vocabulary|does not hold a AutoTokenizer"):
        ClapEmbedder(folder).embed_text(["a dog barks"])


def _nowhere(folder):
    from dataclasses import replace

    from evaluation.embedders.networks.clap import HTSAT_UNFUSED

    return replace(HTSAT_UNFUSED, folder=folder)


def laion_state(folder):
    """The folder's weights under LAION's names: the inverse of the mapping, written down independently."""
    from transformers import ClapModel

    state = ClapModel.from_pretrained(folder).state_dict()
    renamed = {}
    for name, value in state.items():
        new = name.replace("audio_model.audio_encoder.", "audio_branch.").replace("text_model.", "text_branch.")
        if new.startswith("audio_branch"):
            for ours, theirs in (
                ("attention.output.dense", "attn.proj"), ("attention.self.", "attn."),
                ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"), ("batch_norm", "bn0"),
            ):  # fmt: skip
                new = new.replace(ours, theirs)
        new = new.replace("_projection.linear1", "_projection.0").replace("_projection.linear2", "_projection.2")
        renamed[new] = value
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [renamed.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        renamed[name.replace("query", "qkv")] = torch.cat(parts)
    real, imaginary = stft_kernels(1024)
    renamed["audio_branch.spectrogram_extractor.stft.conv_real.weight"] = real
    renamed["audio_branch.spectrogram_extractor.stft.conv_imag.weight"] = imaginary
    renamed["audio_branch.logmel_extractor.melW"] = slaney_filters(48_000, 1024, 64, 50.0, 14_000.0).clone()
    renamed["audio_branch.tscam_conv.weight"] = torch.ones(1)
    renamed["text_transform.sequential.0.weight"] = torch.ones(1)
    renamed["text_branch.embeddings.position_ids"] = torch.arange(90)[None]
    return renamed


def test_a_laion_checkpoint_becomes_the_same_model(folder, embedder, tmp_path, monkeypatch):
    # The tiny model has other head counts than the published ones, which are not in the checkpoint.
    monkeypatch.setattr("evaluation.embedders.networks.laion._HEADS_OF_LAYER", (1, 1, 2, 2))
    state = {f"module.{name}": value for name, value in laion_state(folder).items()}
    torch.save({"epoch": np.int64(3), "loss": np.float64(0.5), "state_dict": state}, tmp_path / "laion.pt")
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    laion = LaionClapEmbedder(tmp_path / "laion.pt", tokenizer, int16=False)
    np.testing.assert_allclose(
        laion.embed([noise(4.0)])[0]["embedding"], embedder.embed([noise(4.0)])[0]["embedding"], atol=1e-6
    )
    assert (laion.sample_rate, laion.max_samples, laion.min_samples) == (48_000, 480_000, 1)
    assert laion.network.config.text_config.layer_norm_eps == 1e-5
    # RoBERTa's head size is 64; with one head instead of two the text tower differs, and only it.
    assert laion.network.config.text_config.num_attention_heads == 1
    other = save_tokenizer(tmp_path / "other")
    (other / "merges.txt").write_text("#version: 0.2\na b\n")
    assert LaionClapEmbedder(tmp_path / "laion.pt", other, int16=False).identity != laion.identity


def test_a_laion_checkpoint_with_another_front_end_is_refused(folder, tmp_path):
    kernel, filters = "audio_branch.spectrogram_extractor.stft.conv_real.weight", "audio_branch.logmel_extractor.melW"
    for number, (name, message) in enumerate(((kernel, "not a Hann-windowed DFT"), (filters, "its mel filters"))):
        state = laion_state(folder)
        state[name] = state[name] * 1.5
        torch.save({"state_dict": state}, tmp_path / f"{number}.pt")
        with pytest.raises(WeightsError, match=message):
            LaionClapEmbedder(tmp_path / f"{number}.pt", folder).embed([noise(1.0)])


def test_query_key_and_value_are_taken_apart_in_order():
    rows = torch.arange(12.0).reshape(6, 2)
    converted = convert({"audio_branch.layers.0.blocks.1.attn.qkv.weight": rows})
    base = "audio_model.audio_encoder.layers.0.blocks.1.attention.self."
    assert sorted(converted) == [f"{base}key.weight", f"{base}query.weight", f"{base}value.weight"]
    for number, part in enumerate(("query", "key", "value")):
        assert torch.equal(converted[f"{base}{part}.weight"], rows[2 * number : 2 * number + 2])


def test_laion_checkpoints_of_other_kinds_are_refused(folder, tmp_path):
    state = laion_state(folder)
    state["audio_branch.patch_embed.mel_conv2d.weight"] = torch.ones(1)
    torch.save({"state_dict": state}, tmp_path / "fusion.pt")
    with pytest.raises(ValueError, match="fusion model"):
        LaionClapEmbedder(tmp_path / "fusion.pt", folder).embed([noise(1.0)])
    with pytest.raises(WeightsError, match=r"other.pt is no LAION CLAP .*patch_embed.proj.weight missing"):
        config_of({"visual.weight": torch.ones(1)}, tmp_path / "other.pt")
