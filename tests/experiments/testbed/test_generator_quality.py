"""The generator's measures: signal contrasts on known signals, hits by hand, order, pairs, and the whole program."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evaluation.metrics.fad import frechet_distance
from evaluation.statistics.bootstrap import jackknife_interval
from experiments.testbed.assessment import generator_quality
from experiments.testbed.assessment.attribute_contrasts import (
    MISREAD_EVENTS,
    attribute_scenes,
    level_db,
    modulation_hz,
    pitch_bins,
)
from experiments.testbed.assessment.generator_quality import (
    GeneratorSettings,
    first_event_lead,
    heldout_scenes,
    hits,
    measure,
    noise_names,
    ratio_above_floor,
    ratio_bounds,
    reference_scenes,
)
from experiments.testbed.corpus.events import EVENTS
from experiments.testbed.corpus.scenes import EVENT_NAMES, EventSpec, Scene, render_scene
from experiments.testbed.plugin.load import WEIGHTS, judge_hashes, load_judges, write_manifest

SECONDS = torch.arange(81920) / 16000


def noise() -> torch.Tensor:
    return torch.randn(81920, generator=torch.Generator().manual_seed(0))


def pulsing(hz: float) -> torch.Tensor:
    return 0.1 * noise() * (1.0 + 0.9 * torch.sin(2 * torch.pi * hz * SECONDS))


def test_level_is_rms_in_decibels() -> None:
    sine = torch.sin(2 * torch.pi * 500 * SECONDS)
    torch.testing.assert_close(level_db(torch.stack([sine, 0.1 * sine])), torch.tensor([-3.0103, -23.0103]))


def test_faster_pulses_have_a_higher_modulation_frequency_whatever_their_level() -> None:
    slow, fast, loud = modulation_hz(torch.stack([pulsing(2.0), pulsing(5.0), 8.0 * pulsing(2.0)])).tolist()
    assert fast - slow > 1.0
    assert loud == pytest.approx(slow, abs=0.05)


def test_pitch_is_the_mel_bin_of_a_tone() -> None:
    tones = torch.stack([0.1 * torch.sin(2 * torch.pi * hz * SECONDS) for hz in (1000.0, 4000.0)])
    # 65 HTK mel steps reach 2840 mel at 8 kHz: 1000 Hz is step 22.9 (bin 21.9), 4000 Hz step 49.1.
    torch.testing.assert_close(pitch_bins(tones), torch.tensor([21.9, 48.1]), atol=0.3, rtol=0)


def scene(*names: str, relation: str = "while") -> Scene:
    return Scene(0, tuple(EventSpec(name) for name in names), relation, "a caption")


def logits(*rows: set[str]) -> torch.Tensor:
    return torch.tensor([[4.0 if name in row else -4.0 for name in EVENT_NAMES] for row in rows])


def test_hits_count_prompted_events_and_exact_sets_punish_extra_ones() -> None:
    heard = logits({"rain", "dog"}, {"rain"}, {"gong", "rain", "dog"})
    result = hits(heard, [scene("rain", "dog"), scene("rain", "dog"), scene("gong")])
    assert result["hit_rate"]["value"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-4)
    assert result["exact_sets"]["value"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_first_event_leads_where_it_is_heard_early() -> None:
    def classifier(mels: torch.Tensor) -> SimpleNamespace:
        # Loud input is "rain", silence is "dog".
        loud = mels.mean(dim=(1, 2)) > -6.0
        rows = torch.where(loud[:, None], logits({"rain"}), logits({"dog"}))
        return SimpleNamespace(logits=rows, embedding=rows)

    rain_first = torch.cat([0.1 * noise()[:40960], torch.zeros(40960)])
    lead = first_event_lead(
        classifier,  # type: ignore[arg-type]
        torch.stack([rain_first, rain_first]),
        [scene("rain", "dog", relation="then"), scene("dog", "rain", relation="then")],
    )
    assert lead.tolist() == [16.0, -16.0]


def test_contrasts_differ_in_one_word_and_share_noise_and_scene() -> None:
    high, low = attribute_scenes("rate", "fast", 6)
    assert noise_names(high) == noise_names(low)
    assert len(set(noise_names(high))) == 6
    for one, other in zip(high, low, strict=True):
        assert dict(one.events[0].attributes)["rate"] == "fast"
        assert dict(other.events[0].attributes)["rate"] == "slow"
        assert one.events[0].name == other.events[0].name
        assert one.caption != other.caption


def test_relations_share_neither_scenes_nor_noises() -> None:
    names = [noise for relation in ("single", "while", "then") for noise in noise_names(heldout_scenes(relation, 4))]
    assert len(set(names)) == 12


def test_references_have_the_relations_of_the_scenes_in_equal_shares_and_other_seeds() -> None:
    scenes = heldout_scenes("single", 20) + heldout_scenes("while", 20)
    references = reference_scenes(scenes, 64)
    assert [scene.relation for scene in references].count("single") == 32
    assert {scene.seed for scene in references}.isdisjoint(scene.seed for scene in scenes)


def test_the_ratio_above_the_floor_takes_real_against_real_off_both_distances() -> None:
    study = {"real": 9.4, "round_trip": 34.0, "generated": 206.0}
    assert ratio_above_floor(study) == pytest.approx(7.992, abs=1e-3)
    assert ratio_above_floor(study | {"round_trip": 9.4}) is None


def right_share(event: str, seeds: int = 8) -> float:
    """Share of seeds whose fast render has the higher modulation frequency."""

    def renders(word: str) -> torch.Tensor:
        events = (EventSpec(event, (("rate", word),)),)
        scenes = [Scene(2 * seed + 1, events, "single", "") for seed in range(seeds)]
        return torch.stack([torch.from_numpy(render_scene(each, 5.12)) for each in scenes])

    fast, slow = renders("fast"), renders("slow")
    return (modulation_hz(fast) > modulation_hz(slow)).float().mean().item()


def test_the_rate_measure_counts_only_events_whose_real_renders_it_reads_right() -> None:
    rated = {event.name for event in EVENTS if "rate" in event.attributes}
    assert set(MISREAD_EVENTS["rate"]) == {"helicopter", "telephone", "wind_chimes"}
    assert right_share("helicopter") == 0.0
    assert right_share("telephone") <= 0.625
    assert min(right_share(name, seeds=4) for name in rated - set(MISREAD_EVENTS["rate"])) >= 0.5
    used = {scene.events[0].name for scene in attribute_scenes("rate", "fast", 60)[0]}
    assert used.isdisjoint(MISREAD_EVENTS["rate"])


def test_the_shipped_judges_are_checked_and_named(tmp_path: Path) -> None:
    shutil.copy(WEIGHTS / "classifier.safetensors", tmp_path)
    shutil.copytree(WEIGHTS / "clap", tmp_path / "clap")
    write_manifest(tmp_path)
    load_judges(tmp_path)
    named = judge_hashes(tmp_path / "classifier.safetensors", tmp_path / "clap")
    files = json.loads((WEIGHTS / "manifest.json").read_text())["files"]
    assert named == {
        "classifier": files["classifier.safetensors"]["sha256"][:12],
        "clap": files["clap/model.safetensors"]["sha256"][:12],
    }
    with (tmp_path / "classifier.safetensors").open("ab") as handle:
        handle.write(b"0")
    with pytest.raises(ValueError, match=r"classifier\.safetensors has sha256"):
        load_judges(tmp_path)


def test_the_ratio_of_two_distances_is_bounded_as_a_jackknife_by_clip_bounds_it() -> None:
    made = torch.Generator().manual_seed(0)
    references, shared, first, second = (torch.randn(n, 4, generator=made).relu() for n in (400, 300, 300, 300))
    near, far = shared + 0.5 * first + 0.4, shared + 0.5 * second + 0.2
    low, high = ratio_bounds(references, near, far)

    def log_ratio(rows: Any) -> float:
        return math.log(
            frechet_distance(references.numpy(), rows[:, :4]) / frechet_distance(references.numpy(), rows[:, 4:])
        )

    both = torch.cat([near, far], dim=1).numpy()
    other = jackknife_interval(log_ratio, both, seed=0, groups=len(both))
    assert math.sqrt(low * high) == pytest.approx(math.exp(other.value), rel=1e-3)
    assert math.log(high / low) == pytest.approx(other.high - other.low, rel=0.1)


def test_the_program_measures_every_source_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_quality, "tqdm", lambda x, **_: x)
    monkeypatch.setattr(generator_quality, "TRAIN_DURATION_S", 2.56)
    settings = GeneratorSettings(prompts=2, references=4, steps=2, batch=2, out=str(tmp_path / "q.json"))
    result = measure(settings)
    assert json.loads((tmp_path / "q.json").read_text()) == json.loads(json.dumps(result))
    for relation in ("single", "while", "then"):
        assert set(result[relation]) == {"real", "round_trip", "generated"}
    assert "order_right" in result["then"]["generated"]
    assert result["level"]["real"]["value"] == 1.0
    distance = result["frechet_distance"]
    assert distance["generated_over_untrained"] == pytest.approx(
        distance["generated"] / distance["untrained"], abs=1e-3
    )
    assert distance["n"] == 4
    ratio = distance["generated_over_round_trip"]
    assert distance["generated_over_round_trip_low"] < ratio < distance["generated_over_round_trip_high"]
    short = measure(replace(settings, contrasts=False))
    assert short == {
        **{k: v for k, v in result.items() if k not in ("level", "rate", "pitch")},
        "settings": short["settings"],
    }
    assert set(result["judges"]) == {"classifier", "clap"}
    assert list(result["rate"]["without"]) == ["helicopter", "telephone", "wind_chimes"]
