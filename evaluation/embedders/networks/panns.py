"""PANNs Cnn14 (Q. Kong et al., arXiv 1912.10211): the embedding of FD and KAD, the posteriors of KL and IS.

Shapes: B batch, S samples, T frames, M = 64 mel bands, d = 2048, C = 527 AudioSet classes.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from evaluation.embedders.network import NetworkEmbedder
from evaluation.embedders.protocol import Output
from evaluation.embedders.spectrogram import log_mel_db, slaney_filters, take_stored_stft
from evaluation.embedders.weights import CNN14_16K, CNN14_32K, WeightSource, load_exactly, read_state_dict

_BANDS, _CLASSES = 64, 527
_POOLINGS = 5


class FrontEnd(NamedTuple):
    """STFT and mel settings of one published Cnn14."""

    sample_rate: int
    n_fft: int
    hop: int
    low_hz: float
    high_hz: float


FRONT_ENDS = {
    16_000: FrontEnd(16_000, 512, 160, 50.0, 8_000.0),
    32_000: FrontEnd(32_000, 1024, 320, 50.0, 14_000.0),
}
SOURCES = {16_000: CNN14_16K, 32_000: CNN14_32K}


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, then average pooling."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, maps: torch.Tensor, pool: int) -> torch.Tensor:
        """(B, channels_in, T, M) to (B, channels_out, T // pool, M // pool)."""
        maps = functional.relu_(self.bn1(self.conv1(maps)))
        maps = functional.relu_(self.bn2(self.conv2(maps)))
        return functional.avg_pool2d(maps, pool) if pool > 1 else maps


class Cnn14(nn.Module):
    """The network behind the mel spectrogram, with the parameter names of the published checkpoints.

    Those hold the mel filters too; they are used as stored.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.logmel_extractor = nn.Module()
        filters = slaney_filters(front_end.sample_rate, front_end.n_fft, _BANDS, front_end.low_hz, front_end.high_hz)
        self.logmel_extractor.register_buffer("melW", filters.clone())
        self.bn0 = nn.BatchNorm2d(_BANDS)
        widths = (1, 64, 128, 256, 512, 1024, 2048)
        for number, (narrow, wide) in enumerate(pairwise(widths), start=1):
            self.add_module(f"conv_block{number}", ConvBlock(narrow, wide))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, _CLASSES)

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, S) to embeddings (B, d), after the ReLU of ``fc1``, and logits (B, C)."""
        filters = self.logmel_extractor.get_buffer("melW")
        log_mel = log_mel_db(waveforms, self.front_end.n_fft, self.front_end.hop, filters)
        maps = self.bn0(log_mel.unsqueeze(1).transpose(1, 3)).transpose(1, 3)
        for number in range(1, 7):
            maps = self.get_submodule(f"conv_block{number}")(maps, 2 if number <= _POOLINGS else 1)
        over_time = maps.mean(dim=3)
        pooled = over_time.amax(dim=2) + over_time.mean(dim=2)
        embedding = functional.relu_(self.fc1(pooled))
        return embedding, self.fc_audioset(embedding)


class Cnn14Embedder(NetworkEmbedder):
    """Cnn14's 2048-d embedding and 527 AudioSet logits (the posteriors of KL are their softmax).

    Time is pooled by maximum plus mean, and a maximum grows with the duration: score windows of equal length.

    Args:
        weights: the published checkpoint or a path to it; None takes the published source of the rate.
        sample_rate: 16000 ("Cnn14_16k_mAP=0.438.pth", the one of text-to-audio papers) or 32000
            ("Cnn14_mAP=0.431.pth").
        device, batch_size, half: see :class:`~evaluation.embedders.network.NetworkEmbedder`.
    """

    outputs: tuple[Output, ...] = ("embedding", "logits")

    def __init__(
        self,
        weights: WeightSource | str | Path | None = None,
        *,
        sample_rate: int = 16_000,
        device: str = "cpu",
        batch_size: int = 8,
        half: bool = False,
    ) -> None:
        if sample_rate not in FRONT_ENDS:
            raise ValueError(f"sample_rate={sample_rate}; published Cnn14 checkpoints are for 16000 and 32000")
        source = SOURCES[sample_rate] if weights is None else weights
        super().__init__(source, device=device, batch_size=batch_size, half=half)
        self.front_end = FRONT_ENDS[sample_rate]
        self.name = f"cnn14-{sample_rate // 1000}k"

    @property
    def sample_rate(self) -> int:
        """16000 or 32000."""
        return self.front_end.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples that leave one frame after five poolings by two: 0.31 s."""
        return (2**_POOLINGS - 1) * self.front_end.hop

    def _front_end(self) -> str:
        return f"torchlibrosa log-mel 1, {self.front_end}"

    def _load(self, path: Path) -> nn.Module:
        state = dict(read_state_dict(path, entry="model"))
        take_stored_stft(state, "", self.front_end.n_fft, path)
        network = Cnn14(self.front_end)
        load_exactly(network, state, path)
        return network

    def _forward(self, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
        embedding, logits = self.network(waveforms)
        return {"embedding": embedding, "logits": logits}
