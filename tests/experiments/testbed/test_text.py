"""Tokenizers and text encoders: AudioLDM2's classes, the pipeline's arithmetic, targets that mean what they say."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AudioLDM2Pipeline
from transformers import RobertaTokenizer, T5Tokenizer

import experiments.testbed.training.train_text as train_text_module
from experiments.system.settings import parse_settings
from experiments.testbed.corpus.scenes import EVENT_NAMES, EventSpec, Scene, sample_scene
from experiments.testbed.models.text import TextParts, corpus_captions, encode_captions, make_text_parts
from experiments.testbed.training.train_text import (
    NONE,
    NULL_SCENE,
    TextSettings,
    label_targets,
    load_text_parts,
    save_text_parts,
    slot_targets,
    train_text,
)


@pytest.fixture(scope="module")
def parts() -> TextParts:
    built = make_text_parts(corpus_captions(2000))
    for module in built.modules().values():
        module.eval()
    return built


def test_tokenizers_are_of_the_pipelines_classes_and_invertible(parts: TextParts) -> None:
    assert isinstance(parts.tokenizer, RobertaTokenizer)
    assert isinstance(parts.tokenizer_2, T5Tokenizer)
    for tokenizer in (parts.tokenizer, parts.tokenizer_2):
        caption = sample_scene(5, split="heldout").caption
        ids = tokenizer(caption).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == caption
        assert tokenizer.unk_token_id not in ids


def test_boundary_tokens_start_apart(parts: TextParts) -> None:
    names = ("sos_embed", "eos_embed", "sos_embed_1", "eos_embed_1")
    tokens = torch.stack([getattr(parts.projection_model, name).detach() for name in names])
    assert torch.pdist(tokens).min() > 5.0  # independent normal vectors of 64 numbers lie about 11 apart


def test_an_unknown_word_is_spelled(parts: TextParts) -> None:
    ids = parts.tokenizer_2("a zebra barks").input_ids
    assert parts.tokenizer_2.unk_token_id not in ids
    assert parts.tokenizer_2.decode(ids, skip_special_tokens=True) == "a zebra barks"


def test_a_caption_is_encoded_alike_in_any_batch(parts: TextParts) -> None:
    long = "a low pitched dog barking at a slow pace and in the distance followed by the sound of rain falling"
    with torch.no_grad():
        alone = encode_captions(parts, ["a dog barks"])
        together = encode_captions(parts, ["a dog barks", long])
    torch.testing.assert_close(together[0][:1], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1][:1, : alone[1].shape[1]], alone[1], rtol=1e-4, atol=1e-5)


def test_encoding_is_what_the_pipeline_computes(parts: TextParts) -> None:
    pipe = AudioLDM2Pipeline.__new__(AudioLDM2Pipeline)
    for name, module in vars(parts).items():
        object.__setattr__(pipe, name, module)
    captions = ["a dog barks", "rain is falling loudly and a siren wails"]
    with torch.no_grad():
        t5, mask, generated = pipe.encode_prompt(captions, "cpu", 1, False)
        ours = encode_captions(parts, captions)
    torch.testing.assert_close(ours[0], generated, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours[1], t5, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours[2], mask)


def test_saved_parts_load_and_compute_the_same(parts: TextParts, tmp_path: Path) -> None:
    save_text_parts(parts, tmp_path)
    with torch.no_grad():
        expected = encode_captions(parts, ["a gong sounds"])[0]
        torch.testing.assert_close(encode_captions(load_text_parts(tmp_path), ["a gong sounds"])[0], expected)


def test_slots_spell_the_scene() -> None:
    events = (EventSpec("dog", (("level", "loud"), ("pitch", "low"))), EventSpec("rain"))
    scene = Scene(0, events, "then", "")
    dog, rain = EVENT_NAMES.index("dog"), EVENT_NAMES.index("rain")
    assert slot_targets(scene) == [dog, rain, 2, 1, 0, 2, 0, 0, 0]
    assert slot_targets(NULL_SCENE) == [NONE, NONE, 0, 0, 0, 0, 0, 0, 0]
    labels = label_targets(scene)
    assert set(labels.nonzero().flatten().tolist()) == {dog, rain, NONE + 0, NONE + 5}


def test_a_few_steps_of_training_lower_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_text_module, "HELDOUT_SCENES", 20)
    train_text(TextSettings(run=str(tmp_path), steps=100, batch_size=8, vocabulary_captions=500))
    records = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()][1:]
    assert records[1]["loss"] < records[0]["loss"]
    assert records[1]["slots"] > 0.6  # always naming the commonest value gets about 0.6


def test_settings_refuse_unknown_keys_and_wrong_types() -> None:
    assert parse_settings(TextSettings, ["steps=3", "learning_rate=0.5"]) == TextSettings(steps=3, learning_rate=0.5)
    with pytest.raises(ValueError, match="accepted"):
        parse_settings(TextSettings, ["step=3"])
    with pytest.raises(ValueError, match="int"):
        parse_settings(TextSettings, ["steps=many"])
