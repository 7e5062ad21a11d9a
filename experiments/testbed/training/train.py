"""Trains the whole testbed, stage after stage.

`python -m experiments.testbed.training.train root=runs/testbed size=cpu`

Every stage resumes where it was killed and is skipped once it has finished (`<stage>.done` beside its output, written
last), so the command can simply be repeated; assembling takes seconds and is always done anew. `size=cpu` takes about
four hours in the background on one core: the data and the number of steps of the shipped weights in one go, which
themselves grew run by run (weights/README.md has the record). `size=gpu` trains a wider UNet on more data in mixed
precision. `stages=vae,unet` runs some of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.system.files import write_whole
from experiments.system.settings import program
from experiments.testbed.models.vocoder import MelGriffinLim
from experiments.testbed.training.assemble import AssembleSettings, assemble
from experiments.testbed.training.train_clap import ClapSettings, train_clap
from experiments.testbed.training.train_classifier import ClassifierSettings, train_classifier
from experiments.testbed.training.train_text import TextSettings, train_text
from experiments.testbed.training.train_unet import UnetSettings, train_unet
from experiments.testbed.training.train_vae import VaeSettings, train_vae

logger = logging.getLogger(__name__)

JUDGES: dict[str, dict[str, Any]] = {
    "classifier": {"clips": 49_152, "round_trips": 4096, "steps": 6200, "mix_share": 0.4},
    "clap": {"steps": 2800, "then_share": 0.4},
}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "cpu": {
        **JUDGES,
        "vae": {"steps": 700},
        "text": {"steps": 1300},
        "unet": {"clips": 12_000, "batch_size": 8, "steps": 6000},
    },
    "gpu": {
        **JUDGES,
        "vae": {"steps": 6000, "clips": 8000, "batch_size": 32},
        "unet": {"steps": 40_000, "clips": 40_000, "batch_size": 64, "width": 64, "ema_decay": 0.9995},
    },
}


@dataclass(frozen=True)
class TrainSettings:
    """`root` receives one folder per stage; `stages` is "all" or names joined by commas; `seed` goes to each."""

    root: str = "runs/testbed"
    size: str = "cpu"
    stages: str = "all"
    seed: int = 0


@dataclass(frozen=True)
class Stage:
    """One step of the training: `run()` makes `output`, and a finished run leaves `done`."""

    name: str
    output: Path
    run: Callable[[], Any]

    @property
    def done(self) -> Path:
        """The mark of a finished run: an output alone may be half of one that was killed while it was written."""
        return self.output.with_name(f"{self.name}.done")


def plan(settings: TrainSettings) -> list[Stage]:
    """The stages in order of dependence.

    Raises:
        ValueError: an unknown size.
    """
    if settings.size not in SIZES:
        raise ValueError(f"size={settings.size!r}: accepted are {', '.join(SIZES)}")
    root, options = Path(settings.root), SIZES[settings.size]
    vae, text, vocoder = root / "vae" / "vae", root / "text", root / "vocoder"

    def build(cls: Any, name: str, **paths: Path) -> Any:
        folders = {key: str(path) for key, path in paths.items()}
        return cls(run=str(root / name), seed=settings.seed, **folders, **options.get(name, {}))

    clips = root / "clips"
    return [
        Stage("text", text / "tokenizer_2", lambda: train_text(build(TextSettings, "text"))),
        Stage("vae", vae, lambda: train_vae(build(VaeSettings, "vae"))),
        Stage(
            "unet",
            root / "unet" / "unet",
            lambda: train_unet(build(UnetSettings, "unet", vae=vae, text=text, cache=root / "cache")),
        ),
        Stage("vocoder", vocoder, lambda: MelGriffinLim().save_pretrained(vocoder)),
        Stage(
            "classifier",
            root / "classifier" / "classifier.safetensors",
            lambda: train_classifier(build(ClassifierSettings, "classifier", cache=clips, vocoder=vocoder, vae=vae)),
        ),
        Stage(
            "clap",
            root / "clap" / "clap",
            lambda: train_clap(build(ClapSettings, "clap", cache=clips, vocoder=vocoder, vae=vae)),
        ),
        Stage("assemble", root / "weights", lambda: assemble(_parts(root))),
    ]


def _parts(root: Path) -> AssembleSettings:
    return AssembleSettings(
        vae=str(root / "vae" / "vae"),
        unet=str(root / "unet" / "unet"),
        text=str(root / "text"),
        vocoder=str(root / "vocoder"),
        classifier=str(root / "classifier" / "classifier.safetensors"),
        clap=str(root / "clap" / "clap"),
        out=str(root / "weights"),
    )


def train(settings: TrainSettings) -> Path:
    """Runs the unfinished stages; returns the folder that `load_testbed_pipeline` reads.

    Raises:
        ValueError: an unknown size or stage.
    """
    stages = plan(settings)
    names = [stage.name for stage in stages]
    wanted = names if settings.stages == "all" else settings.stages.split(",")
    if unknown := sorted(set(wanted) - set(names)):
        raise ValueError(f"unknown stages {unknown}: accepted are all, {', '.join(names)}")
    for stage in stages:
        if stage.name not in wanted:
            continue
        if stage.name != "assemble" and stage.done.exists() and stage.output.exists():
            logger.info("%s: %s is finished, skipped", stage.name, stage.output)
        else:
            logger.info("%s: running", stage.name)
            stage.run()
            write_whole(stage.done, b"")
    return Path(settings.root) / "weights"


if __name__ == "__main__":
    program(TrainSettings, train, __doc__)
