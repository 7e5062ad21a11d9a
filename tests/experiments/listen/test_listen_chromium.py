"""The listening page in a real headless Chromium, opened from a file."""

import pytest
from chromium import needs_chromium
from listen_material import clip, make_run, run_record, tone_wav

from experiments.listen.page import write_listening_page
from experiments.records import append_record
from experiments.records.audio_path import audio_path
from experiments.records.run import Run
from experiments.share import share

pytestmark = [pytest.mark.slow, needs_chromium]

CAPTIONS = {
    "rain": "Rain on a roof",
    "tags": "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>",
    "rtl": "كلب ينبح \u202e reversed",
    "long": "wave " * 400,
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, CAPTIONS, [2.0, 4.0], skip=[("rtl", 4.0, "focus_only")], fail=[("rain", 4.0, "litefocus")])
    write_listening_page(Run.load(folder))
    return folder


@pytest.fixture
def page(chromium, run_dir):
    chromium.events.clear()
    chromium.resize(1280, 900)
    chromium.open(run_dir / "listen.html")
    chromium.wait("document.querySelectorAll('.cell').length === 24")
    yield chromium
    assert chromium.errors() == []
    assert all(url.startswith("file://") for url in chromium.requested())


def play_first(page):
    page.click(".cell .round")
    page.wait("player.position > 0.1")


def captions_shown(page):
    return page.run("[...document.querySelectorAll('.card:not([hidden]) .id')].map(e => e.textContent.split(' · ')[1])")


def test_it_opens_with_pictures_and_without_audio(page):
    page.wait("[...document.querySelectorAll('.spectrogram img')].some(i => i.complete && i.naturalWidth === 640)")
    assert page.requested(".wav") == []
    assert page.run("document.getElementById('summary').textContent") == (
        "4 prompts · 2 lengths · 3 methods · 1 seed · 22 clips · 2 gaps"
    )
    assert page.run("document.getElementById('bar').hidden") is True


def test_playing_loads_one_clip_and_moves_its_playhead(page, run_dir):
    play_first(page)
    assert page.requested(".wav") == [(run_dir / "audio/dense_2s_2steps_g3.5/rain_0.wav").as_uri()]
    page.wait("parseFloat(document.querySelector('.cell.active .playhead').style.left) > 5")
    page.key(" ")
    page.wait("!player.playing")


def test_a_switch_keeps_the_position_and_silences_the_other(page):
    play_first(page)
    page.run("window.first = player.audio")
    switched = "(() => { const t = player.position; switchArm(1); return [t, player.position, player.clip.arm]; })()"
    before, after, arm = page.run(switched)
    assert (arm, after) == (1, pytest.approx(before, abs=0.05))
    page.wait(f"player.playing && player.position > {before}")
    assert page.run("first.paused && first !== player.audio") is True
    page.key("3")
    page.wait(f"player.clip.arm === 2 && player.audio.readyState === 4 && player.position > {before}")
    assert len(page.requested(".wav")) == 3


def test_a_switch_while_paused_at_a_seek_starts_there(page):
    play_first(page)
    page.run("player.toggle(); player.seek(1.25)")
    page.click("#switch button:nth-child(2)")
    page.wait("player.clip.arm === 1 && player.position >= 1.25")
    assert page.run("player.position") < 2.01


def test_another_prompt_starts_at_its_beginning(page):
    play_first(page)
    page.run("player.seek(1.5)")
    assert page.run("(() => { move(1, 0); return [player.clip.prompt, player.position]; })()") == [1, 0]


def test_a_click_in_a_spectrogram_plays_from_there(page):
    page.click(".card:nth-child(1) .column:nth-child(2) .spectrogram", x_share=0.5)
    page.wait("player.playing && player.position >= 1.95")
    assert page.run("player.clip.duration") == 4


def test_a_clip_plays_to_its_end_and_loops_when_asked(page):
    play_first(page)
    page.key("l")
    page.run("player.seek(1.9)")
    page.wait("player.position < 1 && player.playing")
    page.key("l")
    page.run("player.seek(1.9)")
    page.wait("player.audio.ended && !player.playing")
    assert page.run("document.getElementById('toggle').textContent") == "▶"


def test_a_method_that_failed_cannot_be_switched_to(page):
    page.click(".card:nth-child(1) .column:nth-child(2) .round")
    page.wait("player.playing")
    page.key("2")
    assert page.run("[player.clip.arm, document.querySelector('#switch button:nth-child(2)').disabled]") == [0, True]


def test_gaps_show_their_reason(page):
    assert page.run("[...document.querySelectorAll('.gap')].map(e => e.textContent)") == [
        "failed: 7 non-finite samples in the generated audio",
        "not generated yet: the run is unfinished",
    ]
    page.click("#gaps")
    assert captions_shown(page) == ["rain", "rtl"]


def test_hostile_captions_are_text(page):
    assert page.run("[...document.querySelectorAll('.card h2')].map(e => e.textContent)") == list(CAPTIONS.values())
    assert page.run("window.hacked === undefined && document.querySelectorAll('.card h2 *').length === 0") is True
    page.click(".card:nth-child(2) .round")
    page.wait("player.playing")
    assert page.run("document.getElementById('now-caption').textContent") == CAPTIONS["tags"]


