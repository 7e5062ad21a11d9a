"""What the trainings of the two judges share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.system.files import sha256_file
from experiments.testbed.models.judges_data import (
    TRAIN_FIRST_SEED,
    ClipSet,
    corpus_version,
    render_clips,
    round_trip_settings,
    with_round_trips,
)
from experiments.testbed.training.loop import TrainingSettings


@dataclass(frozen=True)
class JudgeSettings(TrainingSettings):
    """What the trainings of the judges share.

    Attributes:
        cache: rendered clips.
        vocoder, vae: folders, or empty; with them `round_trips` clips are added as they come back from the two.
        start: weights to start from, empty for random ones.
    """

    cache: str = "runs/testbed/clips"
    vocoder: str = ""
    vae: str = ""
    clips: int = 12288
    round_trips: int = 2048
    start: str = ""

    def sources(self) -> Sequence[ClipSet]:
        """The training clips, then, where there are any, those that come back from VAE and vocoder."""
        root = Path(self.cache)
        clips = render_clips(root, "train", self.clips, TRAIN_FIRST_SEED)
        return with_round_trips(root, clips, self.vocoder, self.vae, self.round_trips)

    def data(self, start: Path | None) -> dict[str, int | str]:
        """What the training depends on besides its schedule; `start` is the file of weights that it starts from."""
        data: dict[str, int | str] = {"corpus": corpus_version(), "clips": self.clips, "batch_size": self.batch_size}
        data |= round_trip_settings(self.vocoder, self.vae, self.round_trips)
        return data | ({"start": sha256_file(start)[:12]} if start else {})
