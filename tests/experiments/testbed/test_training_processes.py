"""A training in two processes learns what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import experiments.testbed.training.processes as processes
from experiments.testbed.models.unet import make_unet
from experiments.testbed.models.vae import make_vae
from experiments.testbed.plugin.load import WEIGHTS
from experiments.testbed.training.processes import own_rows

TRAIN = "experiments.testbed.training.train_unet"
WORDS = [
    "width=16",
    "clips=4",
    "clip_s=1.28",
    "frames=16",
    "batch_size=4",
    "steps=3",
    "checkpoint_every=2",
    "learning_rate=0.01",
]


def train(folder: Path, run: str, *launcher: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """The model and the lines of the record after three steps."""
    words = [f"run={folder / run}", f"vae={folder / 'vae'}", f"text={WEIGHTS}", f"cache={folder / 'cache'}", *WORDS]
    command = [sys.executable, *launcher, "-m", TRAIN, *words]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = torch.load(folder / run / "checkpoint.pt", weights_only=True)["model"]
    return model, [json.loads(line) for line in (folder / run / "record.jsonl").read_text().splitlines()]


def test_two_processes_learn_what_one_learns_and_one_of_them_writes(tmp_path: Path) -> None:
    make_vae((8, 16, 16)).save_pretrained(tmp_path / "vae")
    both, record = train(tmp_path, "both", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    one, plain = train(tmp_path, "one")
    start = make_unet((16, 32, 32)).state_dict()
    # Adam steps as far along a gradient that is rounding alone as along another, so single weights may differ.
    apart, moved = (sum((one[name] - other[name]).norm() ** 2 for name in one) for other in (both, start))
    assert apart < 1e-4 * moved
    assert [line.get("step") for line in record] == [line.get("step") for line in plain] == [None, 3]
    assert (record[0]["processes"], plain[0]["processes"]) == (2, 1)
    # Noise levels rise through a batch, so the loss of one half would be another.
    assert record[1]["loss"] == pytest.approx(plain[1]["loss"], rel=1e-4)


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_rows(3) == slice(0, 3)
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="batch_size=3 in 2 processes; give a multiple of 2"):
        own_rows(3)