def test_the_filter_and_the_keys_that_reach_it(page):
    page.key("/")
    for letter in "WAVE":
        page.key(letter)
    page.wait("document.getElementById('search').value === 'WAVE'")
    assert captions_shown(page) == ["long"]
    page.run("const s = document.getElementById('search'); s.value = 'no such'; s.dispatchEvent(new Event('input'))")
    assert captions_shown(page) == []
    assert page.run("document.getElementById('nothing').hidden") is False


def test_sorting_by_caption_and_by_score(page):
    assert captions_shown(page) == ["rain", "tags", "rtl", "long"]
    choose = "(v => { const s = document.getElementById('sort'); s.value = v; s.dispatchEvent(new Event('change')); })"
    page.run(f"{choose}('mean:0')")
    assert captions_shown(page) == ["long", "rtl", "tags", "rain"]
    page.run(f"{choose}('caption')")
    assert captions_shown(page) == ["tags", "rain", "long", "rtl"]


def test_lengths_and_methods_can_be_hidden(page):
    page.click("#durations .chip:nth-child(1)")
    page.click("#arms .chip:nth-child(3)")
    page.wait("document.querySelectorAll('.cell').length === 8")
    assert page.run("[...new Set([...document.querySelectorAll('.column h3')].map(e => e.textContent))]") == ["4 s"]
    page.click("#durations .chip:nth-child(2)")
    assert page.run("[...state.durations]") == [1]


def test_the_theme_button_changes_the_colours(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.run(colour)
    page.click("#theme")
    assert page.run(colour) != before
    page.click("#theme")
    assert page.run(colour) == before


def test_a_phone_shows_the_page_without_sideways_scrolling(page):
    page.resize(390, 844, touch=True)
    play_first(page)
    assert page.run("document.documentElement.scrollWidth <= 390") is True
    assert page.run("Math.min(...[...document.querySelectorAll('.cell .round')].map(b => b.offsetWidth)) >= 36") is True


def test_a_lost_file_is_told_in_the_bar(chromium, tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [1.0], {"dense": "Dense"})
    write_listening_page(Run.load(tmp_path))
    (tmp_path / "audio/dense_1s_2steps_g3.5/a_0.wav").write_bytes(b"damaged")
    chromium.open(tmp_path / "listen.html")
    chromium.wait("document.querySelectorAll('.cell').length === 1")
    chromium.click(".cell .round")
    chromium.wait("document.getElementById('now-time').classList.contains('error')")
    assert "a_0.wav" in chromium.run("document.getElementById('now-time').textContent")


def test_a_thousand_clips_are_laid_out_only_where_they_are_seen(chromium, tmp_path):
    wav = tone_wav(440, 0.2, 0)
    methods = {name: name for name in ("dense", "litefocus", "focus_only", "compensation_only")}
    prompts = [f"p{index}" for index in range(64)]
    append_record(tmp_path, run_record(prompts, [10, 20, 40, 80], methods))
    for prompt in prompts:
        for duration in (10, 20, 40, 80):
            for method in methods:
                condition = f"{method}_{duration}s"
                audio = audio_path(condition, prompt, 0)
                (tmp_path / audio).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / audio).write_bytes(wav)
                append_record(tmp_path, clip(condition, method, duration, prompt, f"Caption {prompt}", 0, audio, wav))
    write_listening_page(Run.load(tmp_path))
    chromium.events.clear()
    chromium.open(tmp_path / "listen.html")
    chromium.wait("document.querySelectorAll('.cell').length > 0")
    assert chromium.run("[data.clips.length, document.querySelectorAll('.card').length]") == [1024, 64]
    assert chromium.run("document.querySelectorAll('.cell').length") < 200
    assert chromium.requested(".wav") == []
    chromium.run("window.scrollTo(0, document.body.scrollHeight)")
    chromium.wait("[...document.querySelectorAll('.card:last-child .cell')].length === 16")
    assert chromium.errors() == []


def test_a_shared_page_plays_without_its_folder(chromium, run_dir, tmp_path):
    alone = tmp_path / "sent.html"
    alone.write_bytes(share(run_dir).read_bytes())
    chromium.events.clear()
    chromium.open(alone)
    chromium.wait("[...document.querySelectorAll('.spectrogram img')].some(i => i.complete && i.naturalWidth === 640)")
    play_first(chromium)
    assert chromium.run("document.getElementById('alone').hidden") is True
    assert chromium.errors() == []
    assert {url for url in chromium.requested() if not url.startswith("data:")} == {alone.as_uri()}


def test_a_page_without_its_folder_says_so(chromium, run_dir, tmp_path):
    alone = tmp_path / "listen.html"
    alone.write_bytes((run_dir / "listen.html").read_bytes())
    chromium.open(alone)
    chromium.wait("!document.getElementById('alone').hidden")
    assert "python -m experiments.share" in chromium.run("document.getElementById('alone').textContent")
