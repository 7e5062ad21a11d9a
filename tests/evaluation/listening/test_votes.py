"""Votes of listeners: what is refused in a file, win rates and agreement by hand, and how their intervals cover."""

import json
import math

import numpy as np
import pytest
from scipy.stats import t as student

from evaluation.__main__ import main
from evaluation.listening.crossed import crossed_interval
from evaluation.listening.preference import listener_agreement, metric_agreement, win_rates
from evaluation.listening.scores import ClipScores, read_scores
from evaluation.listening.votes import Side, Vote, read_votes


def entry(prompt="rain", a="dense", b="lite", winner="a", duration_s=10.0, seed=0, **changes):
    sides = {
        side: {"method": method, "clip": f"audio/{method}_{duration_s:g}s/{prompt}_{seed}.wav"}
        for side, method in (("a", a), ("b", b))
    }
    return {
        "prompt": prompt, "duration_s": duration_s, "seed": seed, **sides, "winner": winner, "took_s": 12.5, **changes,
    }  # fmt: skip


def ballot(*votes, listener="ann", **changes):
    return {
        "format": "litefocus votes", "version": 1, "run": "durations", "material": "0123", "listener": listener,
        "votes": list(votes), **changes,
    }  # fmt: skip


def saved(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def vote(listener, prompt, winner, first="dense", second="lite", duration_s=10.0):
    content = entry(prompt, first, second, winner, duration_s)
    sides = {side: Side(**content.pop(side)) for side in ("a", "b")}
    return Vote(listener=listener, **content, **sides)


def test_a_saved_file_comes_back(tmp_path):
    saved(tmp_path / "ann.json", ballot(entry(), entry("wind", "lite", "dense", "same", seed=-3)))
    saved(tmp_path / "bob.json", ballot(entry(winner="b"), listener="bob"))
    found = read_votes([tmp_path])
    assert (found.run, found.material, len(found.votes)) == ("durations", "0123", 3)
    assert found.votes[0] == vote("ann", "rain", "a")
    assert [each.winner for each in found.votes] == ["a", "same", "b"]
    assert read_votes([tmp_path / "bob.json", tmp_path / "ann.json"]).votes[0] == vote("bob", "rain", "b")


HOSTILE = {
    "no json": ("{", "no json"),
    "a constant": ('{"format": NaN}', "NaN is no number of json"),
    "a list": ([], r"the file holds \[\]; it takes format, version"),
    "deep": ("[" * 100_000 + "]" * 100_000, "recursion|no json"),
    "another format": (ballot(entry(), format="votes"), "not 'litefocus votes' of version 1"),
    "a later version": (ballot(entry(), version=2), "of version 1"),
    "a surplus field": (ballot(entry(), extra=1), "'extra'; it takes format"),
    "no votes in a list": (ballot(votes={}), "votes is no list"),
    "a name that rings": (ballot(entry(), listener="ann\x1b[2J"), r"listener is 'ann\\x1b\[2J', with characters"),
    "a name that turns": (ballot(entry(), listener="ann\u202e"), "cannot be printed"),
    "no name": (ballot(entry(), listener=" "), "listener is ' '; give a text"),
    "a name without end": (ballot(entry(), listener="a" * 1001), "listener is 'aaa"),
    "a number for a name": (ballot(entry(), listener=3), "listener is 3; give a text"),
    "a vote that is none": (ballot(entry(), "a"), "vote 2: it holds 'a'; it takes prompt"),
    "a field too few": (ballot({"prompt": "rain"}), "vote 1: it holds 'prompt'"),
    "an unknown winner": (ballot(entry(winner="c")), "winner is 'c'; accepted are a, b, same"),
    "a winner that is a list": (ballot(entry(winner=["a"])), r"winner is \['a'\]"),
    "no length": (ballot(entry(duration_s=10.0) | {"duration_s": 0}), "duration_s is 0; give seconds"),
    "true for a length": (ballot(entry() | {"duration_s": True}), "duration_s is True"),
    "text for a length": (ballot(entry() | {"duration_s": "10"}), "duration_s is '10'"),
    "an endless length": (json.dumps(ballot(entry())).replace("10.0", "1e999"), "duration_s is inf"),
    "a whole number without end": (ballot(entry() | {"took_s": 10**400}), "took_s is 1000"),
    "a negative time": (ballot(entry(took_s=-1)), "took_s is -1"),
    "half a seed": (ballot(entry() | {"seed": 0.5}), "seed is 0.5; give a whole number"),
    "a long seed": (ballot(entry() | {"seed": 2**63}), "seed is 9223372036854775808"),
    "one method twice": (ballot(entry(b="dense")), "a and b are the same method or clip"),
    "a side without a clip": (ballot(entry() | {"a": {"method": "dense"}}), "a holds 'method'"),
    "a pair twice": (ballot(entry(), entry("wind"), entry(a="lite", b="dense")), "vote 3: these two clips"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_wrong_is_one_line_that_names_it(tmp_path, content, message, capsys):
    path = saved(tmp_path / "votes.json", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_votes([path])
    assert str(path) in str(caught.value)
    assert main([f"votes={path}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.strip().isprintable()
    assert len(said) < 400 + len(str(path))


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    ann, bob = saved(tmp_path / "ann.json", ballot(entry())), tmp_path / "bob.json"
    with pytest.raises(ValueError, match="both of listener 'ann'; keep the longer one"):
        read_votes([ann, saved(bob, ballot(entry("wind")))])
    with pytest.raises(ValueError, match="are of different clips or labels"):
        read_votes([ann, saved(bob, ballot(entry(), listener="bob", material="4567"))])
    edited = entry()
    edited["a"]["method"] = "lite focus"
    with pytest.raises(ValueError, match=r"rain_0.wav' is \('dense', .* in one of bob"):
        read_votes([ann, saved(bob, ballot(edited, listener="bob"))])
    with pytest.raises(ValueError, match="no votes"):
        read_votes([saved(bob, ballot())])
    with pytest.raises(FileNotFoundError, match="no such file or folder of votes"):
        read_votes([tmp_path / "eve.json"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no json file in it"):
        read_votes([tmp_path / "empty"])
    with bob.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match="more than 32 MiB"):
        read_votes([bob])


def test_win_rates_by_hand_whatever_the_sides():
    votes = [
        vote("ann", "rain", "a"),
        vote("bob", "rain", "b", "lite", "dense"),
        vote("cat", "rain", "same"),
        vote("ann", "wind", "a", "lite", "dense", 20.0),
        vote("ann", "wind", "b", "dense", "naive"),
    ]
    found = {row[:3]: row for row in win_rates(votes)}
    assert list(found) == [
        ("dense", "lite", 10.0), ("dense", "lite", 20.0), ("dense", "lite", None), ("dense", "naive", 10.0),
    ]  # fmt: skip
    assert [row.rate.value for row in found.values()] == [2.5 / 3, 0, 2.5 / 4, 0]
    assert [(row.votes, row.same) for row in found.values()] == [(3, 1), (1, 0), (4, 1), (1, 0)]
    assert all(math.isnan(row.rate.low) for row in found.values()), "three listeners are too few"


def test_a_metric_agrees_where_it_prefers_the_same_clip():
    votes = [
        vote("ann", p, w) for p, w in (("rain", "a"), ("wind", "b"), ("sea", "a"), ("fire", "same"), ("bell", "a"))
    ]
    values = {"rain": (2, 1), "wind": (2, 1), "sea": (1, 1), "fire": (2, 1)}
    by_clip = {
        f"audio/{method}_10s/{prompt}_0.wav": float(value)
        for prompt, both in values.items()
        for method, value in zip(("dense", "lite"), both, strict=True)
    }
    scores = {name: ClipScores(better, by_clip) for name, better in (("clap", True), ("kl", False), ("level", None))}
    found = {row.metric: (row.share.value, row.votes) for row in metric_agreement(votes, scores)}
    assert found == {"clap": (0.5, 3), "kl": (0.5, 3)}
    found = {row.metric: row.share.value for row in metric_agreement(votes[:1], scores)}
    assert found == {"clap": 1, "kl": 0}
    with pytest.raises(ValueError, match="are they of this run"):
        metric_agreement(votes, {"level": scores["level"]})


def test_listeners_agree_where_they_prefer_the_same_clip():
    votes = [vote("ann", "rain", "a"), vote("bob", "rain", "b", "lite", "dense"), vote("cat", "rain", "b")]
    votes += [vote("dan", "rain", "same"), vote("ann", "wind", "a")]
    share, pairs = listener_agreement(votes)
    assert (share, pairs) == (pytest.approx(1 / 3), 3)
    assert math.isnan(listener_agreement(votes[-1:])[0])


def test_the_variance_of_a_crossed_mean_is_that_of_its_parts():
    generator = np.random.default_rng(0)
    table = generator.integers(0, 3, (8, 11)) / 2
    listeners = np.repeat([f"l{i}" for i in range(8)], 11)
    prompts = np.tile([f"p{i}" for i in range(11)], 8)
    found = crossed_interval(table.ravel(), listeners, prompts)
    # A full table: means of rows, means of columns, and what single votes add to both.
    parts = table.mean(axis=1).var(ddof=1) / 8 + table.mean(axis=0).var(ddof=1) / 11 - table.var(ddof=1) / 88
    half = student.ppf(0.975, 7) * math.sqrt(parts)
    assert found == pytest.approx((table.mean(), table.mean() - half, table.mean() + half, 8, "listener"))
    one_each = crossed_interval(table[0], [f"l{i}" for i in range(11)], prompts[:11])
    half = student.ppf(0.975, 10) * table[0].std(ddof=1) / math.sqrt(11)
    assert (one_each.low, one_each.high) == pytest.approx((max(table[0].mean() - half, 0), table[0].mean() + half))


def test_no_interval_for_few_or_equal_votes():
    few = crossed_interval([0, 1] * 5, list("abcdeabcde"), list("abcdefghij"))
    assert (few.n, few.unit, math.isnan(few.low)) == (5, "listener", True)
    assert math.isnan(crossed_interval([1] * 10, list("abcdefghij"), list("abcdefghij")).low)
    with pytest.raises(ValueError, match="between 0 and 1"):
        crossed_interval([0, 2], ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="one clip id per row"):
        crossed_interval([0, 1], ["a"], ["a", "b"])


@pytest.mark.parametrize(("n_listeners", "n_prompts", "each"), [(6, 6, 6), (20, 12, 4)])
def test_intervals_cover_what_other_listeners_and_prompts_would_say(n_listeners, n_prompts, each):
    generator = np.random.default_rng(1)
    names = np.repeat([f"l{i}" for i in range(n_listeners)], each)
    covered = []
    for _ in range(300):
        taste, ease = generator.normal(0, 0.7, n_listeners), generator.normal(0, 0.7, n_prompts)
        heard = np.concatenate([generator.permutation(n_prompts)[:each] for _ in range(n_listeners)])
        chance = 1 / (1 + np.exp(-np.repeat(taste, each) - ease[heard]))
        found = crossed_interval(generator.random(len(heard)) < chance, names, [f"p{i}" for i in heard])
        covered.append(found.low <= 0.5 <= found.high)
    # A binomial of 300 draws at 0.95 lies above 0.91 in 999 of 1000 cases.
    assert np.mean(covered) > 0.91


def test_the_command_prints_win_rates_and_agreement(tmp_path, capsys):
    long = "LiteFocus with a label that is longer than its column"
    for number in range(6):
        votes = [
            entry(f"p{p}", "dense", long, "ab"[(p + number) % 3 == 0], duration)
            for p in range(6)
            for duration in (10.0, 20.0)
        ]
        saved(tmp_path / f"{number}.json", ballot(*votes, listener=f"listener {number}"))
    rows = ["clip,metric,higher_is_better,value"]
    rows += [f"audio/dense_10s/p{p}_0.wav,clap,true,1.0\naudio/{long}_10s/p{p}_0.wav,clap,true,0.5" for p in range(6)]
    scores = saved(tmp_path / "scores.csv", "\n".join(rows))
    assert main([f"votes={tmp_path}", f"scores={scores}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "durations: 72 votes of 6 listeners on 6 prompts"
    assert max(len(line) for line in lines if long not in line) <= 80
    assert lines[2].split(" > ") == [long, "dense"]
    assert lines[3].split()[:3] == ["10", "s", "0.333"]
    assert lines[5].split()[0] == "all"
    assert next(line for line in lines if line.startswith("clap")).split()[1] == "0.667"
    assert lines[-1].startswith("two listeners on the same clips agree in")
    assert main([f"votes={tmp_path}", "seed=1"]) == 2
    assert main([f"scores={scores}", f"votes={tmp_path}", f"scores={scores}"]) == 2
    assert main([f"votes={tmp_path}", f"scores={tmp_path / 'none.csv'}"]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,metric,value\n", "line 1: the first line is not clip,metric,higher_is_better,value"),
        ("", "line 0: the first line"),
        ("clip,metric,higher_is_better,value\na,clap,true\n", "line 2: 3 fields"),
        ("clip,metric,higher_is_better,value\na,clap,yes,1\n", "line 2: higher_is_better is 'yes'"),
        ("clip,metric,higher_is_better,value\na,clap,true,nan\n", "line 2: value is 'nan'"),
        ("clip,metric,higher_is_better,value\na,clap,true,1\na,clap,true,2\n", "line 3: a second clap of 'a'"),
        ("clip,metric,higher_is_better,value\na,clap,true,1\nb,clap,,2\n", "line 3: clap has another direction"),
        ('clip,metric,higher_is_better,value\n"a,clap,true,1\n', "line 2: unexpected end of data"),
        ("clip,metric,higher_is_better,value\na,\x1b,true,1\n", r"line 2: metric '\\x1b'"),
    ],
)
def test_a_table_of_scores_that_is_wrong_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_scores(saved(tmp_path / "scores.csv", text))
