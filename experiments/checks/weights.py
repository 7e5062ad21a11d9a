"""What a pipeline is made of: where its files are, their hashes and licence, and the classes that they load as."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.checks.lines import FAIL, NOTE, OK, Line
from experiments.pipelines.pipeline import Pipeline
from experiments.pipelines.pipeline_folder import check_component, component_classes, hash_weights, read_index
from experiments.pipelines.revisions import WHAT_TO_SAVE

HASH_DIGITS = 12
FETCHED = (".safetensors", ".json", ".txt", ".model")


def source_line(config: DictConfig) -> Line:
    """A local folder, or a hub commit with what of it is still to be fetched.

    Raises:
        ConnectionError: files are to be fetched and the hub does not answer.
        FileNotFoundError: no such folder.
    """
    pipeline, subject = config.pipeline, "weights"
    if "hub_id" not in pipeline:
        return Line(OK, subject, f"{pipeline._target_}, nothing to fetch")
    if pipeline.path is not None:
        folder = Path(pipeline.path).expanduser()
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(
                f"no model_index.json in {folder}; {WHAT_TO_SAVE} of {pipeline.hub_id} there (docs/first-run.md)"
            )
        return Line(OK, subject, f"folder {folder}")
    place = f"{pipeline.hub_id}@{pipeline.revision}"
    missing = files_to_fetch(pipeline.hub_id, pipeline.revision)
    if not missing:
        return Line(OK, subject, f"{place}, all in the hub's cache")
    size = sum(missing.values()) / 1e9
    first = next(iter(missing))
    return Line(NOTE, subject, f"{place}: {len(missing)} files, {size:.1f} GB to be fetched, first {first}")


def files_to_fetch(hub_id: str, commit: str) -> dict[str, int]:
    """Name -> bytes of a repository's files that the pipeline reads and the hub's cache does not hold."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError

    def is_cached(name: str) -> bool:
        return isinstance(try_to_load_from_cache(hub_id, name, revision=commit), str)

    try:
        info = HfApi().model_info(hub_id, revision=commit, files_metadata=True)
    except (OSError, HTTPError) as error:
        if is_cached("model_index.json"):  # Loading it says whether the rest is there.
            return {}
        raise ConnectionError(
            f"{hub_id}@{commit} is not in the hub's cache and the hub does not answer ({error}); on a machine with "
            f"network {WHAT_TO_SAVE} and set pipeline.path=FOLDER here"
        ) from error
    files = {file.rfilename: file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(FETCHED)}
    return {name: size for name, size in files.items() if not is_cached(name)}


def licence_line(config: DictConfig) -> Line:
    """The terms of the weights: from the folder's README.md, else from the pipeline's configuration."""
    path = config.pipeline.get("path")
    stated = path and licence_of(Path(path).expanduser() / "README.md")
    if stated:
        return Line(OK, "licence", f"{stated} (README.md of the folder)")
    known = config.pipeline.get("licence")
    if known:
        return Line(OK, "licence", f"{known} (conf/pipeline)")
    if "hub_id" not in config.pipeline:
        return Line(OK, "licence", "made by this repository")
    return Line(NOTE, "licence", "not known here; read the model card before you use the clips")


def licence_of(card: Path) -> str | None:
    """`license:` in the front matter of a model card; None without one."""
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^license:[ \t]*([\w.+-]+)[ \t]*$", front.group(1), re.MULTILINE) if front else None
    return found.group(1) if found else None


def file_lines(folder: Path) -> Iterator[Line]:
    """Every component that the folder's index names, with the hash of its files, whether or not it loads."""
    for name, of_class in component_classes(read_index(folder)).items():
        where = folder / name
        try:
            check_component(folder, name, of_class)
        except (OSError, ValueError) as error:
            yield Line(FAIL, name, str(error))
        else:
            files = [file for file in where.glob("*") if file.suffix in (".safetensors", ".json")]
            size = sum(file.stat().st_size for file in files) / 1e9
            yield Line(OK, name, f"{of_class}, {size:.2g} GB, sha256 {short_hash(where)}")


def short_hash(folder: Path) -> str:
    """The first digits of the hash over a component's files."""
    return hash_weights(folder)[:HASH_DIGITS]


def component_lines(pipeline: Pipeline) -> Iterator[Line]:
    """Every loaded component: its class, and for networks precision and number of weights."""
    for name, component in sorted(pipeline.pipe.components.items()):
        if component is not None:
            yield Line(OK, f"loaded {name}", describe_component(component))


def describe_component(component: Any) -> str:
    """Class, and where it has weights their precision and number."""
    name = type(component).__name__
    parameters = list(component.parameters()) if hasattr(component, "parameters") else []
    if not parameters:
        return name
    count = sum(parameter.numel() for parameter in parameters)
    dtypes = ", ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters}))
    return f"{name}, {dtypes}, {count / 1e6:.3g} million weights on {parameters[0].device}"
