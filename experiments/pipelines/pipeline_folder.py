"""A pipeline's folder as `save_pretrained` or the hub lays it out: its index, the files of its components, their hash.

What is wrong in it is found here, by name, before anything is loaded: transformers makes a tokenizer without a
vocabulary where the files of one are missing and says nothing, and a damaged weights file is reported without its name.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from evaluation.embedders.networks.clap import knows_no_word
from experiments.system.files import sha256_file

# Class of a pipeline -> conf/pipeline's name for it.
CONFIGURATIONS = {"AudioLDM2Pipeline": "audioldm2", "AudioLDMPipeline": "audioldm", "MusicLDMPipeline": "musicldm"}
FAMILIES = tuple(CONFIGURATIONS)
INDEX = "model_index.json"
SAVE_AGAIN = "save it again from the published repository"
# The endings of classes that have no weights.
WITHOUT_WEIGHTS = ("Scheduler", "FeatureExtractor", "Processor", "Tokenizer", "TokenizerFast")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
# The names that diffusers and transformers read; another before the suffix is a variant's (model.fp16.safetensors).
WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors")


def read_index(folder: Path) -> dict[str, Any]:
    """What the folder's model_index.json says.

    Raises:
        ValueError: no JSON object, or a component that is no pair of a library and a class.
    """
    file = folder / INDEX
    index = _read_object(file)
    for name, entry in index.items():
        if isinstance(entry, list) and len(entry) == 2 and all(part is None or isinstance(part, str) for part in entry):
            continue
        if not name.startswith("_") and isinstance(entry, list | str):
            raise ValueError(f"{file}: {name} is {entry!r:.80}, a component is [library, class]; {SAVE_AGAIN}")
    return index


def component_classes(index: dict[str, Any]) -> dict[str, str]:
    """Component -> library.class, of those that the index has; a component may be left out as [null, null]."""
    entries = {name: entry for name, entry in index.items() if not name.startswith("_") and isinstance(entry, list)}
    return {name: ".".join(entry) for name, entry in sorted(entries.items()) if None not in entry}


def check_folder(folder: Path, family: str) -> None:
    """Raise ValueError or FileNotFoundError unless a folder holds what a pipeline of that family loads."""
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"no {INDEX} in {folder}; pipeline.path takes a folder saved by save_pretrained")
    index = read_index(folder)
    if (found := index.get("_class_name", family)) != family:
        fitting = CONFIGURATIONS.get(str(found))
        remedy = f"take pipeline={fitting}" if fitting else f"the families are {', '.join(FAMILIES)}"
        raise ValueError(f"{folder / INDEX}: got a {found}, this pipeline= loads a {family}; {remedy}")
    for name, of_class in component_classes(index).items():
        check_component(folder, name, of_class)


def check_tokenizers(pipe: Any, where: str) -> None:
    """Raise ValueError for a tokenizer that gives two captions the same tokens: it lacks its vocabulary."""
    for name, component in pipe.components.items():
        if name.startswith("tokenizer") and component is not None and knows_no_word(component):
            raise ValueError(
                f"{name} of {where} gives every caption the same tokens (a vocabulary of {len(component)}); "
                "save its files again from the published repository"
            )


def check_component(folder: Path, name: str, of_class: str) -> None:
    """Raise ValueError or FileNotFoundError for files of a component that are missing or damaged.

    Weights are not read beyond their header.
    """
    where = folder / name
    files = sorted(file for file in where.glob("*") if file.is_file())
    if not any(file.suffix in (".safetensors", ".json", ".model", ".txt") for file in files):
        raise FileNotFoundError(f"{where} is missing; save the folder {name} of the published repository there")
    names = [file.name for file in files]
    if "Tokenizer" in of_class and not set(VOCABULARIES) & set(names):
        raise FileNotFoundError(f"{where} holds no vocabulary ({', '.join(VOCABULARIES)}); save it there")
    if not of_class.endswith(WITHOUT_WEIGHTS):
        _check_has_weights(where, names)
    for file in files:
        if file.suffix == ".json":
            _read_object(file)
        elif file.suffix == ".safetensors":
            _check_header(file)


def _check_has_weights(where: Path, names: list[str]) -> None:
    if any(map(WEIGHTS.fullmatch, names)):
        return
    if variants := [name for name in names if name.endswith(".safetensors")]:
        raise FileNotFoundError(
            f"{where} holds {variants[0]}, a variant that is not read; save the file without it in its name"
        )
    if any(name.endswith(".bin") for name in names):
        raise FileNotFoundError(f"{where} holds .bin weights only; save its .safetensors file beside them")
    raise FileNotFoundError(f"{where} holds no .safetensors file; save that of the published repository there")


def _check_header(file: Path) -> None:
    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as error:
        raise ValueError(
            f"{file}: no whole safetensors file ({error}), a Git-LFS pointer or cut short; {SAVE_AGAIN}"
        ) from error


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON ({error}); {SAVE_AGAIN}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: got a {type(found).__name__}, accepted is an object; {SAVE_AGAIN}")
    return found


def hash_weights(folder: Path) -> str:
    """sha256 over the names and contents of all safetensors and json files below a folder; links are followed."""
    digest = hashlib.sha256()
    for file in sorted(p for p in _files(folder) if p.suffix in (".safetensors", ".json")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; a folder that links back to one above it is entered once."""
    for here, folders, names in os.walk(folder, followlinks=True):
        above = {Path(here).resolve(), *Path(here).resolve().parents}
        folders[:] = [name for name in folders if (Path(here) / name).resolve() not in above]
        yield from (Path(here) / name for name in names)
