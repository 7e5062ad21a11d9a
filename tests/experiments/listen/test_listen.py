"""The listening page's content without a browser: every gap has its reason, and nothing from outside is markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from listen_material import METHODS, clip, failure, make_run, metric, run_record, tone_wav

from experiments.listen.data import UNFINISHED, Arm, Cell, gather
from experiments.listen.page import SCORES, json_for_html, material, page_data, render_page, write_listening_page
from experiments.listen.spectrograms import (
    MEL_ROWS,
    WIDTH,
    image_name,
    mel_frequencies,
    mel_spectrogram_db,
    spectrogram_image,
    write_spectrograms,
)
from experiments.records import ClipRecord, append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.tables.quality_rows import metric_label

HOSTILE = {
    "tags": "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>",
    "comment": "<!--<script> & \"quotes\" 'single' \\u003c",
    "rtl": "كلب ينبح \u202e reversed \u2028 line",
    "emoji": "🎷🎺 jazz",
    "long": "word " * 400,
}


class Page(HTMLParser):
    """Script, style and policy of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.policy = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"]

    def handle_data(self, text):
        if self.cdata_elem:
            tag, attributes = self.tags[-1]
            self.texts[attributes.get("id", tag)] = text


def cell(prompt_id="a", duration=1.0, method="dense", seed=0):
    return Cell(prompt_id, duration, Arm(method, 2, 3.5), seed)


def test_every_cell_asked_for_is_a_clip_or_a_gap_with_its_reason(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "Wind"}, [1.0], skip=[("a", 1.0, "dense")], fail=[("b", 1.0, "litefocus")])
    (tmp_path / "audio/focus_only_1s_2steps_g3.5/a_0.wav").unlink()
    grid = gather(Run.load(tmp_path))
    assert grid.gaps == {
        cell("a"): UNFINISHED,
        cell("a", method="focus_only"): "the audio file is not in this copy of the run",
        cell("b", method="litefocus"): "failed: 7 non-finite samples in the generated audio",
    }
    assert len(grid.clips) == 2 * 3 - 3
    assert grid.captions == {"a": "Rain", "b": "Wind"}


def test_a_method_with_steps_of_its_own_is_one_arm(tmp_path):
    record = run_record(["a"], [1.0], {"dense": "Dense (SDPA)", "dpm_solver": "DPM-Solver++"})
    record.config["methods"]["dpm_solver"]["steps"] = 25
    made = replace(clip("c", "dpm_solver", 1.0, "a", "Rain", 0, "audio/c/a_0.wav", b"x"), steps=25)
    grid = gather(Run([record, made], tmp_path))
    assert grid.labels == {
        Arm("dense", 2, 3.5): "Dense (SDPA) (2 steps, guidance 3.5)",
        Arm("dpm_solver", 25, 3.5): "DPM-Solver++ (25 steps, guidance 3.5)",
    }
    assert len(grid.gaps) == 2


def test_scores_of_two_presets_are_two_columns(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [1.0], scores=False)
    records = read_records(tmp_path)
    name = "dense_1s_2steps_g3.5"
    records += [metric(name, "dense", 1.0, per_clip={"a_0": n}, preset=p) for p, n in (("strict", 0.1), ("tango", 0.2))]
    grid = gather(Run(records, tmp_path))
    assert grid.scores[cell()] == {"clap_(strict)": 0.1, "clap_(tango)": 0.2}
    assert {m: r.higher_is_better for m, r in grid.metrics.items()} == {"clap_(strict)": True, "clap_(tango)": True}
    assert metric_label("clap_(tango)") == "CLAP (tango)"
    assert gather(Run(records[:-1], tmp_path)).scores[cell()] == {"clap": 0.1}


def test_a_failure_of_a_whole_condition_explains_each_of_its_clips_and_only_those(tmp_path):
    records = [run_record(["a"], [1.0, 2.0]), failure("c", "dense", 1.0, "", 0, "out of memory")]
    grid = gather(Run(records, tmp_path))
    assert grid.gaps[cell("a", 1.0)] == "failed: out of memory"
    assert grid.gaps[cell("a", 2.0)] == grid.gaps[cell("a", 1.0, "litefocus")] == UNFINISHED


