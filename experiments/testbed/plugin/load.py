"""Loading what the testbed ships: every file is checked against `weights/manifest.json` before it is read.

pipe = load_testbed_pipeline()      # an AudioLDM2Pipeline, single precision
classifier, (clap, tokenizer) = load_classifier(), load_clap()
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AudioLDM2Pipeline
from safetensors.torch import load_file
from transformers import ClapModel, RobertaTokenizer

from experiments.pipelines.pipeline import Pipeline, prepare
from experiments.system.files import sha256_file, write_whole
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S
from experiments.testbed.models.classifier import EventClassifier
from experiments.testbed.models.vocoder import load_vocoder

WEIGHTS = Path(__file__).parents[1] / "weights"
MANIFEST = "manifest.json"
GATE = "gate.json"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
CLASSIFIER = "classifier.safetensors"
CLAP = "clap"
UNLISTED = (MANIFEST, "README.md")
FILE_LIMIT_BYTES = 16 * 2**20
FOLDER_LIMIT_BYTES = 48 * 2**20
PIPELINE_PARTS = (
    "feature_extractor", "language_model", "projection_model", "scheduler", "text_encoder", "text_encoder_2",
    "tokenizer", "tokenizer_2", "unet", "vae", "vocoder",
)  # fmt: skip


def load_testbed_pipeline(folder: str | Path | None = None) -> AudioLDM2Pipeline:
    """The testbed's pipeline on the CPU, in single precision and evaluation mode.

    Args:
        folder: a pipeline folder with its manifest; None takes the shipped weights.
    Raises:
        FileNotFoundError: the folder, its manifest or a part is missing.
        ValueError: a file differs from the manifest, or a part is not listed in it.
    """
    root = Path(folder) if folder is not None else WEIGHTS
    check_file(root, "model_index.json")
    for part in PIPELINE_PARTS:
        check_folder(root, part)
    # The vocoder apart: diffusers would load it too, and then warn that it is no SpeechT5HifiGan.
    pipe = AudioLDM2Pipeline.from_pretrained(
        root, vocoder=None, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    pipe.register_modules(vocoder=load_vocoder(root / "vocoder"))
    for name in ("vae", "unet", "text_encoder", "text_encoder_2", "projection_model", "language_model", "vocoder"):
        getattr(pipe, name).eval()
    return pipe


def load_pipeline(
    device: torch.device, dtype: torch.dtype, *, name: str, path: str | None, trained: bool, training_length_s: float
) -> Pipeline:
    """The testbed's pipeline for the harness (conf/pipeline/testbed.yaml). Raises as load_testbed_pipeline does."""
    root = Path(path).expanduser() if path is not None else WEIGHTS
    pipe = prepare(load_testbed_pipeline(root), device, dtype)
    return Pipeline(name, pipe, trained, training_length_s, f"sha256:{_identity(root)}", load_gate(root))


def load_on_cpu(folder: str) -> Pipeline:
    """A testbed pipeline for assessment: on the CPU in float32; empty for the shipped one."""
    name, cpu = "testbed", torch.device("cpu")
    return load_pipeline(
        cpu, torch.float32, name=name, path=folder or None, trained=True, training_length_s=TRAIN_DURATION_S
    )


def load_gate(root: Path) -> tuple[dict[str, Any], ...]:
    """The gate's readings of these weights, one per length; none where the folder ships no reading.

    Raises:
        ValueError: the readings are of another UNet.
    """
    if GATE not in _manifest(root):
        return ()
    gate = json.loads(check_file(root, GATE).read_text())
    if gate["unet_sha256"] != _manifest(root)[UNET_FILE]["sha256"]:
        raise ValueError(f"{root / GATE} was read on another UNet; read the gate again and assemble with gate=")
    return tuple(gate["readings"])


