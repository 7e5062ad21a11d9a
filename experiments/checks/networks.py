"""The networks of the metrics: present, to be fetched, or wrong; and the windows and folders that they need."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from evaluation.embedders.network import NetworkEmbedder, hash_weights
from evaluation.embedders.protocol import Embedder, TextEmbedder
from evaluation.embedders.worker_embedder import WorkerEmbedder
from evaluation.run.scorer import Scorer
from experiments.checks.lines import NOTE, OK, Line, failures, guarded
from experiments.checks.scoring import (
    check_cache,
    check_given_weights,
    check_windows,
    distinct_embedders,
    keys_of_a_run,
    label,
    network_state,
    planned_scorers,
)
from experiments.checks.weights import HASH_DIGITS
from experiments.datasets.prompts import Prompt
from experiments.stages.score import NOT_SCORED, check_scorable, folder_references, presets_of


def metric_lines(config: DictConfig, prompts: Sequence[Prompt]) -> Iterator[Line]:
    """Everything that scoring the configured metrics needs, a line each."""
    if "score" not in config.stages or not presets_of(config):
        yield Line(NOTE, "metrics", NOT_SCORED)
        return
    durations = sorted(map(float, config.durations))
    scorers: list[Scorer] = []

    def plan() -> str:
        check_given_weights(config.metrics.weights)
        with keys_of_a_run():
            scorers.extend(planned_scorers(config, prompts, durations[0]))
        return "; ".join(f"{scorer.preset.name}: {', '.join(scorer.metrics)}" for scorer in scorers)

    yield from guarded("metrics", lambda: _chosen(config))
    yield from guarded("metrics.cache_dir", lambda: _cache(config.metrics.cache_dir))
    yield from guarded("references", lambda: _references(config.data.references, prompts))
    yield from guarded("computable metrics", plan)
    networks = [
        line
        for embedder in distinct_embedders(scorers)
        for line in guarded(f"network {label(embedder)}", partial(_network, embedder))
    ]
    yield from networks
    if failures(networks):
        yield Line(NOTE, "metric windows", "not looked at: mend the networks first")
    elif scorers:
        yield from guarded("metric windows", lambda: _windows(config, prompts, durations))


def _chosen(config: DictConfig) -> str:
    check_scorable(config)
    return f"preset {', '.join(presets_of(config))}"


def _references(source: object, prompts: Sequence[Prompt]) -> str:
    if source is None:
        return "none: metrics that compare with real audio are left out"
    if not isinstance(source, str):
        return "made by the data set"
    return f"{len(folder_references(Path(source).expanduser(), prompts))} in {source}"


def _cache(folder: str | None) -> str:
    check_cache(folder)
    return "none" if folder is None else f"{folder} can be written"


def _network(embedder: Embedder) -> Line:
    """A network that is there is loaded, so that a file of another model shows."""
    subject, state = f"network {label(embedder)}", network_state(embedder)
    if state.startswith("to be fetched"):
        return Line(NOTE, subject, state)
    if isinstance(embedder, WorkerEmbedder):
        embedder.embed([np.zeros(embedder.min_samples)])
        packages = ", ".join(f"{name} {version}" for name, version in embedder.environment["packages"].items())
        return Line(
            OK, subject, f"{state}, {embedder.name} {embedder.identity}, runs in {embedder.folder} ({packages})"
        )
    if not isinstance(embedder, NetworkEmbedder):
        return Line(OK, subject, state)
    digits = hash_weights(embedder.path)[:HASH_DIGITS]
    count = sum(parameter.numel() for parameter in embedder.network.parameters())
    if isinstance(embedder, TextEmbedder):
        embedder.embed_text(["rain", "a dog barks"])
    return Line(OK, subject, f"{state}, hash {digits}, loads ({count / 1e6:.3g} million weights)")


def _windows(config: DictConfig, prompts: Sequence[Prompt], durations: Sequence[float]) -> str:
    for duration in durations:
        for scorer in planned_scorers(config, prompts, duration):
            check_windows(scorer, duration)
    return f"clips of {', '.join(f'{duration:g}' for duration in durations)} s suit all networks"
