"""Rows of the probes' records: denoising loss paired with dense clip by clip, and where attention looks.

Every method saw the same latents and noise, so a difference is taken per clip (mean over the noise draws that both
have) and its interval is over clips: Student's t, 95%, from as many clips on as a score's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.records import AttentionRecord, ProbeLossRecord, ProbeRunRecord, Record, of_kind
from experiments.records.site_structure import SiteStructure, uniform_offsets
from experiments.tables.intervals import Interval, printed_interval

BASELINE, LITEFOCUS = "dense", "litefocus"
FRESH_KEYS = "_fresh_keys"
DERIVED = ("frequency_uniform", "time_uniform")
DIGITS = 6


@dataclass(frozen=True)
class LossRow:
    """One method at one length and noise level.

    Attributes:
        method: with `_fresh_keys` behind it where the sampled keys were drawn anew with other seeds.
        loss: mean over clips. difference: to dense on the same clips and noise, in per cent of dense; None for dense.
        to_litefocus: the difference to LiteFocus on the same clips and noise, in per cent of dense; None for both.
        key_range: smallest and largest difference in per cent among the key seeds; None without fresh keys.
    """

    duration_s: float
    t: int
    method: str
    label: str
    loss: Interval
    difference: Interval | None
    to_litefocus: Interval | None
    key_range: tuple[float, float] | None
    clips: int
    noise_draws: int
    key_draws: int


@dataclass(frozen=True)
class TrendRow:
    """One method at one noise level: its difference at the longest length less that at the shortest, clip by clip.

    Attributes:
        to_dense, to_litefocus: of the differences to these, in points of per cent; None for the method itself.
        clips: that dense and the method share at both lengths.
    """

    t: int
    method: str
    label: str
    shortest_s: float
    longest_s: float
    to_dense: Interval | None
    to_litefocus: Interval | None
    clips: int


Draw = tuple[int, int | None]
Draws = Mapping[Draw, Mapping[str, float]]
Losses = dict[tuple[float, int, str], dict[Draw, dict[str, float]]]


def newest_losses(records: Iterable[Record]) -> list[ProbeLossRecord]:
    """The newest record of every length, noise level, method and draw."""
    found = of_kind(list(records), ProbeLossRecord)
    return list({(r.duration_s, r.t, r.method, r.noise_seed, r.key_seed): r for r in found}.values())


def newest_attention(records: Iterable[Record]) -> list[AttentionRecord]:
    """The newest record of every length, noise level and site."""
    found = of_kind(list(records), AttentionRecord)
    return list({(r.duration_s, r.structure["t"], r.structure["site"]): r for r in found}.values())


def losses_by_condition(records: Sequence[Record]) -> Losses:
    """(length, t, method) -> (noise seed, key seed) -> clip id -> loss; the newest record of a place counts."""
    found: Losses = {}
    for record in newest_losses(records):
        method = record.method if record.key_seed is None else record.method + FRESH_KEYS
        draws = found.setdefault((record.duration_s, record.t, method), {})
        draws[record.noise_seed, record.key_seed] = dict(zip(record.clip_ids, record.losses, strict=True))
    return found


def probe_labels(records: Sequence[Record]) -> dict[str, str]:
    """Method name -> what readers see."""
    starts = of_kind(list(records), ProbeRunRecord)
    return {node["name"]: node["label"] for start in starts for node in start.config["methods"].values()}


def loss_rows(records: Sequence[Record]) -> list[LossRow]:
    """One row per length, noise level and method, in the order of the records within a length and level."""
    found = losses_by_condition(records)
    labels = probe_labels(records)
    order = {method: index for index, method in enumerate(dict.fromkeys(key[2] for key in found))}
    keys = sorted(found, key=lambda key: (key[0], key[1], order[key[2]]))
    return [_loss_row(key, found, labels) for key in keys]


def _loss_row(key: tuple[float, int, str], found: Losses, labels: Mapping[str, str]) -> LossRow:
    draws = found[key]
    name = key[2].removesuffix(FRESH_KEYS)
    clips = _clips(draws)
    values = np.array([[draws[draw][clip] for clip in clips] for draw in draws])
    return LossRow(
        *key,
        label=labels.get(name, name) + (", fresh keys" if name != key[2] else ""),
        loss=printed_interval(values.mean(axis=0), "mean"),
        difference=None if key[2] == BASELINE else _mean(clip_differences(found, *key)),
        to_litefocus=None if key[2] in (BASELINE, LITEFOCUS) else _mean(clip_differences(found, *key, LITEFOCUS)),
        key_range=_range_over_keys(draws, found.get((*key[:2], BASELINE), {})) if name != key[2] else None,
        clips=len(clips),
        noise_draws=len({noise for noise, _ in draws}),
        key_draws=len({keys for _, keys in draws}),
    )


def trend_rows(records: Sequence[Record]) -> list[TrendRow]:
    """How each method's difference changes from the shortest length to the longest, in the order of the records."""
    found, labels = losses_by_condition(records), probe_labels(records)
    rows = []
    for t, method in sorted(dict.fromkeys(key[1:] for key in found), key=lambda place: place[0]):
        lengths = sorted(length for length, *place in found if tuple(place) == (t, method))
        if method == BASELINE or method.endswith(FRESH_KEYS) or len(lengths) < 2:
            continue
        ends = (lengths[0], lengths[-1])
        to_dense = _change(found, *ends, t, method, BASELINE)
        to_litefocus = {} if method == LITEFOCUS else _change(found, *ends, t, method, LITEFOCUS)
        label = labels.get(method, method)
        rows.append(TrendRow(t, method, label, *ends, _mean(to_dense), _mean(to_litefocus), len(to_dense)))
    return rows


