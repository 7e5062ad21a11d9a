"""The page to try: what it asks the harness for, stopping and resuming, and the page in a real browser."""

import threading
from dataclasses import replace
from importlib.util import find_spec

import pytest
from chromium import Chromium, needs_chromium

from experiments.app import Stopped, asked, configured, make, serve, table
from experiments.pipelines.pipeline import Pipeline
from experiments.records import ClipRecord, of_kind, read_records
from experiments.stages.setup import load_pipeline

TINY = (
    "pipeline=audioldm2_untrained",
    "pipeline.name=tiny_untrained",
    "pipeline.size=tiny",
    "durations=[1,2]",
    "steps=2",
)


def config_in(folder):
    return configured([*TINY, f"out_dir={folder}", "threads=1"])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return load_pipeline(config_in(tmp_path_factory.mktemp("app")))


def test_a_comparison_has_the_baseline_and_a_folder_of_its_settings(tmp_path):
    config = config_in(tmp_path)
    one = asked(config, " rain ", 2, 3, 1, ["litefocus"])
    assert list(one.methods) == ["dense", "litefocus"]
    assert (list(one.durations), one.steps, list(one.seeds)) == ([2.0], 3, [1])
    again = [asked(config, "rain", 2.0, 3, 1, ["dense", "litefocus"]), asked(config, "hail", 2, 3, 1, ["litefocus"])]
    assert [other.out_dir == one.out_dir for other in again] == [True, False]


def test_what_a_visitor_types_is_data_and_is_checked(tmp_path):
    typed = "${oc.env:HOME} steps=[1] 'x"
    one = asked(config_in(tmp_path), typed, 1, 2, 0, [])
    with open(one.data.file, encoding="utf-8") as file:
        assert file.read() == typed + "\n"
    for wrong in (("", 1, 2, 0), ("a\nb", 1, 2, 0), ("rain", -1, 2, 0), ("rain", 1, 0, 0), ("rain", 1e9, 2, 0)):
        with pytest.raises(ValueError, match="prompt|duration|steps"):
            asked(config_in(tmp_path), *wrong, [])


def test_a_folder_of_other_weights_is_refused(tmp_path, pipeline):
    """The clips of the old weights would be shown as the new ones'."""
    one = asked(config_in(tmp_path), "wind", 1, 2, 0, [])
    make(one, pipeline, lambda: None)
    with pytest.raises(ValueError, match="this run folder was made with weights .*, now other; set another name"):
        make(one, replace(pipeline, weights="other"), lambda: None)


def test_stopping_keeps_what_is_finished_and_the_same_settings_go_on(tmp_path, pipeline):
    one = asked(config_in(tmp_path), "rain", 1, 2, 0, ["litefocus"])
    calls = []

    def second_time():
        calls.append(1)
        if len(calls) == 2:
            raise Stopped("stopped")

    with pytest.raises(Stopped):
        make(one, pipeline, second_time)
    (first,) = of_kind(read_records(tmp_path / one.out_dir), ClipRecord)
    run_dir = make(one, pipeline, lambda: None)
    clips = of_kind(read_records(run_dir), ClipRecord)
    assert clips[0] == first
    assert [clip.method for clip in clips] == ["dense", "litefocus"]
    rows = table(run_dir, "dense")
    assert list(rows["method"]) == ["Dense (SDPA)", "LiteFocus"]
    assert rows["times faster a step"][1] == pytest.approx(clips[0].step_s / clips[1].step_s, abs=0.005)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("gradio"), reason="needs the extra app")
@needs_chromium
def test_the_page_compares_plays_with_one_playhead_and_asks_no_other_host(tmp_path, monkeypatch):
    begun, generate = threading.Event(), Pipeline.generate

    def noted(*args, **options):
        begun.set()
        return generate(*args, **options)

    monkeypatch.setattr(Pipeline, "generate", noted)
    config = config_in(tmp_path / "runs")
    config.steps = 40  # over a second a clip, so that there is something to stop
    blocks, url = serve(config)
    browser = Chromium(tmp_path / "profile", 390, 844, touch=True)
    try:
        browser.visit(url)
        browser.wait("!!document.querySelector('#compare')")
        browser.run("document.querySelector('#compare').click()")
        browser.wait_for(begun.is_set, "the first press began a clip", 60)
        browser.run("document.querySelector('#stop').click()")
        browser.wait("document.body.innerText.includes('stopped; finished clips are kept')", 60)
        (records,) = tmp_path.glob("runs/*/records.jsonl")
        assert len(of_kind(read_records(records.parent), ClipRecord)) == 1
        browser.run("document.querySelector('#compare').click()")
        browser.wait(
            "(document.querySelector('iframe')?.contentDocument?.querySelectorAll('.cell') ?? []).length === 2", 60
        )
        assert browser.run("document.documentElement.scrollWidth") <= 390
        browser.run("document.querySelector('iframe').scrollIntoView()")
        inside = "document.querySelector('iframe').contentDocument"
        playhead = f"parseFloat({inside}.querySelector('.cell.active .playhead').style.left)"
        browser.run(f"{inside}.querySelector('.cell .round').click()")
        browser.wait(f"{playhead} > 20")
        browser.run(f"{inside}.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '2', bubbles: true}}))")
        browser.wait(f"[...{inside}.querySelectorAll('.cell')].findIndex(e => e.matches('.active')) === 1")
        browser.wait(f"{playhead} > 20")  # the other method goes on where the first one was
        assert browser.run("document.querySelector('#links').textContent.includes('records.jsonl')")
        assert browser.errors() == []
        assert [at for at in browser.requested() if not at.startswith((url, "data:", "blob:"))] == []
    finally:
        browser.close()
        blocks.close()
