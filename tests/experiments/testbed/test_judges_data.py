"""Rendered clips: the corpus' own audio, cached by content, restartable, labels in the order of EVENT_NAMES."""

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.testbed.corpus.scenes import EVENT_NAMES, render_scene, sample_scene
from experiments.testbed.models import judges_data
from experiments.testbed.models.judges_data import (
    convert_clips,
    corpus_version,
    event_labels,
    render_clips,
    round_trip_settings,
    with_round_trips,
)
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vae import make_vae
from experiments.testbed.models.vocoder import MelGriffinLim, load_vae, load_vocoder, reconstruct


def test_clips_are_the_scenes_of_their_seeds_within_16_bits(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "heldout", 5, first_seed=40, duration_s=1.0)
    scene = sample_scene(43, split="heldout")
    assert clips.scenes[3] == scene
    audio = clips.audio([3, 0])
    assert audio.shape == (2, 16000)
    assert audio.dtype == torch.float32
    np.testing.assert_allclose(audio[0].numpy(), render_scene(scene, 1.0), atol=0.51 / 32767)


def test_labels_are_event_sets_in_the_order_of_the_names(tmp_path: Path) -> None:
    scene = sample_scene(1, split="train", relation="while")
    labels = event_labels([scene])
    assert labels.sum() == 2
    assert {EVENT_NAMES[i] for i in labels[0].nonzero().flatten().tolist()} == {e.name for e in scene.events}


def test_the_cache_is_read_back_and_an_interrupted_render_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges_data, "CHUNK_CLIPS", 2)
    whole = render_clips(tmp_path / "a", "train", 5, 0, duration_s=0.5).audio(range(5))
    rendered = []

    def stop_in_the_second_chunk(scene, duration_s):  # type: ignore[no-untyped-def]
        rendered.append(scene.seed)
        if len(rendered) == 4:
            raise KeyboardInterrupt
        return render_scene(scene, duration_s)

    corpus_version()
    monkeypatch.setattr(judges_data, "render_scene", stop_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        render_clips(tmp_path / "b", "train", 5, 0, duration_s=0.5)
    clips = render_clips(tmp_path / "b", "train", 5, 0, duration_s=0.5)
    assert torch.equal(clips.audio(range(5)), whole)
    assert rendered.count(sample_scene(0, split="train").seed) == 1
    assert len(rendered) == 4 + 3


def test_a_changed_corpus_gets_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = corpus_version()
    corpus_version.cache_clear()
    monkeypatch.setattr(judges_data, "render_scene", lambda scene, duration_s: 0.5 * render_scene(scene, duration_s))
    changed = corpus_version()
    corpus_version.cache_clear()
    assert len(first) == 12
    assert changed != first


def test_converted_clips_keep_scenes_and_order(tmp_path: Path) -> None:
    clips = render_clips(tmp_path, "train", 5, 0, duration_s=0.5)
    halved = convert_clips(tmp_path, "halved", clips, lambda audio: 0.5 * audio, batch_size=2)
    assert halved.scenes == clips.scenes
    torch.testing.assert_close(halved.audio([4, 1]), 0.5 * clips.audio([4, 1]), atol=1.1 / 32767, rtol=0)


def test_round_trips_pass_the_vae_and_are_cached_apart_from_those_that_do_not(tmp_path: Path) -> None:
    MelGriffinLim().save_pretrained(tmp_path / "vocoder")
    make_vae(widths=(8, 8, 8)).save_pretrained(tmp_path / "vae")
    clips = render_clips(tmp_path, "train", 3, 0, duration_s=0.512)
    folders = (str(tmp_path / "vocoder"), str(tmp_path / "vae"))
    through_vae = with_round_trips(tmp_path, clips, *folders, 2)[1]
    without = with_round_trips(tmp_path, clips, folders[0], "", 2)[1]
    vocoder, vae = load_vocoder(tmp_path / "vocoder"), load_vae(folders[1])
    assert len(through_vae) == 2
    with torch.no_grad():
        mels = log_mel(clips.audio([1]))
        torch.testing.assert_close(without.audio([1]), vocoder(mels), atol=1e-4, rtol=0)
        torch.testing.assert_close(through_vae.audio([1]), vocoder(reconstruct(vae, mels)), atol=1e-4, rtol=0)
    assert not torch.equal(through_vae.audio([1]), without.audio([1]))
    assert with_round_trips(tmp_path, clips, "", "", 2) == [clips]
    names = [round_trip_settings(folders[0], vae, 2) for vae in (folders[1], "")]
    assert names[0]["round_trip_by"] != names[1]["round_trip_by"]
    assert round_trip_settings("", "", 2) == {"round_trips": 0}


def test_no_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        render_clips(tmp_path, "train", 0, 0)
