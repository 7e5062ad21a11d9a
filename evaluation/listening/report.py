"""Win rates and agreement as text for a terminal of 80 columns.

python -m evaluation votes=DIR|FILE [votes=FILE ...] [scores=runs/durations/listen_scores.csv]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evaluation.listening.crossed import FEWEST
from evaluation.listening.preference import listener_agreement, metric_agreement, win_rates
from evaluation.listening.scores import ClipScores
from evaluation.listening.votes import Ballots
from evaluation.statistics.bootstrap import Interval

_NAME_WIDTH = 34


def votes_report(ballots: Ballots, scores: Mapping[str, ClipScores] | None = None) -> str:
    """What the votes of one run say, with the agreement of each metric if there are scores."""
    votes = ballots.votes
    listeners, prompts = ({getattr(vote, what) for vote in votes} for what in ("listener", "prompt"))
    lines = [f"{ballots.run}: {len(votes)} votes of {len(listeners)} listeners on {len(prompts)} prompts"]
    lines.append(_line("preferred to", "length", "win rate", "95 % interval", "votes", "same"))
    of_votes = win_rates(votes)
    name = ""
    for row in of_votes:
        length = "all" if row.duration_s is None else f"{row.duration_s:g} s"
        before, name = name, f"{row.first} > {row.second}"
        lines += _numbers("" if name == before else name, length, row.rate, row.votes, row.same)
    intervals = [row.rate for row in of_votes]
    if scores is not None:
        lines += ["", _line("agrees with the votes", "", "share", "95 % interval", "votes", "")]
        for found in metric_agreement(votes, scores):
            lines += _numbers(found.metric, "", found.share, found.votes, "")
            intervals.append(found.share)
    share, pairs = listener_agreement(votes)
    if pairs:
        lines += ["", f"two listeners on the same clips agree in {share:.3f} of {pairs} cases"]
    lines += _notes(intervals)
    return "\n".join(lines)


def _notes(intervals: Sequence[Interval]) -> list[str]:
    if not any(math.isnan(each.low) for each in intervals):
        return []
    return [f"no interval below {FEWEST} listeners or prompts, or where all votes are equal"]


def _numbers(name: str, length: str, found: Interval, votes: int, same: object) -> list[str]:
    interval = "" if math.isnan(found.low) else f"[{found.low:.3f}, {found.high:.3f}]"
    if len(name) < _NAME_WIDTH:
        return [_line(name, length, f"{found.value:.3f}", interval, votes, same)]
    return [name, _line("", length, f"{found.value:.3f}", interval, votes, same)]


def _line(name: str, length: str, value: str, interval: str, votes: object, same: object) -> str:
    return f"{name:<{_NAME_WIDTH}}{length:>8}{value:>9}  {interval:<16}{votes:>6}{same:>5}".rstrip()
