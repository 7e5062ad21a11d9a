"""The training loop: a killed and restarted run ends bit-equal; wrong checkpoints and losses are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from experiments.testbed.training.loop import Schedule, seeded, train
from experiments.testbed.training.train_state import save_half

SCHEDULE = Schedule(steps=9, learning_rate=1e-2, warmup_steps=2, checkpoint_every=2, record_every=2)


def tiny_model() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)), seed=3)


def run(
    folder: Path, killed_at: int | None = None, schedule: Schedule = SCHEDULE
) -> tuple[nn.Module, dict[int, float]]:
    model, calls = tiny_model(), 0

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 4, generator=generator)
        return {"total": (model(x) - x.sum(1, keepdim=True)).square().mean()}

    train(model, losses, schedule, folder, {"data": 1})
    return model, points(folder)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


def points(folder: Path) -> dict[int, float]:
    """Step -> mean loss; after a restart a step's newest counts."""
    return {line["step"]: line["loss"] for line in lines(folder) if "step" in line}


@pytest.mark.parametrize("killed_at", [1, 4, 9])
def test_a_killed_run_ends_bit_equal_to_an_undisturbed_one(tmp_path: Path, killed_at: int) -> None:
    undisturbed, record = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", killed_at)
    resumed, record_b = run(tmp_path / "b")
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert record == record_b
    assert list(record) == [2, 4, 6, 8, 9]


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
    model, record = run(tmp_path, schedule=Schedule(steps=200, learning_rate=2e-2, warmup_steps=5, record_every=20))
    assert torch.equal(before, torch.get_rng_state())
    assert record[200] < 0.2 * record[20]
    assert not model.training
    written = lines(tmp_path)[0]
    assert written["parameters"] == 4 * 8 + 8 + 16 + 8 + 1
    assert written["settings"] == {"data": 1}


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match="other settings; delete it"):
        run(
            tmp_path, schedule=Schedule(steps=9, learning_rate=2e-2, warmup_steps=2, checkpoint_every=2, record_every=2)
        )


def test_more_steps_go_on_and_the_average_is_what_is_left(tmp_path: Path) -> None:
    def losses(model: nn.Module) -> Any:
        return lambda g: {"total": (model(torch.randn(32, 4, generator=g)) - 1.0).square().mean()}

    short, long, averaged = tiny_model(), tiny_model(), tiny_model()
    schedule = Schedule(steps=2, learning_rate=1e-2, warmup_steps=2, decay="linear")
    train(short, losses(short), schedule, tmp_path / "a", {})
    train(long, losses(long), replace(schedule, steps=4), tmp_path / "a", {})
    assert list(points(tmp_path / "a")) == [2, 4]
    assert not torch.equal(short[0].weight, long[0].weight)
    train(averaged, losses(averaged), replace(schedule, steps=2), tmp_path / "b", {}, ema_decay=0.999)
    start = tiny_model()[0].weight
    assert (averaged[0].weight - short[0].weight).abs().max() < (start - short[0].weight).abs().max()
    assert not torch.equal(averaged[0].weight, short[0].weight)


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
    linear = replace(schedule, decay="linear")
    rates = [linear.rate_at(step) for step in (0, 99, 500, 850, 1000)]
    assert rates == pytest.approx([0.01, 1.0, 1.0, 0.5, 0.0])


def test_saved_weights_are_half_precision_but_integers_stay(tmp_path: Path) -> None:
    model = tiny_model()
    save_half(model, tmp_path / "m.safetensors")
    saved = load_file(tmp_path / "m.safetensors")
    assert saved["0.weight"].dtype == torch.float16
    assert saved["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(saved["0.weight"].float(), model.state_dict()["0.weight"].half().float())
