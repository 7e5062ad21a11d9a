"""The metrics, each in one place: name, role, needs, direction, unit, label, how it is computed and its floor.

Metrics of a user's own join by ``extra=[my_package.my_metric]``, a module with a :class:`~evaluation.metric.Metric`.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from evaluation.embedders.protocol import AESTHETICS_AXES
from evaluation.material import Material
from evaluation.metric import Metric, Need, SetValues
from evaluation.metrics.hit_rate import exact_set_per_window, hit_rate_per_window
from evaluation.metrics.kl import bernoulli_kl_per_clip, kl_per_clip
from evaluation.metrics.neighbours import NEAREST, NEIGHBOURHOODS, Neighbourhood
from evaluation.presets import Role
from evaluation.results.result import DRIFT
from evaluation.scoring import distances, floors, measure
from evaluation.scoring.intervals import Measured
from evaluation.statistics.bootstrap import Array

_PAIRS: frozenset[Need] = frozenset({"reference", "pairs"})
_REFERENCE: frozenset[Need] = frozenset({"reference"})
_BOTH = ("", DRIFT)
_SHARE, _COSINE, _DISTANCE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
_ON = re.compile(f"(fad|kad|clap|{'|'.join(NEIGHBOURHOODS)})_on_([a-z][a-z0-9_]*)")
_ON_ANY = "fad, kad, clap, precision, recall, density, coverage on any network, like kad_on_ast"


def _neighbourhood(name: str, what: Neighbourhood, role: Role) -> Metric:
    return Metric(
        name, distances.neighbourhood(what, role), role, True, _REFERENCE, uneven="first", shown=(),
        fewest=NEAREST + 1, floor=floors.neighbour_halves(what, role),
        within=_DISTANCE if what == "density" else _SHARE,
    )  # fmt: skip


def _aesthetics(column: int, axis: str) -> Metric:
    """One axis of audiobox-aesthetics; complexity has no better direction."""
    return Metric(
        f"aesthetics_{axis.lower()}", measure.read_off("aesthetics", column), "aesthetics",
        None if axis == "PC" else True, label=f"Aesthetics {axis}", shown=(),
    )  # fmt: skip


def _on(kind: str, role: Role) -> Metric:
    """A distance between sets on the network of a role that is no part of the preset, such as ``kad_on_ast``."""
    name = f"{kind}_on_{role}"
    if kind == "fad":
        return Metric(
            name, distances.frechet_on(role), role, False, _REFERENCE, f"FAD on {role}",
            uneven="first", shown=(), fewest=2, floor=floors.halves(role), within=_DISTANCE,
        )  # fmt: skip
    if kind == "kad":
        return Metric(
            name, distances.kernel_distance_on(role), role, False, _REFERENCE, f"KAD on {role}",
            uneven="first", shown=(), fewest=2, lacking=measure.without_bandwidth(role),
            floor=floors.kernel_halves(role),
        )  # fmt: skip
    if kind == "clap":
        return Metric(
            name, measure.clap_on(role), role, True, frozenset({"captions"}), f"CLAP on {role}", shown=(),
            within=_COSINE,
        )  # fmt: skip
    return next(_neighbourhood(name, what, role) for what in NEIGHBOURHOODS if what == kind)


_TABLE = (
    Metric(
        "fad", measure.fad, "frames", False, _REFERENCE, "FAD",
        uneven="first", shown=_BOTH, fewest=2, floor=floors.halves("frames"), within=_DISTANCE,
    ),
    Metric(
        "fad_pooled", measure.fad_pooled, "frames", False, _REFERENCE | {"windows"}, "FAD pooled",
        uneven="all", shown=(), fewest=2, within=_DISTANCE,
    ),
    Metric(
        "fad_infinity", None, "frames", False, _REFERENCE, "FAD infinity",
        shown=(), lacking=measure.without_frames, finished=measure.fad_infinity,
    ),
    Metric(
        "fd", measure.fd, "classifier", False, _REFERENCE, "FD",
        uneven="first", fewest=2, floor=floors.halves("classifier"), within=_DISTANCE,
    ),
    Metric(
        "kad", measure.kad, "classifier", False, _REFERENCE, "KAD",
        uneven="first", shown=(), fewest=2, lacking=measure.without_bandwidth("classifier"),
        floor=floors.kernel_halves("classifier"),
    ),
    *(_neighbourhood(what, what, "classifier") for what in NEIGHBOURHOODS),
    Metric(
        "kl", measure.kl, "classifier", False, _PAIRS, "KL",
        floor=floors.others(kl_per_clip, with_eps=True), within=_DISTANCE,
    ),
    Metric(
        "kl_bernoulli", measure.kl_bernoulli, "classifier", False, _PAIRS, "KL Bernoulli",
        floor=floors.others(bernoulli_kl_per_clip), within=_DISTANCE,
    ),
    Metric(
        "is", measure.inception, "classifier", True, label="IS",
        uneven="first", shown=(), lacking=measure.without_splits, within=(1.0, math.inf),
    ),
    Metric("clap", measure.clap, "text", True, frozenset({"captions"}), "CLAP", shown=_BOTH, within=_COSINE),
    Metric(
        "clap_worst_window", measure.clap_worst_window, "text", True,
        frozenset({"captions", "windows", "windows_of_each"}), "CLAP worst window", shown=(),
        within=_COSINE,
    ),
    Metric(
        "clap_mean_embedding", measure.clap_mean_embedding, "text", True, frozenset({"captions"}),
        "CLAP mean embedding", shown=(), within=_COSINE,
    ),
    Metric(
        "hit_rate", measure.heard("hit_rate", hit_rate_per_window), "classifier", True, frozenset({"labels"}),
        floor=floors.labelled(hit_rate_per_window), within=_SHARE,
    ),
    Metric(
        "exact_set_rate", measure.heard("exact_set_rate", exact_set_per_window), "classifier", True,
        frozenset({"labels"}), floor=floors.labelled(exact_set_per_window), within=_SHARE,
    ),
    Metric(
        "event_order", measure.event_order, "classifier", True, frozenset({"labels", "windows"}), "Event order",
        uneven="first", shown=(), lacking=measure.without_order, within=_SHARE,
    ),
    Metric(
        "consistency", measure.consistency_of_windows, "text", None, frozenset({"windows", "equal_windows"}),
        within=_DISTANCE,
    ),
    Metric(
        "repetition", measure.repetition_of_windows, "text", None, frozenset({"windows", "windows_of_each"}),
        shown=(), within=_COSINE,
    ),
    Metric("level", measure.read_off(None, 0), None, None, unit="dBFS", shown=()),
    Metric("silence", measure.read_off(None, 1), None, None, shown=(), within=_SHARE),
    Metric("loudness", measure.read_off("loudness", 0), "loudness", None, unit="LUFS", shown=()),
    Metric("clipping", measure.read_off("loudness", 1), "loudness", False, shown=(), within=_SHARE),
    *(_aesthetics(*axis) for axis in enumerate(AESTHETICS_AXES)),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
OWN = tuple(METRICS)


def find_metric(name: str) -> Metric:
    """The metric of that name, or a ValueError that lists the names."""
    if name not in METRICS and (match := _ON.fullmatch(name)):
        METRICS[name] = _on(match[1], match[2])
    if name not in METRICS:
        raise ValueError(f"metric {name!r}; give some of {', '.join(METRICS)}; and {_ON_ANY}")
    return METRICS[name]


def role_of(name: str) -> Role | None:
    """Role that a metric's features come from; None for those read off the waveform. ValueError if unknown."""
    return find_metric(name).role


