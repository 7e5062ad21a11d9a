"""Puts trained parts together into `weights/`: an AudioLDM2Pipeline folder, the judges, and a manifest.

    python -m experiments.testbed.training.assemble vae=DIR unet=DIR text=DIR vocoder=DIR classifier=FILE clap=DIR \
        out=DIR

Parts whose source is empty keep what `out` already holds, so judges and generator may come one after the other.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
)
from safetensors.torch import load_file
from transformers import (
    ClapFeatureExtractor,
    ClapModel,
    GPT2LMHeadModel,
    RobertaTokenizer,
    T5EncoderModel,
    T5Tokenizer,
)

from experiments.system.files import sha256_file, write_whole
from experiments.system.settings import program
from experiments.testbed.models.clap import feature_extractor
from experiments.testbed.models.text import TEXT_PARTS
from experiments.testbed.models.vocoder import MelGriffinLim
from experiments.testbed.plugin.load import GATE, UNET_FILE, WEIGHTS, write_manifest
from experiments.testbed.training.train_state import half_bytes
from experiments.testbed.training.train_unet import make_scheduler

logger = logging.getLogger(__name__)

GATE_KEYS = ("step", "length", "clips", "same_frequency_ratio", "entropy_gap_nat", "deletion_share", "verdicts")
CLASSES = {
    "feature_extractor": ClapFeatureExtractor,
    "language_model": GPT2LMHeadModel,
    "projection_model": AudioLDM2ProjectionModel,
    "scheduler": DDIMScheduler,
    "text_encoder": ClapModel,
    "text_encoder_2": T5EncoderModel,
    "tokenizer": RobertaTokenizer,
    "tokenizer_2": T5Tokenizer,
    "unet": AudioLDM2UNet2DConditionModel,
    "vae": AutoencoderKL,
    "vocoder": MelGriffinLim,
}


@dataclass(frozen=True)
class AssembleSettings:
    """Where the parts are: folders as written by the training programs, the classifier's file, the gate's records."""

    vae: str = ""
    unet: str = ""
    text: str = ""
    vocoder: str = ""
    classifier: str = ""
    clap: str = ""
    gate: str = ""
    out: str = str(WEIGHTS)


def assemble(settings: AssembleSettings) -> Path:
    """Copy the given parts into `out` in half precision, write the pipeline's index once it is complete, and the
    manifest.

    Raises:
        FileNotFoundError: a given source is missing.
        ValueError: a file or the folder is too large to ship, or `gate` holds no reading of the UNet in `out`.
    """
    out = Path(settings.out)
    sources = {"vae": settings.vae, "unet": settings.unet, "vocoder": settings.vocoder, "clap": settings.clap}
    if settings.text:
        sources |= {name: str(Path(settings.text) / name) for name in TEXT_PARTS}
    for name, source in sources.items():
        if source:
            _copy_part(Path(source), out / name)
    if settings.classifier:
        _copy_part(Path(settings.classifier), out / "classifier.safetensors")
    make_scheduler().save_pretrained(out / "scheduler")
    feature_extractor().save_pretrained(out / "feature_extractor")
    missing = [name for name in CLASSES if not (out / name).is_dir()]
    if missing:
        logger.warning("%s is no pipeline yet: %s missing", out, ", ".join(missing))
    else:
        _write_index(out)
    if settings.gate:
        _write_gate(Path(settings.gate), out)
    return write_manifest(out)


def _copy_part(source: Path, target: Path) -> None:
    if not source.exists():
        raise FileNotFoundError(f"no part at {source}; train it first, or leave {target.stem}= out to keep the old one")
    if source.is_file():
        _halve(source, target)
        return
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for file in sorted(p for p in source.iterdir() if p.suffix in (".json", ".txt", ".safetensors")):
        if file.suffix == ".safetensors":
            _halve(file, target / file.name)
        else:
            shutil.copyfile(file, target / file.name)


def _halve(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(half_bytes(load_file(source)))


def _write_gate(records: Path, out: Path) -> None:
    """The readings that were taken on the UNet in `out`, the last one of each length, in order of length."""
    unet = sha256_file(out / UNET_FILE)
    readings = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    newest = {reading["length"]: reading for reading in readings if reading.get("unet_sha256") == unet}
    if not newest:
        raise ValueError(
            f"{records} holds no reading of the UNet with sha256 {unet[:12]}...: read the gate with unet={out / 'unet'}"
        )
    kept = [{key: newest[length][key] for key in GATE_KEYS} for length in sorted(newest)]
    write_whole(out / GATE, json.dumps({"unet_sha256": unet, "readings": kept}, indent=1).encode() + b"\n")


def _write_index(out: Path) -> None:
    parts = {name: cls.from_pretrained(out / name, local_files_only=True) for name, cls in CLASSES.items()}
    AudioLDM2Pipeline(**parts).save_config(out)


if __name__ == "__main__":
    program(AssembleSettings, assemble, __doc__)
