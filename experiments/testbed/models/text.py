"""The testbed's text side: two tokenizers, CLAP, T5 encoder, projection and GPT-2, all of AudioLDM2's classes.

Shapes: B captions, L T5 tokens, D = 64. `encode_captions` computes what AudioLDM2Pipeline.encode_prompt does.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AudioLDM2ProjectionModel
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import (
    ClapConfig,
    ClapModel,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from experiments.testbed.corpus.scenes import sample_scene
from experiments.testbed.models.unet import TEXT_DIM

GENERATED_TOKENS = 8
MAX_TOKENS = 48
TEXT_PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "projection_model", "language_model")


@dataclass
class TextParts:
    """The text components of the pipeline, under the pipeline's names."""

    tokenizer: RobertaTokenizer
    tokenizer_2: T5Tokenizer
    text_encoder: ClapModel
    text_encoder_2: T5EncoderModel
    projection_model: AudioLDM2ProjectionModel
    language_model: GPT2LMHeadModel

    def modules(self) -> dict[str, Any]:
        """The trainable components by name."""
        names = ("text_encoder", "text_encoder_2", "projection_model", "language_model")
        return {name: getattr(self, name) for name in names}


def corpus_captions(count: int) -> list[str]:
    """Captions of the first training scenes: what the tokenizers are made from."""
    return [sample_scene(seed, split="train").caption for seed in range(count)]


def make_roberta_tokenizer(captions: list[str]) -> RobertaTokenizer:
    """A byte-level BPE tokenizer (RoBERTa class) trained on captions."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(captions, vocab_size=700, min_frequency=2, special_tokens=special, show_progress=False)
    vocab, merges = _bpe_parts(trained.to_str())
    return RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def _bpe_parts(serialised: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(serialised)["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def make_t5_tokenizer(captions: list[str]) -> T5Tokenizer:
    """A unigram tokenizer (T5 class) over the captions' words, with letters to spell unknown words."""
    counts = Counter(word for caption in captions for word in caption.split())
    total = float(sum(counts.values()))
    vocab: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    for word, count in sorted(counts.items()):
        vocab.append(("▁" + word, float(torch.tensor(count / total).log())))
    taken = {piece for piece, _ in vocab}
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocab += [(letter, -20.0) for letter in letters if letter not in taken]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=MAX_TOKENS)


def make_text_parts(captions: list[str], seed: int = 0) -> TextParts:
    """Untrained text components of width 64, tokenizers trained on `captions`.

    GPT-2's position embeddings are zero and stay so: the pipeline pads T5 tokens to the longest prompt of a
    batch, and positions after the padding would make a clip depend on its batch.
    """
    tokenizer, tokenizer_2 = make_roberta_tokenizer(captions), make_t5_tokenizer(captions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = TextParts(
            tokenizer,
            tokenizer_2,
            ClapModel(_clap_config(tokenizer)),
            T5EncoderModel(_t5_config(len(tokenizer_2))),
            AudioLDM2ProjectionModel(TEXT_DIM, TEXT_DIM, TEXT_DIM),
            GPT2LMHeadModel(
                GPT2Config(vocab_size=2, n_positions=256, n_embd=TEXT_DIM, n_layer=2, n_head=4, bos_token_id=0,
                           eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                           max_new_tokens=GENERATED_TOKENS)
            ),
        )  # fmt: skip
    positions = parts.language_model.transformer.wpe.weight
    positions.requires_grad_(False).zero_()
    generator = torch.Generator().manual_seed(seed)
    for token in ("sos_embed", "eos_embed", "sos_embed_1", "eos_embed_1"):
        getattr(parts.projection_model, token).data.normal_(generator=generator)
    return parts


def _clap_config(tokenizer: RobertaTokenizer) -> ClapConfig:
    text = {
        "vocab_size": len(tokenizer), "hidden_size": TEXT_DIM, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 2 * TEXT_DIM, "max_position_embeddings": MAX_TOKENS + 8, "projection_dim": TEXT_DIM,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    audio = {
        "spec_size": 64, "num_mel_bins": 64, "patch_embeds_hidden_size": 16, "depths": [1, 1],
        "num_attention_heads": [2, 2], "hidden_size": 32, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
        "projection_dim": TEXT_DIM, "num_classes": 4,
    }  # fmt: skip
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=TEXT_DIM)


def _t5_config(vocabulary: int) -> T5Config:
    return T5Config(
        vocab_size=vocabulary, d_model=TEXT_DIM, d_kv=16, d_ff=2 * TEXT_DIM, num_layers=2, num_heads=4,
        relative_attention_num_buckets=16, relative_attention_max_distance=32, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip


def encode_captions(parts: TextParts, captions: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(GPT-2 tokens (B, 8, D), T5 tokens (B, L, D), T5 mask (B, L), CLAP vectors (B, D)); differentiable."""
    clap_ids = parts.tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    t5_ids = parts.tokenizer_2(captions, padding=True, max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    features = parts.text_encoder.get_text_features(clap_ids.input_ids, attention_mask=clap_ids.attention_mask)
    clap = features if isinstance(features, Tensor) else features.pooler_output
    t5 = parts.text_encoder_2(t5_ids.input_ids, attention_mask=t5_ids.attention_mask)[0]
    projected = parts.projection_model(
        hidden_states=clap[:, None],
        hidden_states_1=t5,
        attention_mask=t5_ids.attention_mask.new_ones(len(captions), 1),
        attention_mask_1=t5_ids.attention_mask,
    )
    generated = _generate(parts.language_model, projected.hidden_states, projected.attention_mask)
    return generated, t5, t5_ids.attention_mask, clap


def _generate(model: GPT2LMHeadModel, embeds: Tensor, mask: Tensor) -> Tensor:
    tokens, cache = [], None
    for _ in range(GENERATED_TOKENS):
        output = model(
            inputs_embeds=embeds,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        embeds = output.hidden_states[-1][:, -1:]
        tokens.append(embeds)
        cache = output.past_key_values
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.cat(tokens, dim=1)
