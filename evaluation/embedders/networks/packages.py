"""The packages that papers used, as embedders: VGGish as in ``frechet-audio-distance``, laion-clap's CLAP, PaSST,
audiobox-aesthetics.

They need an environment of their own (docs/published-tools.md); elsewhere ``run.build`` runs them there. Their
networks run as released; only the loading is ours, because theirs fetches from hubs or unpickles whatever it finds.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.networks.clap import tells_captions_apart
from evaluation.embedders.networks.laion import strip_prefix
from evaluation.embedders.networks.vggish import MIN_SAMPLES
from evaluation.embedders.protocol import AESTHETICS_AXES, Array, Output
from evaluation.embedders.weights import WeightsError, load_exactly, read_checkpoint, read_state_dict, state_of

_HTSAT_BASE_WIDTH = 128
_CLAP_RATE, _CLAP_SAMPLES = 48_000, 480_000
_PASST_RATE, _PASST_SAMPLES = 32_000, 320_000
# The front end that hear21passt gives the network of `base`; its maskings are for training and do nothing here.
_PASST_MEL = {
    "n_mels": 128, "sr": _PASST_RATE, "win_length": 800, "hopsize": 320, "n_fft": 1024, "freqm": 48, "timem": 192,
    "htk": False, "fmin": 0.0, "fmax": None, "norm": 1, "fmin_aug_range": 10, "fmax_aug_range": 2000,
}  # fmt: skip

_AESTHETICS_SAMPLES = 160_000
_AESTHETICS_OPTIONS = (
    "proj_num_layer", "proj_ln", "proj_act_fn", "proj_dropout", "nth_layer", "use_weighted_layer_sum", "precision",
    "normalize_embed", "output_dim",
)  # fmt: skip


class PackageVGGishEmbedder(NetworkEmbedder):
    """torchvggish's network and front end, set up as ``frechet_audio_distance.FrechetAudioDistance`` does.

    Without the last ReLU and without PCA; waveforms pass one by one, as there.
    """

    name = "torchvggish"
    distributions = ("torchvggish",)
    outputs: tuple[Output, ...] = ("frames",)
    sample_rate = 16_000
    min_samples = MIN_SAMPLES

    def _front_end(self) -> str:
        return f"torchvggish {importlib.metadata.version('torchvggish')}"

    def _load(self, path: Path) -> nn.Module:
        module = load_package("torchvggish.torchvggish", "torchvggish")
        network: Any = module.VGG(module.make_layers(), postprocess=False)
        load_exactly(network, read_state_dict(path), path)
        network.embeddings = nn.Sequential(*list(network.embeddings.children())[:-1])
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        front_end = load_package("torchvggish.vggish_input", "torchvggish")
        frames = [
            self.network(front_end.waveform_to_examples(row.cpu().numpy(), self.sample_rate).to(self.device))
            for row in waveforms
        ]
        return {"frames": torch.stack(frames)}


class PackageClapEmbedder(NetworkEmbedder):
    """``laion_clap.CLAP_Module`` on windows of at most 10 s, where its random crop has nothing to choose.

    Importing ``laion_clap`` needs the tokenizers of BERT, RoBERTa and BART in the local hub cache.
    """

    name = "laion-clap"
    distributions = ("laion-clap",)
    outputs: tuple[Output, ...] = ("embedding",)
    sample_rate = _CLAP_RATE
    min_samples = 1

    @property
    def max_samples(self) -> int:
        """10 s."""
        return _CLAP_SAMPLES

    def embed_text(self, captions: list[str]) -> Array:
        """(n, d) unit-length embeddings."""
        module: Any = self.network
        with torch.inference_mode():
            embeddings: Array = module.get_text_embedding(list(captions))
        return embeddings

    def _front_end(self) -> str:
        return f"laion_clap {importlib.metadata.version('laion-clap')}, int16"

    def _load(self, path: Path) -> nn.Module:
        laion_clap = load_package("laion_clap", "laion-clap")
        state = strip_prefix(read_state_dict(path, entry="state_dict"))
        base = state["audio_branch.patch_embed.proj.weight"].shape[0] == _HTSAT_BASE_WIDTH
        module: Any = laion_clap.CLAP_Module(
            enable_fusion=False, device=self.device, amodel="HTSAT-base" if base else "HTSAT-tiny"
        )
        tells_captions_apart(module.tokenize, "roberta-base, in the hub cache,")
        state.pop("text_branch.embeddings.position_ids", None)
        load_exactly(module.model, state, path)
        network: nn.Module = module
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        module: Any = self.network
        return {"embedding": torch.from_numpy(module.get_audio_embedding_from_data(waveforms.cpu().numpy()))}


class PackagePasstEmbedder(NetworkEmbedder):
    """PaSST-S of ``hear21passt`` (K. Koutini et al., arXiv 2110.05069): 768-d embedding and 527 AudioSet logits.

    Waveforms below 10 s are filled with zeros, as audioldm_eval's branch ``passt_replace_panns`` does.
    """

    name = "passt"
    distributions = ("hear21passt",)
    outputs: tuple[Output, ...] = ("embedding", "logits")
    sample_rate = _PASST_RATE
    min_samples = 1

    @property
    def max_samples(self) -> int:
        """10 s."""
        return _PASST_SAMPLES

    def _front_end(self) -> str:
        return f"hear21passt {importlib.metadata.version('hear21passt')}, zeros to 10 s"

    def _load(self, path: Path) -> nn.Module:
        passt = load_package("hear21passt.models.passt", "hear21passt")
        network: Any = passt.get_model(arch="passt_s_swa_p16_128_ap476", pretrained=False)
        load_exactly(network, read_state_dict(path), path)
        mel = load_package("hear21passt.models.preprocess", "hear21passt").AugmentMelSTFT(**_PASST_MEL)
        both: nn.Module = nn.ModuleDict({"mel": mel, "net": network})
        return both

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        filled = functional.pad(waveforms, (0, _PASST_SAMPLES - waveforms.shape[1]))
        parts: Any = self.network
        logits, embedding = parts["net"](parts["mel"](filled).unsqueeze(1))
        return {"embedding": embedding, "logits": logits}


class PackageAestheticsEmbedder(NetworkEmbedder):
    """Scores of ``audiobox-aesthetics`` (A. Tjandra et al., arXiv 2502.05139) as a (4,) "embedding", about 1 to 10.

    Content enjoyment, content usefulness, production complexity, production quality. A waveform is filled with zeros to
    10 s, which the network is told to ignore; of longer clips the package averages such windows, as metrics do.
    """

    name = "audiobox-aesthetics"
    distributions = ("audiobox-aesthetics",)
    outputs: tuple[Output, ...] = ("embedding",)
    sample_rate = 16_000
    min_samples = 1

    @property
    def max_samples(self) -> int:
        """10 s."""
        return _AESTHETICS_SAMPLES

    def _front_end(self) -> str:
        return f"audiobox_aesthetics {importlib.metadata.version('audiobox-aesthetics')}"

    def _load(self, path: Path) -> nn.Module:
        module = load_package("audiobox_aesthetics.model.aes", "audiobox-aesthetics")
        checkpoint = read_checkpoint(path)
        state = state_of(checkpoint, path, entry="state_dict")
        try:
            options = {name: checkpoint["model_cfg"][name] for name in _AESTHETICS_OPTIONS}
            targets = {axis: checkpoint["target_transform"][axis] for axis in AESTHETICS_AXES}
            scale = torch.tensor([[float(targets[axis][what]) for axis in targets] for what in ("mean", "std")])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} is no checkpoint of audiobox-aesthetics: it lacks {error}") from None
        network: nn.Module = module.AesMultiOutput(**options, target_transform=targets)
        load_exactly(network, {name.removeprefix("model."): value for name, value in state.items()}, path)
        network.register_buffer("scale", scale, persistent=False)
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        missing = _AESTHETICS_SAMPLES - waveforms.shape[1]
        real = functional.pad(torch.ones_like(waveforms, dtype=torch.bool), (0, missing))
        network: Any = self.network
        found = network({"wav": functional.pad(waveforms, (0, missing))[:, None], "mask": real[:, None]})
        mean, std = network.scale
        return {"embedding": torch.stack([found[axis] for axis in AESTHETICS_AXES], dim=1) * std + mean}


def load_package(name: str, distribution: str) -> Any:
    """A package's module. ImportError that names the environment it needs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{distribution} is not installed ({error}); use the environment of docs/published-tools.md"
        ) from error
