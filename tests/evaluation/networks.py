"""Small embedders and seeded random weights for the tests of the embedding half of the package."""

import json
from pathlib import Path

import numpy as np
import soundfile
import torch
from bands import BandEmbedder as BandEmbedder

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.networks.panns import FRONT_ENDS, Cnn14
from evaluation.embedders.networks.vggish import VGGish
from evaluation.embedders.weights import load_exactly, read_state_dict

WORDS = ["dog", "cat", "rain", "bell", "horn", "train", "wind", "bird", "drum", "door"]


class TinyEmbedder(NetworkEmbedder):
    """A linear layer as a network, to test what all networks share."""

    name = "tiny"
    outputs = ("embedding",)
    sample_rate = 100
    min_samples = 10

    def _front_end(self):
        return "none"

    def _load(self, path):
        network = torch.nn.Linear(10, 2)
        load_exactly(network, read_state_dict(path), path)
        return network

    def _forward(self, waveforms):
        return {"embedding": self.network(waveforms[:, :10])}


def save_tiny(path, seed=0):
    torch.manual_seed(seed)
    torch.save(torch.nn.Linear(10, 2).state_dict(), path)
    return path


def noise_clip(seed, seconds, rate=8000, colour=0.0):
    """Seeded noise; `colour` in [0, 1) moves its energy to low frequencies."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * 0.1
    for i in range(1, len(samples) if colour else 0):
        samples[i] += colour * samples[i - 1]
    return samples.astype(np.float32)


def write_folder(folder, clips, rate=8000):
    """Write {name: samples} as float wavs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in clips.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")
    return folder


def he_initialised(network, seed):
    """Random weights that keep the signal's scale through all layers, so that outputs depend on the input."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, generator=generator)
    return network


def save_vggish(path, seed=0):
    torch.save(he_initialised(VGGish(), seed).state_dict(), path)
    return path


def stft_kernels(n_fft):
    """The two kernels that torchlibrosa stores in a checkpoint, by the definition of the DFT."""
    samples = np.arange(n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / n_fft)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), samples) / n_fft) * window
    return (torch.tensor(part, dtype=torch.float32)[:, None] for part in (dft.real, dft.imag))


def save_cnn14(path, sample_rate=16_000, seed=0):
    front_end = FRONT_ENDS[sample_rate]
    state = he_initialised(Cnn14(front_end), seed).state_dict()
    real, imaginary = stft_kernels(front_end.n_fft)
    state["spectrogram_extractor.stft.conv_real.weight"] = real
    state["spectrogram_extractor.stft.conv_imag.weight"] = imaginary
    torch.save({"iteration": 1, "model": state}, path)
    return path


def save_tokenizer(folder):
    """A RoBERTa tokenizer with a tiny byte-level vocabulary."""
    from transformers import RobertaTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return folder


def save_clap(folder, seed=0, fusion=False):
    """A ClapModel folder of the published shapes' kind, a thousand times smaller; 10 s windows at 48 kHz."""
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

    torch.manual_seed(seed)
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8, hidden_size=64, depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
        projection_dim=16, enable_fusion=fusion, fusion_type="aff_2d" if fusion else None, num_classes=5,
    )  # fmt: skip
    text = ClapTextConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=90, projection_dim=16,
    )  # fmt: skip
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=16)
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc").save_pretrained(folder)
    save_tokenizer(Path(folder))
    return Path(folder)
