"""The event classifier: shapes, any length, independence of the batch, augmentation, resumable training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.testbed.corpus.scenes import EVENT_NAMES, EventSpec, Scene
from experiments.testbed.models.classifier import ClassifierOutput, EventClassifier, exact_sets, smear
from experiments.testbed.models.judges_data import ClipSet, render_clips
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vocoder import MelGriffinLim
from experiments.testbed.training import loop
from experiments.testbed.training.loop import seeded
from experiments.testbed.training.train_classifier import (
    ClassifierSettings,
    augment,
    draw_crops,
    draw_mixes,
    train_classifier,
)


@pytest.fixture(scope="module")
def classifier() -> EventClassifier:
    return seeded(EventClassifier, 0).eval()


@pytest.mark.parametrize("frames", [62, 320, 2561])
def test_any_length_from_a_second_up_gives_one_row_of_events(classifier: EventClassifier, frames: int) -> None:
    with torch.no_grad():
        output = classifier(torch.randn(2, frames, 64, generator=torch.Generator().manual_seed(0)))
    assert output.logits.shape == (2, len(EVENT_NAMES))
    assert output.embedding.shape == (2, 64)
    assert (output.embedding >= 0).all()


def test_a_clip_does_not_depend_on_its_neighbours(classifier: EventClassifier) -> None:
    mels = torch.randn(3, 100, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(classifier(mels).logits[1:2], classifier(mels[1:2]).logits, atol=1e-5, rtol=1e-5)


def test_size_is_within_the_budget(classifier: EventClassifier) -> None:
    assert 0.2e6 < sum(p.numel() for p in classifier.parameters()) < 1.0e6


def test_short_or_misshapen_input_is_refused(classifier: EventClassifier) -> None:
    with pytest.raises(ValueError, match=r"frames >= 62, 64\), got \(1, 61, 64\)"):
        classifier(torch.zeros(1, 61, 64))
    with pytest.raises(ValueError, match="got \\(1, 64, 100\\)"):
        classifier(torch.zeros(1, 64, 100))


def test_exact_sets_need_every_event_and_no_other() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0]] * 4)
    logits = torch.tensor([[2.0, 2.0, -2.0], [2.0, -2.0, -2.0], [2.0, 2.0, 2.0], [0.1, 0.1, -0.1]])
    assert exact_sets(labels, logits).tolist() == [True, False, False, True]


def test_smear_keeps_constants_up_to_its_noise_and_blurs_single_frames() -> None:
    flat = torch.full((64, 70, 64), -2.0)
    assert (smear(flat, torch.Generator().manual_seed(0)) - flat).std() < 0.3
    click = flat.clone()
    click[:, 35] = 4.0
    peaks = smear(click, torch.Generator().manual_seed(0))[:, 35].mean(dim=1)
    assert peaks.min() < 1.0 < 3.5 < peaks.max()


def test_crops_never_cut_a_scene_of_two_events_in_order(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "train", 24, 0, duration_s=4.096)
    relations = {scene.relation for scene in clips.scenes}
    assert "then" in relations
    labels_of_then = {tuple(clips.labels([i])[0].tolist()) for i in range(24) if clips.scenes[i].relation == "then"}
    others = {tuple(clips.labels([i])[0].tolist()) for i in range(24) if clips.scenes[i].relation != "then"}
    lengths = set()
    for seed in range(12):
        mels, labels = draw_crops(clips, 8, torch.Generator().manual_seed(seed))
        lengths.add(mels.shape[1])
        if mels.shape[1] < 256:
            assert {tuple(row) for row in labels.tolist()} <= others
            assert not {tuple(row) for row in labels.tolist()} & (labels_of_then - others)
    assert 256 in lengths
    assert len(lengths) > 3
    assert min(lengths) >= 240


def test_augmentation_is_seeded_and_changes_level_by_at_most_half_a_nat_without_smear() -> None:
    mels = torch.randn(4, 100, 64, generator=torch.Generator().manual_seed(0))
    once = augment(mels, torch.Generator().manual_seed(5))
    assert torch.equal(once, augment(mels, torch.Generator().manual_seed(5)))
    assert (once.mean(dim=(1, 2)) - mels.mean(dim=(1, 2))).abs().max() < 0.55


def test_a_killed_training_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"cache": str(tmp_path / "clips"), "clips": 8, "steps": 3, "batch_size": 4, "checkpoint_every": 1}
    whole = train_classifier(ClassifierSettings(run=str(tmp_path / "a"), **settings))
    optimise, calls = loop._optimise, []

    def killed(*args):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return optimise(*args)

    monkeypatch.setattr(loop, "_optimise", killed)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(ClassifierSettings(run=str(tmp_path / "b"), **settings))
    monkeypatch.undo()
    resumed = train_classifier(ClassifierSettings(run=str(tmp_path / "b"), **settings))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    parameters = sum(tensor.numel() for tensor in whole.state_dict().values())
    assert (tmp_path / "b" / "classifier.safetensors").stat().st_size < 2.1 * parameters, "shipped in half precision"


def test_a_second_run_starts_from_the_first_ones_weights(tmp_path: Path) -> None:
    settings = {"cache": str(tmp_path / "clips"), "clips": 8, "steps": 1, "batch_size": 4}
    first = train_classifier(ClassifierSettings(run=str(tmp_path / "a"), **settings))
    start = str(tmp_path / "a" / "classifier.safetensors")
    second = train_classifier(ClassifierSettings(run=str(tmp_path / "b"), start=start, learning_rate=1e-9, **settings))
    torch.testing.assert_close(second.head.weight, first.head.weight, atol=1e-3, rtol=1e-3)
    assert '"start"' in (tmp_path / "b" / "record.jsonl").read_text()


def test_it_learns_a_few_clips_by_heart(tmp_path: Path) -> None:
    clips: ClipSet = render_clips(tmp_path, "train", 8, 0, duration_s=2.048)
    from experiments.testbed.models.mel import log_mel

    mels, labels = log_mel(clips.audio(range(8))), clips.labels(range(8))
    model = seeded(EventClassifier, 0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(40):
        output: ClassifierOutput = model(mels)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert exact_sets(labels, output.logits).all()


def fake_clips(*names: str, level: float = 0.1) -> ClipSet:
    """One second of a sine per scene, each of its own frequency: mixes can be told apart by their spectrum."""
    t = np.arange(16000) / 16000
    waves = [level * np.sin(2 * np.pi * 500 * (i + 1) * t) for i in range(len(names))]
    scenes = tuple(Scene(i, (EventSpec(name),), "single", name) for i, name in enumerate(names))
    return ClipSet((np.round(np.stack(waves) * 32767).astype(np.int16),), scenes)


def test_a_mix_is_the_sum_of_two_single_scenes_with_both_labels() -> None:
    clips = fake_clips("dog", "organ")
    mels, labels = draw_mixes(clips, 4, torch.Generator().manual_seed(0))
    expected = torch.zeros(len(EVENT_NAMES))
    expected[[EVENT_NAMES.index("dog"), EVENT_NAMES.index("organ")]] = 1.0
    assert torch.equal(labels, expected.expand(4, -1))
    both = log_mel(clips.audio([0]) + clips.audio([1]))
    torch.testing.assert_close(mels, both.expand(4, -1, -1), atol=1e-4, rtol=0)


def test_a_transient_is_lifted_by_6_db_under_a_texture_and_the_peak_is_limited() -> None:
    clips = fake_clips("dog", "rain")
    mels, _ = draw_mixes(clips, 2, torch.Generator().manual_seed(0))
    expected = log_mel(10 ** (6 / 20) * clips.audio([0]) + clips.audio([1]))
    torch.testing.assert_close(mels, expected.expand(2, -1, -1), atol=1e-4, rtol=0)
    loud, _ = draw_mixes(fake_clips("dog", "organ", level=0.8), 1, torch.Generator().manual_seed(0))
    whole = fake_clips("dog", "organ", level=0.8)
    unlimited = whole.audio([0]) + whole.audio([1])
    expected = log_mel(unlimited * 0.9 / unlimited.abs().max()).exp()
    torch.testing.assert_close(loud.exp(), expected, atol=1e-3, rtol=1e-3)


def test_mixes_are_made_of_single_scenes_only() -> None:
    clips = fake_clips("dog", "organ", "wind")
    pair = Scene(9, (EventSpec("rain"), EventSpec("bird")), "while", "")
    clips = ClipSet(clips.chunks, (*clips.scenes[:2], pair))
    _, labels = draw_mixes(clips, 16, torch.Generator().manual_seed(0))
    assert labels[:, [EVENT_NAMES.index("rain"), EVENT_NAMES.index("bird")]].sum() == 0


def test_a_checkpoint_trained_on_another_vocoders_clips_is_refused(tmp_path: Path) -> None:
    settings = ClassifierSettings(
        run=str(tmp_path / "a"), cache=str(tmp_path / "clips"), vocoder=str(tmp_path / "vocoder"),
        clips=4, round_trips=2, steps=1, batch_size=2,
    )  # fmt: skip
    MelGriffinLim().save_pretrained(tmp_path / "vocoder")
    train_classifier(settings)
    MelGriffinLim(iterations=8).save_pretrained(tmp_path / "vocoder")
    with pytest.raises(ValueError, match="other settings; delete it"):
        train_classifier(settings)
