"""A hub cache with just what ``laion_clap`` asks the hub for, made locally with seeded random weights.

``laion_clap`` instantiates the tokenizers of BERT, RoBERTa and BART when it is imported, and a pretrained RoBERTa when
a model is built, whose weights its checkpoint then overwrites. The vocabularies here are single bytes; the text tower
has RoBERTa's width, on which LAION's projection depends, and two layers.
"""

import json
from pathlib import Path

REVISION = "0" * 40
LAYERS = 2


def bytes_to_unicode():
    """GPT-2's printable stand-ins for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + number) for number in range(len(others))]


def build(home: Path) -> None:
    """Write the three repositories into ``home``/hub in the layout of huggingface_hub's cache."""
    _save_byte_level(_snapshot(home, "roberta-base"), "RobertaTokenizer")
    _save_byte_level(_snapshot(home, "facebook/bart-base"), "BartTokenizer")
    bert = _snapshot(home, "bert-base-uncased")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (bert / "vocab.txt").write_text("\n".join(words) + "\n")
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (bert / "config.json").write_text(json.dumps({"model_type": "bert"}))


def _snapshot(home: Path, repository: str) -> Path:
    root = home / "hub" / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / REVISION
    folder.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(REVISION)
    return folder


def _save_byte_level(folder: Path, tokenizer_class: str) -> None:
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode()])}
    vocabulary["<mask>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
    if tokenizer_class == "RobertaTokenizer":
        _save_roberta(folder, len(vocabulary))
    else:
        (folder / "config.json").write_text(json.dumps({"model_type": "bart"}))


def _save_roberta(folder: Path, words: int) -> None:
    import torch
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=words, num_hidden_layers=LAYERS, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    RobertaModel(config).save_pretrained(folder)