def test_a_failed_clip_that_was_generated_later_is_no_gap(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [1.0], fail=[("a", 1.0, "dense")])
    wav = tone_wav(440, 1.0, 0)
    (tmp_path / "audio/c").mkdir(parents=True)
    (tmp_path / "audio/c/a_0.wav").write_bytes(wav)
    late = clip("c", "dense", 1.0, "a", "Rain", 0, "audio/c/a_0.wav", wav)
    grid = gather(Run([*read_records(tmp_path), late], tmp_path))
    assert grid.gaps == {}
    assert grid.clips[cell("a")].audio == "audio/c/a_0.wav"


@pytest.mark.parametrize("audio", ["/etc/passwd", "../outside.wav", "audio/../../outside.wav"])
def test_a_recorded_path_cannot_leave_the_run_folder(audio):
    with pytest.raises(ValueError, match="no path below the run folder"):
        clip("c", "dense", 1.0, "a", "Rain", 0, audio, b"")


def test_arms_that_differ_in_steps_are_told_apart(tmp_path):
    records = [run_record(["a"], [1.0], {"dense": "Dense"}), run_record(["a"], [1.0], {"dense": "Dense"}, steps=50)]
    assert list(gather(Run(records, tmp_path)).labels.values()) == [
        "Dense (2 steps, guidance 3.5)",
        "Dense (50 steps, guidance 3.5)",
    ]


def test_scores_of_a_clip_come_from_per_clip_details(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "Wind"}, [1.0], scores=False)
    condition = "dense_1s_2steps_g3.5"
    records = [
        *read_records(tmp_path),
        metric(condition, "dense", 1.0, "kl", per_clip={"a_0": 1.5}, higher_is_better=False),
        metric(condition, "dense", 1.0, "clap", per_clip={"b_0": float("nan")}),
        metric(condition, "dense", 1.0, "drift", window=0, per_clip={"a_0": 9.0}),
        metric(condition, "dense", 1.0, "kl", baseline="litefocus", per_clip={"a_0": 9.0}),
    ]
    grid = gather(Run(records, tmp_path))
    assert {m: r.higher_is_better for m, r in grid.metrics.items()} == {"kl": False, "clap": True}
    assert grid.scores[cell("a")] == {"kl": 1.5}
    entries = {tuple(entry["at"]): entry for entry in page_data(grid, records[:1], "x")["clips"]}
    assert entries[0, 0, 0, 0]["scores"] == [1.5, None]
    assert entries[1, 0, 0, 0]["scores"] == [None, None]
    assert "scores" not in entries[0, 0, 1, 0]


def test_hostile_text_stays_text_and_comes_back_unchanged(tmp_path):
    make_run(tmp_path, HOSTILE, [0.1], {"dense": "<b>Dense</b>"})
    page = Page(write_listening_page(Run.load(tmp_path)).read_text(encoding="utf-8"))
    data = json.loads(page.texts["data"])
    assert {prompt["id"]: prompt["caption"] for prompt in data["prompts"]} == HOSTILE
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not re.search(r"[<>&]", page.texts["data"])


def test_the_policy_allows_exactly_this_script_and_style_and_no_address(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.1])
    text = write_listening_page(Run.load(tmp_path)).read_text(encoding="utf-8")
    page = Page(text)
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in page.policy
    assert page.policy.startswith("default-src 'none'")
    assert "http://" not in text
    assert "https://" not in text
    assert not [attributes for _, attributes in page.tags if "src" in attributes or "href" in attributes]


def test_writing_again_gives_the_same_bytes_and_draws_nothing(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.1], {"dense": "Dense"})
    first = write_listening_page(Run.load(tmp_path)).read_bytes()
    (image,) = (tmp_path / "spectrograms").iterdir()
    image.write_bytes(b"kept")
    assert write_listening_page(Run.load(tmp_path)).read_bytes() == first
    assert image.read_bytes() == b"kept"


def test_awkward_file_names_become_addresses(tmp_path):
    wav = tone_wav(440, 0.1, 0)
    name = "audio/c/a+1_0.wav"
    (tmp_path / "audio/c").mkdir(parents=True)
    (tmp_path / name).write_bytes(wav)
    records = [run_record([], []), clip("c", "dense", 0.1, "a+1", "Rain", 0, name, wav)]
    (entry,) = page_data(gather(Run(records, tmp_path)), records[:1], "x")["clips"]
    assert entry["audio"] == "audio/c/a%2B1_0.wav"


