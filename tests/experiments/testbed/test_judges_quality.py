"""The judges' report: galleries, caption contrasts, and the whole measurement on untrained judges."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import ClapModel

from experiments.testbed.assessment import judges_quality
from experiments.testbed.assessment.judges_quality import (
    QualitySettings,
    contrasts,
    distinct_galleries,
    means_by_clip,
    measure,
    measure_conversions,
    summarise,
)
from experiments.testbed.corpus.scenes import sample_scene
from experiments.testbed.models.clap import clap_config, scene_key
from experiments.testbed.models.classifier import EventClassifier
from experiments.testbed.models.judges_data import render_clips
from experiments.testbed.models.text import make_roberta_tokenizer
from experiments.testbed.models.vocoder import MelGriffinLim
from experiments.testbed.training.loop import seeded
from experiments.testbed.training.train_clap import save_clap
from experiments.testbed.training.train_state import save_half

SCENES = [sample_scene(i, split="heldout") for i in range(400)]


def test_galleries_are_disjoint_and_hold_100_different_scenes() -> None:
    galleries = distinct_galleries(SCENES)
    assert len(galleries) >= 2
    flat = [index for gallery in galleries for index in gallery]
    assert len(flat) == len(set(flat))
    for gallery in galleries:
        assert len({scene_key(SCENES[index]) for index in gallery}) == len(gallery) == 100
    with pytest.raises(ValueError, match="retrieval needs 100"):
        distinct_galleries(SCENES[:20])


def test_contrasts_change_one_attribute_or_the_order_and_nothing_else() -> None:
    pairs = contrasts(SCENES)
    assert set(pairs) == {"level", "rate", "pitch", "order"}
    index, right, wrong = pairs["pitch"][0]
    swapped = {"high": "low", "low": "high"}
    changed = [(a, b) for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
    assert len(changed) == 1
    assert swapped[changed[0][0]] == changed[0][1]
    for index, right, wrong in pairs["order"]:
        assert SCENES[index].relation == "then"
        assert right != wrong
        assert sorted(right.split())[0] == sorted(wrong.split())[0]
    named = sum("level" in dict(event.attributes) for scene in SCENES for event in scene.events)
    assert len(pairs["level"]) == named


def test_a_perfect_conversion_has_no_error_and_a_gain_has_its_logarithm(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "heldout", 3, 0, duration_s=1.024)
    audio = iter([clips.audio(range(3)), 2.0 * clips.audio(range(3))])
    ways = {"same": (lambda mels: next(audio), 3), "louder": (lambda mels: next(audio), 3)}
    results = measure_conversions(clips, ways, None)
    assert results["same"]["log_mel_l1"]["value"] == 0.0
    assert results["louder"]["log_mel_l1"]["value"] == pytest.approx(np.log(2.0), abs=1e-3)
    assert results["louder"]["log_mel_l1"]["n"] == 3


def test_summaries_hold_the_mean_inside_its_interval() -> None:
    summary = summarise(np.array([0.0, 1.0, 1.0, 1.0] * 2))
    assert summary["value"] == 0.75
    assert summary["low"] < 0.75 <= summary["high"] <= 1.0
    assert summary["n"] == 8


def test_words_of_one_clip_are_one_row() -> None:
    # Three words of clip 4 are heard in the same audio: one row, so the share is 0.5 of 2 clips, not 0.75 of 4.
    rows = means_by_clip(np.array([1.0, 1.0, 1.0, 0.0]), [4, 4, 4, 9])
    assert rows.tolist() == [1.0, 0.0]
    assert summarise(rows)["n"] == 2


def test_untrained_judges_are_measured_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges_quality, "GALLERY", 4)
    tokenizer = make_roberta_tokenizer([scene.caption for scene in SCENES])
    save_clap(seeded(lambda: ClapModel(clap_config(tokenizer, width=16)), 0), tokenizer, tmp_path / "clap")
    save_half(seeded(EventClassifier, 0), tmp_path / "c.safetensors")
    MelGriffinLim().save_pretrained(tmp_path / "vocoder")
    settings = QualitySettings(
        classifier=str(tmp_path / "c.safetensors"), clap=str(tmp_path / "clap"), vocoder=str(tmp_path / "vocoder"),
        cache=str(tmp_path / "clips"), clips=12, vocoded_clips=2, griffin_lim_clips=2, out=str(tmp_path / "q.json"),
    )  # fmt: skip
    results = measure(settings)
    assert json.loads((tmp_path / "q.json").read_text()) == results
    assert results["classifier_exact_sets"]["all"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 12}
    assert results["conversions"].keys() == {"vocoder", "griffin_lim"}
    assert results["conversions"]["griffin_lim"]["log_mel_l1"]["value"] < 0.5
    assert results["conversions"]["vocoder"]["log_mel_l1"]["value"] < 0.1
    assert results["clap"]["prefers_right_level"]["n"] <= 12
    assert set(results["judges"]) == {"classifier", "clap"}
    assert results["clap"]["r1_text_to_audio_of_100"]["n"] in (8, 12)