def _change(found: Losses, first: float, last: float, t: int, method: str, baseline: str) -> dict[str, float]:
    """Clip id -> difference at the last length less that at the first, of the clips that both have."""
    before, after = (clip_differences(found, length, t, method, baseline) for length in (first, last))
    return {clip: after[clip] - before[clip] for clip in before if clip in after}


def _mean(differences: Mapping[str, float]) -> Interval | None:
    return printed_interval(np.array([*differences.values()]), "difference") if differences else None


def clip_differences(
    found: Losses, duration_s: float, t: int, method: str, baseline: str = BASELINE
) -> dict[str, float]:
    """Clip id -> difference to a baseline, in per cent of dense's mean loss; nothing where they share no clips.

    A clip's is its mean over the draws whose noise baseline and dense saw, too.
    """
    return _paired(*(found.get((duration_s, t, name), {}) for name in (method, baseline, BASELINE)))


def _paired(draws: Draws, base: Draws, dense: Draws) -> dict[str, float]:
    clips = _clips(draws)
    shared = _shared(draws, base, dense, clips)
    return dict(zip(clips, _deltas(shared, draws, base, dense, clips).mean(axis=0), strict=True)) if shared else {}


def _clips(draws: Draws) -> list[str]:
    return sorted(set.intersection(*(set(losses) for losses in draws.values()))) if draws else []


def _shared(draws: Draws, baseline: Draws, dense: Draws, clips: Sequence[str]) -> list[Draw]:
    """The draws whose noise a baseline and dense saw, too, on all clips."""
    return [d for d in draws if all(set(clips) <= set(other.get((d[0], None), {})) for other in (baseline, dense))]


def _deltas(shared: Sequence[Draw], draws: Draws, baseline: Draws, dense: Draws, clips: Sequence[str]) -> np.ndarray:
    """(shared draws, clips) differences to a baseline, in per cent of dense's mean loss."""
    own = np.array([[draws[draw][clip] for clip in clips] for draw in shared])
    base, scale = (
        np.array([[of[noise, None][clip] for clip in clips] for noise, _ in shared]) for of in (baseline, dense)
    )
    return 100 * (own - base) / scale.mean()


def _range_over_keys(draws: Draws, dense: Draws) -> tuple[float, float] | None:
    seeds = {keys for _, keys in draws}
    single = [_paired({d: losses for d, losses in draws.items() if d[1] == seed}, dense, dense) for seed in seeds]
    means = [float(np.mean([*differences.values()])) for differences in single if differences]
    return (min(means), max(means)) if means else None


def structure_values(site: SiteStructure) -> dict[str, object]:
    """What an attention record keeps of a site: all but what follows from the grid, at six digits."""
    values = {name: value for name, value in asdict(site).items() if name not in DERIVED}
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def structures_by_length(records: Iterable[Record]) -> dict[float, list[SiteStructure]]:
    """Length -> sites at every noise level; the newest record of a place counts."""
    found: dict[float, list[SiteStructure]] = {}
    for record in sorted(newest_attention(records), key=lambda record: (record.duration_s, record.structure["t"])):
        values = record.structure
        uniform: dict[str, Any] = {
            name: uniform_offsets(len(values[name.replace("uniform", "mass")])) for name in DERIVED
        }
        found.setdefault(record.duration_s, []).append(SiteStructure(**values, **uniform))
    return found
