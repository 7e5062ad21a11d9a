"""Blind votes in a real headless Chromium: how pairs are drawn, what keys do, what is kept and saved."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from chromium import needs_chromium
from listen_material import METHODS, make_run
from scipy.stats import norm

from evaluation.listening.preference import metric_agreement, win_rates
from evaluation.listening.scores import read_scores
from evaluation.listening.votes import read_votes
from experiments.listen.page import write_listening_page
from experiments.records.run import Run
from experiments.share import share

pytestmark = [pytest.mark.slow, needs_chromium]
CAPTIONS = {f"p{number}": f"Sound {number}" for number in range(4)}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, CAPTIONS, [0.4, 0.6], fail=[("p0", 0.6, "litefocus")])
    write_listening_page(Run.load(folder))
    return folder


@pytest.fixture
def page(chromium, run_dir):
    chromium.events.clear()
    chromium.open(run_dir / "listen.html")
    chromium.run("localStorage.clear()")
    yield chromium
    assert chromium.errors() == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in chromium.requested())


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


def test_a_page_to_send_names_clips_as_the_run_does(page, tmp_path):
    make_run(tmp_path, {"p": "Sound"}, [2.0])
    page.open(share(tmp_path))
    begin(page, "far")
    vote(page, "ArrowRight")
    (only,) = page.run("ballot.asJson().votes")
    assert all((tmp_path / only[side]["clip"]).is_file() for side in ("a", "b"))
    sent = page.run("ballot.asJson().material")
    page.open(tmp_path / "listen.html")
    assert page.run("data.material") == sent, "its votes join those on the page in the folder"


def test_a_panel_of_twenty_listeners_recovers_the_rates_that_it_was_drawn_from(chromium, tmp_path):
    """Probit listeners: over Gaussian effects of listeners and prompts the win rate is known exactly."""
    run, votes = tmp_path / "run", tmp_path / "votes"
    run.mkdir()
    make_run(run, {f"p{number}": f"Sound {number}" for number in range(12)}, [0.4, 0.6])
    write_listening_page(Run.load(run))
    chromium.open(run / "listen.html")
    chromium.run("localStorage.clear()")
    chromium.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(votes))
    strengths, spread = (0.0, -0.6, -1.4), 0.4
    generator = np.random.default_rng(7)
    of_prompt = generator.normal(0, spread, 12)
    for number in range(20):
        begin(chromium, f"listener {number}")
        of_listener = generator.normal(0, spread)
        for _ in range(12):
            (a, prompt), (b, _) = chromium.run("ballot.pair.map((clip) => [clip.arm, clip.prompt])")
            first, second = sorted((a, b))
            margin = strengths[first] - strengths[second] + of_listener + of_prompt[prompt] + generator.normal()
            vote(chromium, "ArrowLeft" if (margin > 0) == (a == first) else "ArrowRight")
        chromium.key("s")
        chromium.wait("ballot.store.unsaved.size === 0")
        chromium.key("Escape")
    chromium.wait_for(lambda: len(list(votes.glob("*.json"))) == 20)

    ballots = read_votes([votes])
    assert (ballots.run, len(ballots.votes)) == ("synthetic", 240)
    labels = list(METHODS.values())
    rates = {frozenset((row.first, row.second)): row for row in win_rates(ballots.votes) if row.duration_s is None}
    for first, second in itertools.combinations(range(3), 2):
        row = rates[frozenset((labels[first], labels[second]))]
        truth = norm.cdf((strengths[first] - strengths[second]) / math.sqrt(1 + 2 * spread**2))
        truth = truth if row.first == labels[first] else 1 - truth
        assert row.votes == 80
        assert row.rate.low < truth < row.rate.high
        assert row.rate.high - row.rate.low < 0.4
    # The metric of these records grows from the first method to the last: it agrees where a later one won.
    scores = read_scores(run / "listen_scores.csv")
    (found,) = metric_agreement(ballots.votes, scores)
    place = {label: number for number, label in enumerate(labels)}
    later = [(place[v.a.method] > place[v.b.method]) == (v.winner == "a") for v in ballots.votes]
    assert (found.metric, found.votes, found.share.value) == ("clap", 240, pytest.approx(np.mean(later)))