def needing(need: Need, metrics: Iterable[str]) -> list[str]:
    """Those of the metrics that need something."""
    return [name for name in metrics if need in find_metric(name).needs]


def register(metric: Metric) -> str:
    """Add a metric and return its name; the same one again changes nothing.

    Raises:
        ValueError: another metric has the name.
    """
    if metric.name in OWN and METRICS[metric.name] != metric:
        raise ValueError(f"metric {metric.name!r} is this package's own; give yours another name")
    METRICS[metric.name] = metric
    return metric.name


def load_extra(modules: Iterable[str]) -> tuple[str, ...]:
    """Register the metrics of a user's own modules; returns their names, in order.

    Args:
        modules: dotted names, importable from the working directory or an installed package.

    Raises:
        ImportError: no such module.
        ValueError: the entry is no list of names, a module holds no metric, or one that is refused.
    """
    if isinstance(modules, str):
        raise ValueError(f"extra={modules}: give a list of modules, like extra=[{modules}]")
    names: list[str] = []
    for module in modules:
        try:
            found = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, Metric)]
        except ImportError as error:
            raise ImportError(f"metrics from {module}: {error}; give modules that Python finds from here") from error
        if not found:
            raise ValueError(f"metrics from {module}: it holds no evaluation.metric.Metric at its top level")
        names += [register(metric) for metric in dict.fromkeys(found)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"metric {twice[0]!r} stands twice in extra={list(modules)}; give one another name")
    return tuple(names)


