"""The training loop: a killed and restarted run ends bit-equal; wrong checkpoints and losses are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from experiments.testbed.training.judges_training import Schedule, save_half, seeded, train

SCHEDULE = Schedule(steps=9, learning_rate=1e-2, warmup_steps=2, checkpoint_every=2)


def tiny_model() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)), seed=3)


def run(folder: Path, killed_at: int | None = None, schedule: Schedule = SCHEDULE) -> tuple[nn.Module, dict]:
    model, calls = tiny_model(), 0

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 4, generator=generator)
        return {"total": (model(x) - x.sum(1, keepdim=True)).square().mean()}

    return model, train(model, losses, schedule, folder, {"data": 1})


@pytest.mark.parametrize("killed_at", [1, 4, 9])
def test_a_killed_run_ends_bit_equal_to_an_undisturbed_one(tmp_path: Path, killed_at: int) -> None:
    undisturbed, record = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", killed_at)
    resumed, record_b = run(tmp_path / "b")
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert record["losses"] == record_b["losses"]
    assert [row["step"] for row in record["losses"]] == [2, 4, 6, 8, 9]


def test_every_step_sees_other_data_and_a_resumed_one_goes_on_where_it_was(tmp_path: Path) -> None:
    seen: list[float] = []
    model = tiny_model()

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        if len(seen) == 5:
            seen.append(0.0)
            raise KeyboardInterrupt
        x = torch.randn(4, 4, generator=generator)
        seen.append(x[0, 0].item())
        return {"total": model(x).square().mean()}

    with pytest.raises(KeyboardInterrupt):
        train(model, losses, SCHEDULE, tmp_path, {})
    train(model, losses, SCHEDULE, tmp_path, {})
    before, after = seen[:5], seen[6:]
    assert len(set(before)) == 5
    assert after[0] == before[4]
    assert len(set(before) | set(after)) == 9


def test_training_reduces_the_loss_and_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    model, record = run(tmp_path, schedule=Schedule(steps=200, learning_rate=2e-2, warmup_steps=5, checkpoint_every=20))
    assert torch.equal(before, torch.get_rng_state())
    assert record["losses"][-1]["total"] < 0.2 * record["losses"][0]["total"]
    assert not model.training
    written = json.loads((tmp_path / "training_record.json").read_text())
    assert written["parameters"] == 4 * 8 + 8 + 16 + 8 + 1
    assert written["settings"] == {"data": 1}


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match="other settings; delete it"):
        run(tmp_path, schedule=Schedule(steps=9, learning_rate=2e-2, warmup_steps=2, checkpoint_every=2))


def test_a_loss_that_is_not_finite_stops_the_run_before_it_reaches_a_checkpoint(tmp_path: Path) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="step 0: the loss is nan"):
        train(model, lambda _: {"total": model(torch.full((2, 4), torch.nan)).mean()}, SCHEDULE, tmp_path, {})
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_learning_rate_warms_up_peaks_and_decays_to_one_percent() -> None:
    schedule = Schedule(steps=1000, learning_rate=1.0, warmup_steps=100)
    assert schedule.rate_at(0) == pytest.approx(0.01)
    assert schedule.rate_at(500) == pytest.approx(0.01 + 0.99 * 0.5)
    assert schedule.rate_at(1000) == pytest.approx(0.01)


def test_saved_weights_are_half_precision_but_integers_stay(tmp_path: Path) -> None:
    model = tiny_model()
    save_half(model, tmp_path / "m.safetensors")
    saved = load_file(tmp_path / "m.safetensors")
    assert saved["0.weight"].dtype == torch.float16
    assert saved["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(saved["0.weight"].float(), model.state_dict()["0.weight"].half().float())
