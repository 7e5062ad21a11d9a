"""Reference audio beside the clips: which files count, what the page and a shared file hold, how it behaves."""

import base64
import io
import json
import re

import pytest
import soundfile
from chromium import needs_chromium
from listen_material import RATE, make_run, tone_wav

from experiments.listen.data import gather
from experiments.listen.page import page_data, write_listening_page
from experiments.listen.references import keep_references
from experiments.records.run import Run
from experiments.share import share

CAPTIONS = {"a": "Rain", "b": "Wind", "c": "Sea"}
TWO = {"dense": "Dense", "litefocus": "LiteFocus"}


def flac(frequency_hz, duration_s):
    out = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(tone_wav(frequency_hz, duration_s, 0)), dtype="int16")
    soundfile.write(out, samples, rate, format="FLAC")
    return out.getvalue()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """`a` has one reference per length, `b` one for all of them and shorter, `c` none that may be played."""
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, CAPTIONS, [0.5, 1.0], TWO, seeds=(0, 1))
    kept = folder / "references"
    for length in (0.5, 1.0):
        path = kept / f"{length:g}s" / "a.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(tone_wav(880, length, 0))
    (kept / "b.flac").write_bytes(flac(440, 0.25))
    outside = tmp_path_factory.mktemp("outside") / "c.wav"
    outside.write_bytes(tone_wav(330, 1.0, 0))
    (kept / "c.wav").symlink_to(outside)
    (kept / "c.flac").write_text("no audio")
    write_listening_page(Run.load(folder))
    return folder


def test_a_reference_of_the_clip_s_length_comes_first_and_none_from_outside(run_dir):
    found = {place: reference.audio for place, reference in gather(Run.load(run_dir)).references.items()}
    assert found == {
        ("a", 0.5): "references/0.5s/a.wav",
        ("a", 1.0): "references/1s/a.wav",
        ("b", 0.5): "references/b.flac",
        ("b", 1.0): "references/b.flac",
    }


def test_the_page_has_them_as_an_arm_of_every_seed(run_dir):
    run = Run.load(run_dir)
    data = page_data(gather(run), run.runs, "x")
    assert [arm["label"] for arm in data["arms"]] == ["Dense", "LiteFocus", "Reference"]
    assert [arm.get("reference", False) for arm in data["arms"]] == [False, False, True]
    entries = [entry for entry in data["clips"] if entry["at"][2] == 2]
    assert [(entry["at"], entry["audio"], entry["seconds"]) for entry in entries] == [
        ([0, 0, 2, None], "references/0.5s/a.wav", 0.5),
        ([0, 1, 2, None], "references/1s/a.wav", 1.0),
        ([1, 0, 2, None], "references/b.flac", 0.25),
        ([1, 1, 2, None], "references/b.flac", 0.25),
    ]
    assert all((run_dir / entry["image"]).is_file() for entry in entries)


def test_a_shared_file_holds_them_beside_the_clips_that_they_belong_to(run_dir):
    page = share(run_dir, prompts=2).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    for entry in data["clips"]:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(entry["audio"].split(";base64,")[1])), dtype="int16")
        assert (rate, samples.tobytes()) == (RATE, soundfile.read(run_dir / entry["file"], dtype="int16")[0].tobytes())
    assert sum(entry["at"][2] == 2 for entry in data["clips"]) == 4
    with_zip = share(run_dir, most_mb=0.001)
    assert with_zip.suffix == ".zip"
    assert b"references/b.flac" in with_zip.read_bytes()


def test_references_from_elsewhere_are_copied_once_and_anew_when_they_change(tmp_path):
    elsewhere, run_dir = tmp_path / "true sounds", tmp_path / "run"
    elsewhere.mkdir()
    (elsewhere / "a.WAV").write_bytes(b"one")
    inside = run_dir / "references/1s/b.wav"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"two")
    files = {"a": elsewhere / "a.WAV", "b": inside}
    keep_references(files, run_dir)
    kept = run_dir / "references/a.wav"
    before = kept.stat().st_ino
    keep_references(files, run_dir)
    assert (kept.read_bytes(), kept.stat().st_ino) == (b"one", before)
    (elsewhere / "a.WAV").write_bytes(b"another")
    keep_references(files, run_dir)
    assert kept.read_bytes() == b"another"
    assert sorted(path.name for path in (run_dir / "references").rglob("*.*")) == ["a.wav", "b.wav"]


@pytest.mark.slow
@needs_chromium
def test_a_browser_plays_them_under_every_seed_and_asks_for_no_vote_on_them(chromium, run_dir):
    chromium.events.clear()
    chromium.open(run_dir / "listen.html")
    chromium.wait("document.querySelectorAll('.cell').length === 3 * 2 * 2 + 4")
    assert chromium.run("document.getElementById('summary').textContent") == (
        "3 prompts · 2 lengths · 2 methods · 2 seeds · 24 clips"
    )
    chromium.run("state.seed = 1; apply()")
    chromium.run("player.play(clips.get('1/1/1/0'), 0.4)")
    chromium.wait("player.playing")
    chromium.run("switchArm(2)")  # 0.25 s long: from its start
    assert chromium.run("decodeURIComponent(player.clip.audio)") == "references/b.flac"
    assert chromium.run("player.position") < 0.25
    assert chromium.run("byId('seek').max") == "0.25"
    assert chromium.run("drawPairs(data, clips, Math.random).flat().some((clip) => clip.arm === 2)") is False
    assert chromium.errors() == []
