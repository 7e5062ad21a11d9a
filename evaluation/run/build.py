"""Embedders by name, as presets and command lines ask for them. Nothing is loaded or fetched before its first use."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.embedders import weights as published
from evaluation.embedders.protocol import Embedder
from evaluation.embedders.weights import WeightSource
from evaluation.presets import ROLES, Preset, Role
from evaluation.scoring.registry import role_of

Builder = Callable[[Mapping[str, str], dict[str, Any]], Embedder]


def build_embedders(
    preset: Preset,
    metrics: tuple[str, ...],
    weights: Mapping[str, str],
    given: Mapping[Role, Embedder],
    **options: Any,
) -> dict[Role, Embedder]:
    """The embedders that ``metrics`` need: those given, the preset's, or what a role names. Nothing is loaded yet.

    Args:
        preset: names the networks.
        metrics: what will be computed.
        weights: option name ("vggish", "clap", "tokenizer", ...) to a local path, or to "sha256:HEX" (64 digits),
            which allows the published file to be fetched and checked; folders have a path only.
        given: role to embedder; takes precedence.
        options: device, batch_size, half, as in ``NetworkEmbedder``.

    Raises:
        ValueError: a role that nothing fills, an unknown weight name, an unknown role, or what is no embedder.
    """
    if unknown_weights := set(weights) - set(WEIGHT_OPTIONS):
        raise ValueError(f"weights for {sorted(unknown_weights)}; options are {', '.join(WEIGHT_OPTIONS)}")
    needed = {role for metric in metrics if (role := role_of(metric)) is not None}
    needed |= {"text"} if preset.candidates > 1 else set()
    roles = (*ROLES, *sorted(needed - set(ROLES)))
    if unknown := set(given) - set(roles):
        raise ValueError(f"embedders for {sorted(unknown)}; roles are {', '.join(roles)}")
    for role, embedder in given.items():
        if not callable(getattr(embedder, "embed", None)):
            made = f"embedders.{role} is of type {type(embedder).__name__}, which has no embed"
            raise ValueError(f"{made}; give what docs/extending.md says of an embedder")
    chosen: dict[Role, Embedder] = {}
    for role in roles:
        if role not in needed:
            continue
        if role in given:
            chosen[role] = given[role]
        elif role in preset.embedders:
            chosen[role] = BUILDERS[preset.embedders[role]](weights, options)
        elif role in BUILDERS:
            chosen[role] = BUILDERS[role](weights, options)
        else:
            missing = f"preset {preset.name} has no embedder for {role!r}"
            raise ValueError(f"{missing}; hand one over: embedders.{role}, or a configuration that names it")
    return chosen


# Made beside the packages of this repository; see docs/published-tools.md.
PUBLISHED_ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-published"
MAKE_PUBLISHED = "make install-published (about 7 GB; in the repository's folder)"
WEIGHT_OPTIONS = (
    "vggish", "cnn14_16k", "cnn14_32k", "ast", "passt", "clap", "clap_music_speech", "tokenizer", "aesthetics",
    "ms_clap", "gpt2",
)  # fmt: skip


def _source(weights: Mapping[str, str], option: str, default: WeightSource) -> WeightSource | Path:
    chosen = weights.get(option)
    if chosen is None:
        return default
    if chosen.startswith("sha256:"):
        return default.with_sha256(chosen.removeprefix("sha256:").lower())
    return Path(chosen)


def _vggish(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.vggish import VGGishEmbedder

    return VGGishEmbedder(_source(weights, "vggish", published.VGGISH), **options)


def _cnn14(rate: int) -> Builder:
    def build(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
        from evaluation.embedders.networks.panns import SOURCES, Cnn14Embedder

        return Cnn14Embedder(_source(weights, f"cnn14_{rate // 1000}k", SOURCES[rate]), sample_rate=rate, **options)

    return build


def _ast(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.ast import AST_AUDIOSET, AstEmbedder

    return AstEmbedder(_source(weights, "ast", AST_AUDIOSET), **options)


def _clap(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.clap import HTSAT_UNFUSED, ClapEmbedder

    return ClapEmbedder(_source(weights, "clap", HTSAT_UNFUSED), **options)


def _clap_laion(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.laion import TOKENIZER, LaionClapEmbedder

    return LaionClapEmbedder(
        _source(weights, "clap", published.CLAP_630K), _source(weights, "tokenizer", TOKENIZER), **options
    )


def _clap_music_speech(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.laion import TOKENIZER, LaionClapEmbedder

    checkpoint = _source(weights, "clap_music_speech", published.CLAP_MUSIC_SPEECH_AUDIOSET)
    return LaionClapEmbedder(checkpoint, _source(weights, "tokenizer", TOKENIZER), **options)


def _package_passt(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.packages import PackagePasstEmbedder

    return _of_package(PackagePasstEmbedder, _source(weights, "passt", published.PASST), options)


def _package_vggish(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.packages import PackageVGGishEmbedder

    return _of_package(PackageVGGishEmbedder, _source(weights, "vggish", published.VGGISH), options)


def _package_clap(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.packages import PackageClapEmbedder

    return _of_package(PackageClapEmbedder, _source(weights, "clap", published.CLAP_630K), options)


def _aesthetics(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.packages import PackageAestheticsEmbedder

    source = _source(weights, "aesthetics", published.AUDIOBOX_AESTHETICS)
    return _of_package(PackageAestheticsEmbedder, source, options)


def _ms_clap(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.networks.ms_clap import TOKENIZER, MsClapEmbedder

    tokenizer = _source(weights, "gpt2", TOKENIZER)
    return _of_package(MsClapEmbedder, _source(weights, "ms_clap", published.MS_CLAP), options, tokenizer=tokenizer)


def _of_package(
    embedder: Any, source: WeightSource | Path, options: dict[str, Any], **files: WeightSource | Path
) -> Embedder:
    """In this process where its packages are installed, else in a process of the environment that has them."""
    if _installed(embedder.distributions):
        made: Embedder = embedder(source, **files, **options)
        return made
    from evaluation.embedders.worker_embedder import WorkerEmbedder

    target = f"{embedder.__module__}.{embedder.__qualname__}"
    return WorkerEmbedder(target, PUBLISHED_ENVIRONMENT, source, files=files, make_with=MAKE_PUBLISHED, **options)


def _installed(distributions: Sequence[str]) -> bool:
    try:
        return all(importlib.metadata.version(name) for name in distributions)
    except importlib.metadata.PackageNotFoundError:
        return False


def check_sources(embedders: Iterable[Embedder]) -> None:
    """Find the weights of all networks before any of them runs; fetches nothing.

    Raises:
        WeightsError: every file or folder that is missing, in one message.
    """
    problems = []
    for source in dict.fromkeys(source for embedder in embedders for source in getattr(embedder, "sources", ())):
        try:
            published.check_weights(source)
        except published.WeightsError as error:
            problems.append(str(error))
    if problems:
        raise published.WeightsError("; ".join(dict.fromkeys(problems)))


def _loudness(weights: Mapping[str, str], options: dict[str, Any]) -> Embedder:
    from evaluation.embedders.loudness import LoudnessEmbedder

    return LoudnessEmbedder()


BUILDERS: dict[str, Builder] = {
    "loudness": _loudness,
    "vggish": _vggish,
    "cnn14_16k": _cnn14(16_000),
    "cnn14_32k": _cnn14(32_000),
    "ast": _ast,
    "clap": _clap,
    "clap_laion": _clap_laion,
    "clap_music_speech": _clap_music_speech,
    "package_passt": _package_passt,
    "package_vggish": _package_vggish,
    "package_clap": _package_clap,
    "aesthetics": _aesthetics,
    "ms_clap": _ms_clap,
}
