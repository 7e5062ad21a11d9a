"""Pipelines laid out as they are published: the double that every test of a published path loads.

What the hub's repositories hold and diffusers' own `save_pretrained` does not write is put in by hand: the class and
library names of their index, `max_new_tokens` inside the language model's config and no generation_config.json, the
older tokenizer files with SentencePiece's, a card, and a `.bin` beside every `.safetensors`. Levels, layers and blocks
are as many as published, AudioLDM2-large with three in a transformer; widths are tiny, weights random. The music
checkpoint of AudioLDM2 has the base model's architecture.
"""

import json
import struct
from pathlib import Path

import torch
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2UNet2DConditionModel,
    AudioLDMPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MusicLDMPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from transformers import (
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from experiments.pipelines.untrained import (
    PUBLISHED_SCHEDULER,
    PUBLISHED_VAE,
    TINY_UNET,
    TINY_VAE,
    TINY_VOCODER,
    seeded_initialisation,
)
from experiments.testbed.models.clap import clap_config
from experiments.testbed.models.text import make_roberta_tokenizer, make_text_parts
from experiments.testbed.models.unet import TEXT_DIM

CAPTIONS = ["a dog barks", "rain falls on a roof", "a bell rings"]
WIDTH = 16
BLOCKS = {"base": 1, "music": 1, "large": 3}


def decoder_parts():
    return {
        "vae": AutoencoderKL(**TINY_VAE | {"layers_per_block": PUBLISHED_VAE["layers_per_block"]}).eval(),
        "scheduler": DDIMScheduler(**PUBLISHED_SCHEDULER),
        "vocoder": SpeechT5HifiGan(SpeechT5HifiGanConfig(**TINY_VOCODER)).eval(),
    }


def class_conditioned_unet(width):
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 24, 32),
        cross_attention_dim=(8, 16, 24, 32),
        layers_per_block=2,
        attention_head_dim=8,
        norm_num_groups=4,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=width,
        class_embeddings_concat=True,
    ).eval()


def build_audioldm2(size="base"):
    text = make_text_parts(CAPTIONS)
    parts = {name: getattr(text, name) for name in vars(text)}
    published = {
        "layers_per_block": 2,
        "cross_attention_dim": [[None, TEXT_DIM, TEXT_DIM]] * 4,
        "transformer_layers_per_block": BLOCKS[size],
    }
    unet = AudioLDM2UNet2DConditionModel(**TINY_UNET | published).eval()
    return AudioLDM2Pipeline(**parts, **decoder_parts(), unet=unet, feature_extractor=ClapFeatureExtractor())


def build_audioldm():
    tokenizer = make_roberta_tokenizer(CAPTIONS)
    config = ClapTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, projection_dim=WIDTH, max_position_embeddings=80,
    )  # fmt: skip
    text_encoder = ClapTextModelWithProjection(config).eval()
    return AudioLDMPipeline(
        text_encoder=text_encoder, tokenizer=tokenizer, unet=class_conditioned_unet(WIDTH), **decoder_parts()
    )


def build_musicldm():
    tokenizer = make_roberta_tokenizer(CAPTIONS)
    clap = ClapModel(clap_config(tokenizer, width=WIDTH)).eval()
    return MusicLDMPipeline(
        text_encoder=clap,
        tokenizer=tokenizer,
        feature_extractor=ClapFeatureExtractor(),
        unet=class_conditioned_unet(clap.config.projection_dim),
        **decoder_parts(),
    )


BUILDERS = {
    "AudioLDM2Pipeline": build_audioldm2,
    "AudioLDMPipeline": build_audioldm,
    "MusicLDMPipeline": build_musicldm,
}

# What the published index of each repository says where today's save_pretrained says something else.
PUBLISHED_INDEX = {
    "language_model": ["transformers", "GPT2Model"],
    "projection_model": ["audioldm2", "AudioLDM2ProjectionModel"],
    "unet": ["audioldm2", "AudioLDM2UNet2DConditionModel"],
    "tokenizer": ["transformers", "RobertaTokenizerFast"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
}


def write_published(folder, family="AudioLDM2Pipeline", size="base"):
    """A folder that is laid out like the published repository of a family; returns it."""
    folder = Path(folder)
    with seeded_initialisation(0):
        pipe = BUILDERS[family]() if size == "base" else BUILDERS[family](size)
    pipe.save_pretrained(folder)
    if family == "AudioLDM2Pipeline":
        _as_bare_gpt2(pipe.language_model, folder / "language_model")
    _edit(folder / "model_index.json", lambda index: _published_index(index, family))
    for tokenizer in sorted(folder.glob("tokenizer*")):
        _older_tokenizer_files(tokenizer)
    for weights in sorted(folder.rglob("*.safetensors")):
        name = "pytorch_model.bin" if weights.stem == "model" else f"{weights.stem}.bin"
        torch.save(load_file(weights), weights.with_name(name))
    for config in (file for file in folder.glob("*/config.json") if "dtype" in json.loads(file.read_text())):
        _edit(config, lambda c: {"torch_dtype" if key == "dtype" else key: value for key, value in c.items()})
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n\n# A double of the published repository\n")
    return folder


def _published_index(index, family):
    kept = {name: entry for name, entry in PUBLISHED_INDEX.items() if name in index}
    if family != "AudioLDM2Pipeline":
        kept.pop("unet")
    return index | kept | {"_diffusers_version": "0.20.0.dev0"}


def _as_bare_gpt2(language_model, folder):
    """`GPT2Model` weights have no `transformer.` before their names, and its config alone knows max_new_tokens."""
    for file in folder.iterdir():
        file.unlink()
    language_model.transformer.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    _edit(folder / "config.json", lambda c: c | {"architectures": ["GPT2Model"], "max_new_tokens": 8})


def _older_tokenizer_files(folder):
    (folder / "special_tokens_map.json").write_text("{}")
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    if model["type"] == "BPE":
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    else:
        (folder / "spiece.model").write_bytes(b"".join(_sentence_piece(*piece) for piece in model["vocab"]))


def _sentence_piece(text, score):
    """One entry of SentencePiece's ModelProto, field 1: the piece (1, text), its score (2, float), its kind (3)."""
    kind = {"<unk>": 2, "<pad>": 3, "</s>": 3}.get(text, 1)
    encoded = text.encode()
    entry = bytes([0x0A, len(encoded)]) + encoded + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind])
    return bytes([0x0A, len(entry)]) + entry


def _edit(file, change):
    file.write_text(json.dumps(change(json.loads(file.read_text(encoding="utf-8"))), indent=2), encoding="utf-8")
