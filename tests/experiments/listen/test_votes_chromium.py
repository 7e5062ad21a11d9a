"""Blind votes in a real headless Chromium: how pairs are drawn, what keys do, what is kept and saved."""

import json
from collections import Counter

import pytest
from chromium import EXECUTABLE, Chromium
from listen_material import METHODS, make_run

from experiments.listen.page import write_listening_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
]
CAPTIONS = {f"p{number}": f"Sound {number}" for number in range(4)}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, CAPTIONS, [0.4, 0.6], fail=[("p0", 0.6, "litefocus")])
    write_listening_page(folder)
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium, run_dir):
    chromium.events.clear()
    chromium.open(run_dir / "listen.html")
    chromium.run("localStorage.clear()")
    yield chromium
    assert chromium.errors() == []
    assert all(url.startswith(("file://", "blob:")) for url in chromium.requested())


def begin(page, name="ann"):
    page.key("v")
    for letter in name:
        page.key(letter)
    page.key("Enter")
    page.wait(f"ballot.listener === {json.dumps(name)}")


def vote(page, key):
    """Listen to both sides, then press a key."""
    before = page.run("ballot.votes.length")
    page.key("a")
    page.wait("ballot.heard.has(0)")
    page.key("b")
    page.wait("ballot.heard.has(1)")
    page.key(key)
    page.wait(f"ballot.votes.length === {before + 1}")


def drawn(page, listener):
    """Every pair that a listener is asked for: lengths, arms of A and B, prompts."""
    pairs = page.run(
        f"drawPairs(data, clips, randomFrom('m {listener}'))"
        ".map(([a, b]) => [a.duration, a.arm, b.arm, a.prompt, b.prompt, b.duration])"
    )
    assert all((duration, prompt) == (other, same) for duration, _, _, prompt, same, other in pairs)
    return [(duration, a, b, prompt) for duration, a, b, prompt, _, _ in pairs]


def test_every_two_methods_at_every_length_are_asked_for_equally_often_on_both_sides(page):
    pairs = drawn(page, "ann")
    # Three pairs of methods at two lengths with four prompts, less the two that the failed clip was in.
    assert len(pairs) == len(set(pairs)) == 3 * 2 * 4 - 2
    for count in range(6, 19):
        strata = Counter((duration, *sorted((a, b))) for duration, a, b, _ in pairs[:count])
        assert len(strata) == 6
        assert max(strata.values()) - min(strata.values()) <= 1, count
    first = Counter((duration, *sorted((a, b))) for duration, a, b, _ in pairs[:12] if a < b)
    assert first == {(duration, *arms): 1 for duration in (0.4, 0.6) for arms in ((0, 1), (0, 2), (1, 2))}
    with_gap = {(duration, *sorted((a, b))) for duration, a, b, prompt in pairs if prompt == 0}
    assert with_gap == {(0.4, 0, 1), (0.4, 0, 2), (0.4, 1, 2), (0.6, 0, 2)}


def test_listeners_hear_other_orders_and_the_same_one_again(page):
    assert drawn(page, "ann") == drawn(page, "ann")
    orders = [drawn(page, f"listener {number}") for number in range(40)]
    assert len({tuple(order) for order in orders}) == 40
    leading = Counter(order[0] for order in orders)
    assert len(leading) > 15, "the first question is spread over strata, sides and prompts"


def test_nothing_can_be_chosen_before_both_sides_were_heard(page):
    begin(page)
    page.key("ArrowLeft")
    page.key("a")
    page.wait("ballot.heard.has(0)")
    page.key("ArrowRight")
    assert page.run("[ballot.votes.length, document.getElementById('choose-a').disabled]") == [0, True]
    page.key(" ")
    page.wait("ballot.heard.has(1)")
    assert page.run("[ballot.side, document.getElementById('choose-a').disabled]") == [1, False]
    page.key("ArrowRight")
    page.wait("ballot.votes.length === 1")
    assert page.run("ballot.votes[0].winner") == "b"


def test_no_name_score_or_picture_of_a_method_is_shown(page):
    begin(page)
    page.key("a")
    page.wait("ballot.heard.has(0)")
    text = page.run("document.body.innerText")
    assert "Sound" in text
    assert not any(label in text for label in METHODS.values())
    assert page.run("[...document.body.children].filter(e => e.offsetParent !== null).map(e => e.id)") == ["ballot"]


def test_votes_outlive_the_page_and_can_be_taken_back(page, run_dir):
    begin(page)
    vote(page, "ArrowLeft")
    vote(page, "ArrowDown")
    kept = page.run("ballot.votes")
    page.open(run_dir / "listen.html")
    begin(page)
    assert page.run("ballot.votes") == kept
    assert [entry["winner"] for entry in kept] == ["a", "same"]
    page.key("Backspace")
    assert page.run("ballot.votes.length") == 1
    page.key("Escape")
    assert page.run("[ballot.open, document.body.classList.contains('voting')]") == [False, False]
    begin(page, "bob")
    assert page.run("ballot.votes.length") == 0


def test_a_page_whose_storage_fails_says_so_and_keeps_votes_while_it_is_open(page):
    page.run("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    begin(page)
    assert page.run("document.getElementById('ballot-warning').hidden") is True
    vote(page, "ArrowLeft")
    assert page.run("document.getElementById('ballot-warning').hidden") is False
    page.key("Escape")
    begin(page)
    assert page.run("ballot.votes.length") == 1
    leaving = "window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    assert page.run(leaving) is False, "the browser asks before it drops them"
    page.run("ballot.store.unsaved.clear()")
    assert page.run(leaving) is True


def test_what_is_kept_counts_only_as_answers_to_the_questions_of_this_listener(page):
    page.run("localStorage.setItem(ballot.store.prefix + 'eve', '[{\"winner\": \"a\"}, null]')")
    begin(page, "eve")
    assert page.run("ballot.votes") == []
    page.key("Escape")
    page.run("localStorage.setItem(ballot.store.prefix + 'mal', 'no json')")
    begin(page, "mal")
    assert page.run("ballot.votes") == []


def test_the_votes_are_saved_as_a_file_by_a_key(page, run_dir, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    begin(page, "ann/..")
    vote(page, "ArrowLeft")
    page.key("s")
    page.wait("ballot.store.unsaved.size === 0")
    saved = tmp_path / "votes_ann_.json"
    page.wait_for(saved.exists)
    stored = json.loads(saved.read_text(encoding="utf-8"))
    assert {key: stored[key] for key in ("format", "version", "run", "listener")} == {
        "format": "litefocus votes", "version": 1, "run": "synthetic", "listener": "ann/..",
    }  # fmt: skip
    (only,) = stored["votes"]
    assert only["winner"] == "a"
    assert only["prompt"] in CAPTIONS
    for side in ("a", "b"):
        assert (run_dir / only[side]["clip"]).is_file()
        assert only[side]["method"] == METHODS[only[side]["clip"].split("/")[1].rsplit("_", 3)[0]]
