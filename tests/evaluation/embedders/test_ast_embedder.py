"""AST: logits and embedding against transformers, limits of length, identity."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evaluation.embedders.networks.ast import AstEmbedder
from evaluation.embedders.weights import WeightsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    folder = tmp_path_factory.mktemp("weights") / "ast"
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_length=64,
        num_mel_bins=128, num_labels=7,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(max_length=64).save_pretrained(folder)
    return folder


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_outputs_equal_transformers(folder):
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    waveforms = [noise(8000), noise(10_000, 1)]
    model, extractor = ASTForAudioClassification.from_pretrained(folder).eval(), ASTFeatureExtractor(max_length=64)
    found = AstEmbedder(folder).embed(waveforms)
    for waveform, features in zip(waveforms, found, strict=True):
        with torch.inference_mode():
            expected = model(**extractor(waveform, sampling_rate=16_000, return_tensors="pt")).logits[0].numpy()
        np.testing.assert_allclose(features["logits"], expected, atol=1e-5)
        weight, bias = model.classifier.dense.weight.detach().numpy(), model.classifier.dense.bias.detach().numpy()
        normalised = model.classifier.layernorm(torch.from_numpy(features["embedding"])).detach().numpy()
        np.testing.assert_allclose(weight @ normalised + bias, expected, atol=1e-4)


def test_what_would_be_dropped_without_a_word_is_refused(folder):
    embedder = AstEmbedder(folder)
    longest = 400 + 63 * 160 + 159
    assert (embedder.sample_rate, embedder.min_samples, embedder.max_samples) == (16_000, 400, longest)
    waveform = noise(longest + 1)
    assert np.isfinite(embedder.embed([waveform[:longest]])[0]["logits"]).all()
    with pytest.raises(ValueError, match=f"at most {longest}"):
        embedder.embed([waveform])
    with pytest.raises(ValueError, match="at least 400"):
        embedder.embed([waveform[:399]])


def test_a_folder_without_all_tensors_is_refused_and_not_filled_at_random(folder, tmp_path):
    copy = tmp_path / "ast"
    shutil.copytree(folder, copy)
    state = load_file(copy / "model.safetensors")
    del state["classifier.dense.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"is no whole ASTForAudioClassification: 1 .*first classifier.dense.weight"):
        AstEmbedder(copy).embed([noise(8000)])


def test_identity_names_the_filter_bank(folder):
    assert AstEmbedder(folder)._front_end() in ("ast fbank 1, own", "ast fbank 1, torchaudio")
    assert AstEmbedder(folder).identity == AstEmbedder(folder).identity
