"""Where published weights come from, and how their files are read.

Nothing is fetched unless an embedder that needs it is used. A download has a pinned sha256, which pins the file
whatever revision its address serves; where this package does not know the hash of a published file, it does not guess
one: give the hash, or a local path. Model folders on a hub are not fetched at all. Pickles are read with
``weights_only``; the only extra names allowed are those of NumPy scalars, which LAION's checkpoints hold beside their
tensors.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from evaluation.files.whole import sha256_file, whole_file

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path("~/.cache/litefocus/weights")
_TIMEOUT_S = 30
_BLOCK_BYTES = 1 << 20


class WeightsError(OSError):
    """Weights that cannot be had or are not the ones asked for; the text names file, source and local path."""


@dataclass(frozen=True)
class WeightSource:
    """A published file.

    Attributes:
        option: the setting that takes a local path instead, named in errors.
        filename: as published.
        url: where it is published.
        licence: its terms.
        sha256: hash of the whole file; None where it is not known here, and then nothing is fetched.
        sha256_prefix: the part of the hash that its publisher put into the file name.
        folder: where a download goes.
    """

    option: str
    filename: str
    url: str
    licence: str
    sha256: str | None = None
    sha256_prefix: str = ""
    folder: Path = DEFAULT_FOLDER

    def __post_init__(self) -> None:
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.option}: sha256 {self.sha256!r}; give its 64 hex digits in lower case")

    def with_sha256(self, sha256: str) -> WeightSource:
        """The same file, with a hash that the caller vouches for.

        Raises:
            ValueError: not 64 hex digits, or the source is a folder, which no single hash covers.
        """
        if "://" not in self.url:
            raise ValueError(
                f"{self.option}: {self.filename} is a folder ({self.url}), which no single hash covers; save it and"
                f" set {self.option} to its path"
            )
        return dataclasses.replace(self, sha256=sha256)

    @property
    def path(self) -> Path:
        """Where the file is looked for, and put by a download."""
        return self.folder.expanduser() / self.filename


# The hash of Cnn14_16k is the one stated on a model card that redistributes it, that of CLAP from a mirror's pointer.
VGGISH = WeightSource(
    "weights.vggish",
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    "Apache-2.0",
    sha256_prefix="10086976",
)
CNN14_16K = WeightSource(
    "weights.cnn14_16k",
    "Cnn14_16k_mAP=0.438.pth",
    "https://zenodo.org/record/3987831/files/Cnn14_16k_mAP%3D0.438.pth",
    "CC BY 4.0",
    sha256="e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6",
)
CNN14_32K = WeightSource(
    "weights.cnn14_32k",
    "Cnn14_mAP=0.431.pth",
    "https://zenodo.org/record/3987831/files/Cnn14_mAP%3D0.431.pth",
    "CC BY 4.0",
)
CLAP_MUSIC_SPEECH_AUDIOSET = WeightSource(
    "weights.clap_music_speech",
    "music_speech_audioset_epoch_15_esc_89.98.pt",
    "https://huggingface.co/lukewys/laion_clap/resolve/main/music_speech_audioset_epoch_15_esc_89.98.pt",
    "CC0-1.0",
    sha256="51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
)
PASST = WeightSource(
    "weights.passt",
    "passt-s-f128-p16-s10-ap.476-swa.pt",
    "https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt",
    "Apache-2.0",
)
CLAP_630K = WeightSource(
    "weights.clap",
    "630k-audioset-best.pt",
    "https://huggingface.co/lukewys/laion_clap/resolve/main/630k-audioset-best.pt",
    "CC0-1.0",
)


MS_CLAP = WeightSource(
    "weights.ms_clap",
    "CLAP_weights_2023.pth",
    "https://huggingface.co/microsoft/msclap/resolve/main/CLAP_weights_2023.pth",
    "MIT",
)
AUDIOBOX_AESTHETICS = WeightSource(
    "weights.aesthetics",
    "checkpoint.pt",
    "https://dl.fbaipublicfiles.com/audiobox-aesthetics/checkpoint.pt",
    "CC BY 4.0",
    folder=DEFAULT_FOLDER / "audiobox-aesthetics",
)


def find_weights(source: WeightSource | str | Path) -> Path:
    """Path of a weight file: a given one, one already in its folder, or a checked download.

    Raises:
        WeightsError: the path does not exist; the source has no known hash; it cannot be reached; or the file there
            has another hash.
    """
    if not isinstance(source, WeightSource):
        path = Path(source).expanduser()
        if not path.exists():
            raise WeightsError(f"{path} does not exist; give the path of a weight file or folder")
        return path
    path = source.path
    if not path.exists():
        if source.sha256 is None:
            raise WeightsError(
                f"{source.filename} is not at {path} and its hash is not known here, so it is not fetched: get it from"
                f" {source.url} and put it there, or set {source.option}"
            )
        _download(source, path)
    _check(source, path)
    return path


def check_weights(source: WeightSource | str | Path) -> str:
    """Where weights are, or what would be fetched from where, in one line; fetches nothing.

    Raises:
        WeightsError: as :func:`find_weights`, for what it would refuse without the network.
    """
    if isinstance(source, WeightSource) and source.sha256 is not None and not source.path.exists():
        return (
            f"to be fetched: {source.filename} from {source.url} to {source.path} (sha256 {source.sha256}, licence"
            f" {source.licence}, size not known here)"
        )
    return f"present: {find_weights(source)}"


def read_state_dict(path: Path, entry: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint by name, from safetensors or a pickle read with ``weights_only``.

    Args:
        path: the file.
        entry: key under which the checkpoint holds the tensors ("model", "state_dict"); None for the top level.

    Raises:
        WeightsError: the file is no such checkpoint, or its pickle asks for code.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return state_of(read_checkpoint(path), path, entry)


def state_of(checkpoint: Any, path: Path, entry: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors by name in a checkpoint that :func:`read_checkpoint` gave; arguments as for :func:`read_state_dict`.

    Raises:
        WeightsError: there are none at ``entry``.
    """
    state = checkpoint if entry is None else checkpoint.get(entry) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        where = "its top level" if entry is None else f"{entry!r}"
        raise WeightsError(f"{path} holds no tensors by name at {where}; is it another model's checkpoint?")
    return state


def read_checkpoint(path: Path) -> Any:
    """What a pickled checkpoint holds, read with ``weights_only``. WeightsError if it asks for code."""
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path} cannot be read as a checkpoint without running its code: {first_line}") from error


def load_exactly(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict, or raise WeightsError if a name or shape is missing, extra or different."""
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise WeightsError(f"{path} is not a {type(network).__name__} checkpoint: {text[:300]}") from error


def _numpy_scalars() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]  # Its module has another name in every generation of NumPy.
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]


def _download(source: WeightSource, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(source.url, timeout=_TIMEOUT_S) as response, whole_file(path, shared=True) as file:
            total = int(response.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=source.filename) as bar:
                while block := response.read(_BLOCK_BYTES):
                    file.write(block)
                    bar.update(len(block))
            file.flush()
            _check(source, Path(file.name))
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"{source.filename} cannot be fetched from {source.url} ({error}): put it at {path}, or set {source.option}"
        ) from error


def _check(source: WeightSource, path: Path) -> None:
    expected = source.sha256 or source.sha256_prefix
    if not expected:
        return
    found = sha256_file(path)
    if not found.startswith(expected):
        raise WeightsError(
            f"{path} has sha256 {found}, expected {expected}: it is not {source.filename}; delete it, or set"
            f" {source.option} to the right file"
        )
