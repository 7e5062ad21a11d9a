"""The training program: stages in order, finished ones skipped, wrong names refused."""

from pathlib import Path

import pytest

import experiments.testbed.training.train as train_module
from experiments.testbed.training.train import SIZES, Stage, TrainSettings, plan, train

NAMES = ["text", "vae", "unet", "vocoder", "classifier", "clap", "assemble"]


def test_every_size_has_all_stages_in_order_of_dependence(tmp_path: Path) -> None:
    for size in SIZES:
        assert [stage.name for stage in plan(TrainSettings(root=str(tmp_path), size=size))] == NAMES


def test_finished_stages_are_skipped_and_chosen_ones_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def make(name: str) -> None:
        ran.append(name)
        (tmp_path / name).mkdir(exist_ok=True)

    stages = [Stage(name, tmp_path / name, lambda name=name: make(name)) for name in NAMES]
    monkeypatch.setattr(train_module, "plan", lambda settings: stages)
    train(TrainSettings(root=str(tmp_path), stages="vae"))
    train(TrainSettings(root=str(tmp_path), stages="vae,unet"))
    assert ran == ["vae", "unet"]
    train(TrainSettings(root=str(tmp_path)))
    assert ran[2:] == [name for name in NAMES if name not in ("vae", "unet")]
    train(TrainSettings(root=str(tmp_path)))
    assert ran[7:] == ["assemble"]


def test_a_stage_that_died_while_it_wrote_its_output_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def half() -> None:
        (tmp_path / "vae").mkdir(exist_ok=True)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "plan", lambda settings: [Stage("vae", tmp_path / "vae", half)])
    with pytest.raises(KeyboardInterrupt):
        train(TrainSettings(root=str(tmp_path)))
    train(TrainSettings(root=str(tmp_path)))
    train(TrainSettings(root=str(tmp_path)))
    assert len(calls) == 2


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accepted are cpu, gpu"):
        plan(TrainSettings(root=str(tmp_path), size="huge"))
    with pytest.raises(ValueError, match="vae"):
        train(TrainSettings(root=str(tmp_path), stages="unets"))


def test_the_recipe_reaches_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    for name in ("text", "vae", "unet", "classifier", "clap"):
        monkeypatch.setattr(train_module, f"train_{name}", lambda settings, name=name: seen.update({name: settings}))
    for stage in plan(TrainSettings(root=str(tmp_path), seed=3))[:-1]:
        stage.run()
    assert (seen["unet"].clips, seen["unet"].batch_size, seen["unet"].steps) == (12_000, 8, 6000)
    assert (seen["classifier"].clips, seen["classifier"].steps, seen["clap"].steps) == (49_152, 6200, 2800)
    assert {settings.seed for settings in seen.values()} == {3}
    assert seen["classifier"].vae == seen["unet"].vae == str(tmp_path / "vae" / "vae")