def test_scores_of_clips_stand_in_a_table_by_path_with_the_direction_of_their_metric(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "Wind"}, [1.0], {"dense": "Dense"}, scores=False)
    where = ("dense_1s_2steps_g3.5", "dense", 1.0)
    append_record(tmp_path, metric(*where, "clap", per_clip={"a_0": 0.25, "b_0": float("nan")}))
    append_record(tmp_path, metric(*where, "kl", per_clip={"a_0": 1.5}, higher_is_better=False))
    append_record(tmp_path, metric(*where, "repetition", per_clip={"b_0": 2.0}, higher_is_better=None))
    write_listening_page(Run.load(tmp_path))
    assert (tmp_path / SCORES).read_text() == (
        "clip,metric,higher_is_better,value\n"
        "audio/dense_1s_2steps_g3.5/a_0.wav,kl,false,1.5\n"
        "audio/dense_1s_2steps_g3.5/a_0.wav,clap,true,0.25\n"
        "audio/dense_1s_2steps_g3.5/b_0.wav,repetition,,2.0\n"
    )


def test_votes_on_other_audio_or_under_other_labels_are_told_apart(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "Wind"}, [1.0])
    grid = gather(Run.load(tmp_path))
    first = next(iter(grid.clips))
    other_audio = replace(grid, clips={**grid.clips, first: replace(grid.clips[first], sha256="0" * 64)})
    other_label = replace(grid, labels={**grid.labels, first.arm: "Renamed"})
    other_order = replace(grid, clips=dict(reversed(grid.clips.items())))
    assert len({material(each) for each in (grid, other_audio, other_label)}) == 3
    assert material(other_order) == material(grid)


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no records to show"):
        write_listening_page(Run.load(tmp_path))


def test_json_for_html_reads_back():
    text = json_for_html({"x": "</script>\u2028&<!--"})
    assert json.loads(text) == {"x": "</script>\u2028&<!--"}
    assert text.isascii()
    with pytest.raises(ValueError, match="JSON"):
        json_for_html(float("nan"))


def test_a_full_scale_sine_is_zero_db_at_its_row():
    row = 40
    frequency = mel_frequencies(8000.0)[row]
    samples = np.sin(2 * np.pi * frequency * np.arange(32000) / 16000)
    level = mel_spectrogram_db(samples, 16000)
    assert level.shape == (MEL_ROWS, WIDTH)
    middle = level[:, WIDTH // 2]
    assert middle.argmax() == row
    # A Hann window loses at most 1.42 dB between two bins.
    assert -1.5 < middle[row] <= 0.01
    assert middle[row + 10] < -60


def test_levels_are_absolute_and_time_runs_left_to_right():
    samples = np.concatenate([np.zeros(16000), 0.1 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)])
    level = mel_spectrogram_db(samples, 16000)
    assert level[:, : WIDTH // 2 - 20].max() == -120
    assert level[:, WIDTH // 2 + 20 : -20].max() == pytest.approx(-20, abs=1.5)


@pytest.mark.parametrize("samples", [np.zeros(1), np.zeros(100), np.zeros(1024), np.zeros(160000)])
def test_any_length_gives_one_image_size(samples):
    image = spectrogram_image(samples, 16000)
    assert image.size == (WIDTH, MEL_ROWS)
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) == 1


def test_low_sounds_are_at_the_bottom_of_the_image():
    image = np.asarray(spectrogram_image(0.1 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000), 16000)).sum(
        axis=(1, 2)
    )
    assert image.argmax() > 0.85 * MEL_ROWS


def test_damaged_audio_is_refused_by_name(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.1], {"dense": "Dense"})
    (record,) = of_kind(read_records(tmp_path), ClipRecord)
    path = tmp_path / record.audio
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"a_0.wav: its content is not what was recorded"):
        write_spectrograms(tmp_path, [record])
    bad = clip("c", "dense", 0.1, "a", "Rain", 0, "audio/c/a_0.wav", b"no audio")
    (tmp_path / "audio/c").mkdir()
    (tmp_path / "audio/c/a_0.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"c/a_0.wav: not a readable wav"):
        write_spectrograms(tmp_path, [bad])
    assert image_name(bad) != image_name(record)


def test_methods_keep_the_order_of_the_run(tmp_path):
    grid = gather(Run([run_record(["a"], [1.0])], tmp_path))
    data = page_data(grid, [run_record(["a"], [1.0])], "x")
    assert [arm["label"] for arm in data["arms"]] == list(METHODS.values())
    assert "synthetic" in render_page(data)
