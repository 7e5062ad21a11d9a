"""The CLAP judge: transformers' own front end and forward, batch independence, losses, resumable training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor, ClapModel, RobertaTokenizer

from experiments.testbed.corpus.scenes import EventSpec, Scene, render_scene, sample_scene
from experiments.testbed.models.clap import (
    WINDOW_SAMPLES,
    EventHead,
    audio_features,
    clap_config,
    clap_losses,
    embed_audio,
    embed_text,
    feature_extractor,
    scene_key,
)
from experiments.testbed.models.judges_data import render_clips
from experiments.testbed.models.text import make_roberta_tokenizer
from experiments.testbed.plugin.judges import TestbedClapEmbedder
from experiments.testbed.training import loop
from experiments.testbed.training import train_clap as training
from experiments.testbed.training.loop import seeded
from experiments.testbed.training.train_clap import (
    ClapSettings,
    draw_scenes,
    new_caption,
    save_clap,
    swapped_scenes,
    train_clap,
)


@pytest.fixture(scope="module")
def tokenizer() -> RobertaTokenizer:
    return make_roberta_tokenizer([sample_scene(i, split="train").caption for i in range(300)])


@pytest.fixture(scope="module")
def model(tokenizer: RobertaTokenizer) -> ClapModel:
    return seeded(lambda: ClapModel(clap_config(tokenizer)), 0).eval()


def audio(seed: int, duration_s: float = 5.12) -> torch.Tensor:
    return torch.from_numpy(render_scene(sample_scene(seed, split="train"), duration_s))


def test_features_are_those_of_transformers_feature_extractor() -> None:
    extractor: ClapFeatureExtractor = feature_extractor()
    waves = [audio(0), audio(1)]
    options = {"sampling_rate": 16000, "max_length": WINDOW_SAMPLES, "return_tensors": "np"}
    expected = extractor([w.numpy() for w in waves], **options)
    got = audio_features(torch.stack(waves)).numpy()
    assert got.shape == (2, 1, 255, 64)
    np.testing.assert_allclose(got, expected["input_features"], atol=2e-3)
    short = audio(2, 2.0)
    expected = extractor(short.numpy(), **options)
    np.testing.assert_allclose(audio_features(short[None]).numpy(), expected["input_features"], atol=2e-3)


def test_embeddings_are_those_of_the_models_own_forward(model: ClapModel, tokenizer: RobertaTokenizer) -> None:
    waves, captions = torch.stack([audio(0), audio(1)]), ["a dog barks", "rain falls loudly while a bell tolls"]
    tokens = tokenizer(captions, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(input_features=audio_features(waves), **tokens)
        torch.testing.assert_close(embed_audio(model, waves), output.audio_embeds)
        torch.testing.assert_close(embed_text(model, tokenizer, captions), output.text_embeds)
        alone = embed_text(model, tokenizer, captions[:1])
    torch.testing.assert_close(alone, output.text_embeds[:1], atol=1e-5, rtol=1e-4)


def test_the_saved_folder_works_in_evaluations_clap_embedder(
    model: ClapModel, tokenizer: RobertaTokenizer, tmp_path: Path
) -> None:
    save_clap(model, tokenizer, tmp_path)
    embedder = TestbedClapEmbedder(tmp_path)
    assert (embedder.sample_rate, embedder.max_samples) == (16000, WINDOW_SAMPLES)
    wave, captions = audio(3), ["a siren wails"]
    with torch.no_grad():
        expected_audio, expected_text = embed_audio(model, wave[None]), embed_text(model, tokenizer, captions)
    np.testing.assert_allclose(embedder.embed([wave.numpy()])[0]["embedding"], expected_audio[0], atol=5e-3)
    np.testing.assert_allclose(embedder.embed_text(captions), expected_text, atol=5e-3)


def scene(relation: str, *names: str) -> Scene:
    return Scene(0, tuple(EventSpec(name) for name in names), relation, "")


def test_order_counts_in_then_and_not_in_while() -> None:
    assert scene_key(scene("while", "dog", "rain")) == scene_key(scene("while", "rain", "dog"))
    assert scene_key(scene("then", "dog", "rain")) != scene_key(scene("then", "rain", "dog"))
    assert scene_key(scene("then", "dog", "rain")) != scene_key(scene("while", "dog", "rain"))


def test_contrastive_loss_is_the_cross_entropy_and_shares_equal_captions() -> None:
    scenes = [scene("single", "dog"), scene("single", "rain"), scene("single", "dog")]
    text = torch.nn.functional.one_hot(torch.tensor([0, 1, 0]), 128).float()
    scale = torch.tensor(10.0)
    right = clap_losses(text, text, scale, scenes, EventHead())["contrastive"]
    # Two equal columns share the target evenly: the best reachable loss is log 2 for rows 0 and 2, about 0 for row 1.
    rest = np.log(2.0 + np.exp(-10.0)), np.log(1.0 + 2.0 * np.exp(-10.0))
    assert right.item() == pytest.approx((2 * rest[0] + rest[1]) / 3, abs=1e-5)
    # Sounds that match one phrasing of their scene better than the other: both count as half of the answer.
    audio = torch.nn.functional.normalize(text + 0.1 * torch.eye(3, 128), dim=-1)
    logits = 10.0 * audio @ text.T
    shares = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    by_hand = [-(shares * side.log_softmax(dim=1)).sum(dim=1).mean().item() for side in (logits, logits.T)]
    shared = clap_losses(audio, text, scale, scenes, EventHead())["contrastive"]
    assert shared.item() == pytest.approx(sum(by_hand) / 2, abs=1e-5)
    wrong = clap_losses(text.roll(1, 0), text, scale, scenes, EventHead())["contrastive"]
    assert wrong > right + 3.0


def test_wrong_captions_are_more_to_choose_from_for_sounds_only() -> None:
    scenes = [scene("then", "dog", "rain"), scene("single", "rain")]
    text = torch.eye(2, 128)
    wrong = torch.nn.functional.normalize(text[:1] + 0.5 * torch.eye(3, 128)[2:], dim=-1)
    loss = clap_losses(text, text, torch.tensor(5.0), scenes, EventHead(), wrong)["contrastive"]
    beside = (5.0 * text @ torch.cat([text, wrong]).T).log_softmax(dim=1)
    alone = (5.0 * text @ text.T).log_softmax(dim=1)
    by_hand = -(beside[0, 0] + beside[1, 1]) / 2 - (alone[0, 0] + alone[1, 1]) / 2
    assert loss.item() == pytest.approx(by_hand.item() / 2, abs=1e-5)


def test_wrong_captions_are_those_of_then_scenes_with_their_events_swapped() -> None:
    scenes = [scene("then", "dog", "rain"), scene("while", "dog", "rain"), scene("single", "dog")]
    assert swapped_scenes(scenes) == [scene("then", "rain", "dog")]


def test_a_share_of_then_scenes_is_drawn_for_certain(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "train", 12, 0, duration_s=0.5)
    assert 0 < sum(one.relation == "then" for one in clips.scenes) < 6
    _, scenes = draw_scenes([clips], 8, torch.Generator().manual_seed(0), then_share=0.5)
    assert [one.relation for one in scenes[:4]] == ["then"] * 4
    by_hand = torch.Generator().manual_seed(0)
    torch.rand((), generator=by_hand)  # which set of clips: there is one
    drawn = torch.randint(12, (8,), generator=by_hand).tolist()
    assert draw_scenes([clips], 8, torch.Generator().manual_seed(0))[1] == [clips.scenes[i] for i in drawn]


def test_new_captions_differ_in_phrasing_only() -> None:
    drawn = sample_scene(12, split="train", relation="then")
    captions = {new_caption(drawn, torch.Generator().manual_seed(i)) for i in range(20)}
    assert len(captions) > 5
    for attribute in (word for event in drawn.events for _, word in event.attributes if word in ("high", "low")):
        assert all(f"{attribute} pitched" in caption for caption in captions)


def test_a_killed_training_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"cache": str(tmp_path / "clips"), "clips": 8, "steps": 3, "batch_size": 4, "checkpoint_every": 1}
    monkeypatch.setattr(training, "VOCABULARY_CAPTIONS", 200)
    whole = train_clap(ClapSettings(run=str(tmp_path / "a"), **settings))
    optimise, calls = loop._optimise, []

    def killed(*args):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return optimise(*args)

    monkeypatch.setattr(loop, "_optimise", killed)
    with pytest.raises(KeyboardInterrupt):
        train_clap(ClapSettings(run=str(tmp_path / "b"), **settings))
    monkeypatch.setattr(loop, "_optimise", optimise)
    resumed = train_clap(ClapSettings(run=str(tmp_path / "b"), **settings))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    second = ClapSettings(run=str(tmp_path / "c"), start=str(tmp_path / "a" / "clap"), learning_rate=1e-9, **settings)
    # What is saved, and started from, is half precision.
    for a, b in zip(whole.parameters(), train_clap(second).parameters(), strict=True):
        torch.testing.assert_close(a.half().float(), b, atol=1e-6, rtol=1e-6)