def _identity(root: Path) -> str:
    """Hash over the manifest's entries of the pipeline's parts; the judges beside them do not count."""
    parts = sorted(
        (file, entry["sha256"]) for file, entry in _manifest(root).items() if file.split("/")[0] in PIPELINE_PARTS
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load_classifier(path: str | Path | None = None) -> EventClassifier:
    """The event classifier in evaluation mode; None takes the shipped file, checked."""
    file = check_file(WEIGHTS, CLASSIFIER) if path is None else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no classifier at {file}; run python -m experiments.testbed.training.train_classifier")
    classifier = EventClassifier()
    classifier.load_state_dict(load_file(file))
    return classifier.eval()


def load_clap(folder: str | Path | None = None) -> tuple[ClapModel, RobertaTokenizer]:
    """The CLAP judge (single precision, evaluation mode) and its tokenizer; None takes the shipped ones, checked."""
    root = check_folder(WEIGHTS, CLAP) if folder is None else Path(folder)
    model = ClapModel.from_pretrained(root, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    return model.eval(), RobertaTokenizer.from_pretrained(root, local_files_only=True)


def load_judges(root: Path) -> tuple[EventClassifier, tuple[ClapModel, RobertaTokenizer]]:
    """Both judges of a weights folder, checked. Raises as check_file and check_folder do."""
    return load_classifier(check_file(root, CLASSIFIER)), load_clap(check_folder(root, CLAP))


def judge_hashes(classifier: Path | None = None, clap: Path | None = None) -> dict[str, str]:
    """The first 12 hex digits of the sha256 of each given judge's weights, for the file of a measurement."""
    files = {"classifier": classifier, "clap": clap and clap / "model.safetensors"}
    return {name: sha256_file(file)[:12] for name, file in files.items() if file is not None}


def write_manifest(folder: str | Path) -> Path:
    """Write `manifest.json`: size and sha256 of every file below `folder`, except the manifest and the model card.

    Raises:
        ValueError: a file of 16 MiB or more, or 48 MiB or more in all.
    """
    root = Path(folder)
    files: dict[str, dict[str, str | int]] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name in UNLISTED:
            continue
        size = path.stat().st_size
        if size >= FILE_LIMIT_BYTES:
            raise ValueError(f"{name} has {size} bytes; shipped files must stay below {FILE_LIMIT_BYTES}: shrink it")
        files[name] = {"bytes": size, "sha256": sha256_file(path)}
    total = sum(int(entry["bytes"]) for entry in files.values())
    if total >= FOLDER_LIMIT_BYTES:
        raise ValueError(f"{root} has {total} bytes; shipped weights must stay below {FOLDER_LIMIT_BYTES}: shrink it")
    target = root / MANIFEST
    write_whole(target, json.dumps({"files": files}, indent=1, sort_keys=True).encode() + b"\n")
    return target


def check_file(root: Path, name: str) -> Path:
    """The path of a listed file whose content is what the manifest says.

    Raises:
        FileNotFoundError: manifest or file missing.
        ValueError: not listed, or changed.
    """
    entry = _manifest(root).get(name)
    path = root / name
    if entry is None:
        raise ValueError(f"{name} is not in {root / MANIFEST}; run write_manifest if you added it on purpose")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but listed in {MANIFEST}; restore it from the repository")
    found = sha256_file(path)
    if found != entry["sha256"]:
        raise ValueError(
            f"{path} has sha256 {found[:16]}..., expected {str(entry['sha256'])[:16]}...: restore the file"
        )
    return path


def check_folder(root: Path, name: str) -> Path:
    """The path of a folder whose files are exactly the listed ones, unchanged.

    Raises:
        FileNotFoundError, ValueError: as check_file; also for a file that is not listed.
    """
    listed = {file for file in _manifest(root) if file.startswith(f"{name}/")}
    folder = root / name
    present = {p.relative_to(root).as_posix() for p in folder.rglob("*") if p.is_file()}
    if not listed:
        raise FileNotFoundError(f"{root / MANIFEST} lists nothing under {name}/; the testbed's weights are incomplete")
    for file in sorted(listed | present):
        check_file(root, file)
    return folder


def _manifest(root: Path) -> dict[str, dict[str, str | int]]:
    path = root / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {root}; give one made by experiments.testbed.training.assemble")
    files: dict[str, dict[str, str | int]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    return files
