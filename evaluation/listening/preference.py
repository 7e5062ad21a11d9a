"""What votes say: how often one method is preferred to another, and how often a metric prefers the same clip.

A win rate counts a vote without a difference as half. Its interval, and that of an agreement, is over listeners and
prompts (:mod:`evaluation.listening.crossed`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evaluation.listening.crossed import crossed_interval
from evaluation.listening.scores import ClipScores
from evaluation.listening.votes import Vote
from evaluation.statistics.bootstrap import Interval

_WORTH = {"a": 1.0, "b": 0.0, "same": 0.5}


class WinRate(NamedTuple):
    """How often listeners prefer the first method to the second."""

    first: str
    second: str
    duration_s: float | None
    """None: over all lengths."""
    rate: Interval
    votes: int
    same: int
    """Votes without a difference."""


class MetricAgreement(NamedTuple):
    """How often a metric gives the better value to the clip that the listener preferred; 0.5 is chance."""

    metric: str
    share: Interval
    votes: int
    """Votes with a preference and with a value for both clips."""


def win_rates(votes: Sequence[Vote]) -> list[WinRate]:
    """Win rates of every two methods that were compared: at each length, and over all where there are several."""
    by_methods: dict[tuple[str, str], list[Vote]] = {}
    for vote in votes:
        first, second = sorted((vote.a.method, vote.b.method))
        by_methods.setdefault((first, second), []).append(vote)
    found = []
    for (first, second), own in sorted(by_methods.items()):
        durations = sorted({vote.duration_s for vote in own})
        lengths = [*durations, None] if len(durations) > 1 else [*durations]
        for duration in lengths:
            chosen = [vote for vote in own if duration in (None, vote.duration_s)]
            worth = [_worth_of(first, vote) for vote in chosen]
            same = sum(vote.winner == "same" for vote in chosen)
            found.append(WinRate(first, second, duration, _interval(worth, chosen), len(chosen), same))
    return found


def metric_agreement(votes: Sequence[Vote], scores: Mapping[str, ClipScores]) -> list[MetricAgreement]:
    """Agreement of each metric that has a direction with the votes that state a preference.

    Raises:
        ValueError: no metric has a value for both clips of any such vote.
    """
    found = []
    for metric, of_metric in scores.items():
        if of_metric.higher_is_better is None:
            continue
        values = of_metric.values
        chosen = [v for v in votes if v.winner != "same" and v.a.clip in values and v.b.clip in values]
        if chosen:
            agrees = [_agrees(vote, of_metric) for vote in chosen]
            found.append(MetricAgreement(metric, _interval(agrees, chosen), len(chosen)))
    if not found:
        raise ValueError("the scores have no metric with a direction for both clips of any vote; are they of this run?")
    return found


def listener_agreement(votes: Sequence[Vote]) -> tuple[float, int]:
    """Share of equal preferences among two listeners on the same two clips, and how many such pairs of votes there are.

    No metric can be expected to agree more often. nan without a pair.
    """
    by_clips: dict[frozenset[str], list[str]] = {}
    for vote in votes:
        if vote.winner != "same":
            clips = frozenset((vote.a.clip, vote.b.clip))
            by_clips.setdefault(clips, []).append(vote.a.clip if vote.winner == "a" else vote.b.clip)
    pairs = [one == other for chosen in by_clips.values() for one, other in itertools.combinations(chosen, 2)]
    return (sum(pairs) / len(pairs) if pairs else float("nan")), len(pairs)


def _worth_of(method: str, vote: Vote) -> float:
    worth = _WORTH[vote.winner]
    return worth if vote.a.method == method else 1 - worth


def _agrees(vote: Vote, scores: ClipScores) -> float:
    a, b = (scores.values[side.clip] for side in (vote.a, vote.b))
    if a == b:
        return 0.5
    return float(((a > b) == scores.higher_is_better) == (vote.winner == "a"))


def _interval(values: Sequence[float], votes: Sequence[Vote]) -> Interval:
    return crossed_interval(values, [vote.listener for vote in votes], [vote.prompt for vote in votes])