def measured(name: str, material: Material) -> Measured:
    """Rows and statistic of one metric.

    Where clips differ in their number of windows, there is no curve: a mean over clips takes each clip's mean over its
    own windows, and a distance between sets the first windows, as many as every clip has, so that N is the same at
    each.

    Raises:
        ValueError: the embedder of the metric's role lacks the output it needs, or its values have another shape.
    """
    metric = find_metric(name)
    counts = material.window_counts(metric.role)
    if len(set(counts)) == 1 or metric.uneven == "all":
        return _of(metric, material)
    if metric.uneven == "first":
        cut = _of(metric, material.first(min(counts)))
        return replace(cut, uneven=True, details={**cut.details, "windows": min(counts)})
    values = np.empty((len(counts), 1))
    for count in set(counts):
        index = [i for i, own in enumerate(counts) if own == count]
        values[index, 0] = _of(metric, material.take(index)).rows.mean(axis=1)
    return replace(_as_measured(metric, material, values), uneven=True)


def _of(metric: Metric, material: Material) -> Measured:
    assert metric.measure is not None
    return _as_measured(metric, material, metric.measure(material))


def _as_measured(metric: Metric, material: Material, values: SetValues | Array) -> Measured:
    of_set = values if isinstance(values, SetValues) else None
    rows = np.asarray(values, np.float64) if of_set is None else of_set.rows
    if rows.ndim < 2 or len(rows) != len(material.clips):
        raise ValueError(
            f"metric {metric.name} gave values of shape {rows.shape} for {len(material.clips)} clips; accepted is one "
            "row per clip and one column per window"
        )
    paired = material.preset.paired
    return Measured(
        metric=metric.name,
        clip_ids=tuple(clip.id for clip in material.clips),
        units=tuple(clip.prompt for clip in material.clips),
        rows=rows,
        statistic=of_set.statistic if of_set else None,
        higher_is_better=metric.higher_is_better,
        positions=material.preset.generated.cut != "random",
        details={**_for_readers(metric), **(of_set.details if of_set else {})},
        n_references=len(material.reference[metric.role].clip_ids) if "reference" in metric.needs else None,
        statistic_to=of_set.statistic_to if of_set and paired else None,
        paired=paired,
        within=metric.within,
    )


def _for_readers(metric: Metric) -> dict[str, str]:
    """What a reader of the results cannot look up here: label and unit of a user's own metric."""
    return {} if metric.name in OWN else {"label": metric.label, "unit": metric.unit}
