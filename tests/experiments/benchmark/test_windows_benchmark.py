"""The benchmark of exact windows: its calls are the models' own, its records and tables hold every arm."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.benchmark import windows
from experiments.records import CellRecord, RoundRecord, RunRecord, of_kind, read_records
from experiments.system.cli import CONF_DIR
from litefocus.long_audio.windows import BandMask

TINY = {
    "same": [
        *("+model.encoder_channels=16", "+model.dim_heads=16", "+model.latent_dim=8"),
        "+model.encoder_transformer_depths=[2]",
    ],
    "ace_step": [
        *("+model.hidden_size=32", "+model.num_attention_heads=4", "+model.num_key_value_heads=2"),
        *("+model.head_dim=8", "+model.intermediate_size=64", "+model.sliding_window=16"),
    ],
}
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")


def configured(group: str, *overrides: str) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("windows", [f"windows={group}", *TINY[group], *overrides])


@pytest.mark.parametrize(("group", "half_width", "tokens"), [("same", 17, 17 * 54), ("ace_step", 16, 63)])
def test_the_calls_are_those_of_the_model(group: str, half_width: int, tokens: int) -> None:
    windowed = windows.load_windowed(configured(group))
    captured = {}
    for arm in ("dense", "windows"):
        for level in ("op", "layer"):
            captured[arm, level] = windows.arm_call(windowed, arm, level, 5)()
    assert captured["dense", "op"].shape[2] == tokens
    for level in ("op", "layer"):
        ours, stock = captured["windows", level], captured["dense", level]
        assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()
    masks = []
    original = BandMask.__init__

    def seen(self: BandMask, length: int, width: int) -> None:
        masks.append((length, width))
        original(self, length, width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BandMask, "__init__", seen)
        windows.arm_call(windowed, "windows", "op", 5)
    assert masks == [(tokens, half_width)]


def test_the_random_state_is_left_alone_and_equal_seeds_give_equal_weights() -> None:
    before = torch.random.get_rng_state()
    first, second = (windows.load_windowed(configured("same")).model for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_run_records_every_arm_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cells = "cells=[{level:decode,duration_s:2,rounds:ROUNDS,arms:[dense,windows,windows_in_chunks]}]"
    windows.benchmark_windows(configured("same", f"out_dir={tmp_path}", cells.replace("ROUNDS", "1")))
    text = windows.benchmark_windows(configured("same", f"out_dir={tmp_path}", cells.replace("ROUNDS", "3")))
    records = read_records(tmp_path)
    rounds = of_kind(records, RoundRecord)
    assert len(rounds) == 3
    assert all(list(r.latencies_s) and {"dense", "windows", "windows_in_chunks"} < set(r.latencies_s) for r in rounds)
    cell = of_kind(records, CellRecord)[-1]
    assert set(cell.error) == {"windows", "windows_in_chunks"}
    assert all(0 < error < 1e-5 for error in cell.error.values() if error is not None)
    assert of_kind(records, RunRecord)[-1].pipeline["config"]["encoder_channels"] == 16
    assert "exact windows, 128 latents at a time" in text


def test_a_mask_that_does_not_fit_is_named_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "available_gib", lambda _: 0.001)
    cells = "cells=[{level:decode,duration_s:5,rounds:1,again:false,arms:[dense,windows,windows_in_chunks]}]"
    text = windows.benchmark_windows(configured("same", f"out_dir={tmp_path}", cells))
    cell = of_kind(read_records(tmp_path), CellRecord)[-1]
    assert cell.skipped == {"dense": "needs 0.014 GiB for its mask, 0.001 GiB are free"}
    assert cell.baseline == "windows"
    assert "needs 0.014 GiB for its mask" in text


def test_a_level_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cell wave/eager: accepted are levels op, layer, decode, denoiser"):
        windows.benchmark_windows(configured("same", f"out_dir={tmp_path}", "cells=[{level:wave,duration_s:5}]"))
