"""The UNet's shape, its initialisation, its export, and that its training survives a kill."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import experiments.testbed.training.train_unet as train_unet_module
from experiments.testbed.models.unet import TimeTaps, export_unet, load_stock_weights, make_unet, self_attentions
from experiments.testbed.models.vae import make_vae
from experiments.testbed.plugin.load import WEIGHTS
from experiments.testbed.training.loop import CHECKPOINT
from experiments.testbed.training.train_state import save_checkpoint
from experiments.testbed.training.train_unet import (
    TrainingData,
    UnetSettings,
    averaged_unet,
    draw_clips,
    initial_unet,
    make_scheduler,
    noise_levels,
    prepare_data,
    train_unet,
    two_event_clips,
)
from litefocus.sites import find_sites

SMALL = {"clips": 6, "frames": 16, "batch_size": 2, "checkpoint_every": 2}


def tiny_data() -> TrainingData:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).half()

    mask = torch.ones(7, 10, dtype=torch.uint8)
    return TrainingData(draw(6, 8, 20, 16), draw(7, 8, 64), draw(7, 10, 64), mask)


def text_inputs(batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "encoder_hidden_states": torch.randn(batch, 8, 64, generator=generator),
        "encoder_hidden_states_1": torch.randn(batch, 10, 64, generator=generator),
        "encoder_attention_mask_1": torch.ones(batch, 10, dtype=torch.long),
    }


def test_twelve_sites_at_the_eight_bin_level() -> None:
    sites = find_sites(make_unet())
    assert len(sites) == 12
    assert {site.name.split(".attentions")[0] for site in sites} == {"down_blocks.1", "up_blocks.1"}


def test_tie_makes_keys_equal_to_doubled_queries() -> None:
    tied, free = make_unet(seed=3), make_unet(seed=3, tied=False)
    for one, other in zip(self_attentions(tied), self_attentions(free), strict=True):
        assert torch.equal(one.to_q.weight, 2.0 * other.to_q.weight)
        assert torch.equal(one.to_k.weight, one.to_q.weight)
        assert not torch.equal(other.to_k.weight, other.to_q.weight)
        assert torch.equal(one.to_v.weight, other.to_v.weight)


def test_training_may_start_from_an_exported_unet(tmp_path: Path) -> None:
    trained = make_unet(seed=5)
    export_unet(trained).save_pretrained(tmp_path)
    started = initial_unet(UnetSettings(start=str(tmp_path), seed=6))
    for (name, wanted), got in zip(trained.state_dict().items(), started.state_dict().values(), strict=True):
        assert torch.equal(got, wanted), name
    with pytest.raises(ValueError, match=r"widths .32, 64, 64., asked are .16, 32, 32."):
        initial_unet(UnetSettings(start=str(tmp_path), width=16))


def test_a_unet_with_time_taps_is_no_start() -> None:
    stock = export_unet(make_unet(seed=5))
    with torch.no_grad():
        stock.mid_block.resnets[0].conv1.weight[0, 0, 2, 1] = 0.25
    with pytest.raises(ValueError, match=r"mid_block.resnets.0.conv1.weight has time taps up to 0.25"):
        load_stock_weights(make_unet(), stock)


@pytest.mark.parametrize(("time_taps", "levels"), [("none", set()), ("coarsest", {64}), ("all", {32, 64})])
def test_time_taps_are_kept_where_they_are_asked_for(time_taps: TimeTaps, levels: set[int]) -> None:
    unet = make_unet(time_taps=time_taps)
    convs = {name: m for name, m in unet.named_modules() if name.endswith((".conv1", ".conv2"))}
    kept = {name for name, conv in convs.items() if conv.kernel_size == (3, 3)}
    coarsest = {name for name in convs if name.startswith(("down_blocks.2", "mid_block", "up_blocks.0"))}
    assert kept == {"none": set(), "coarsest": coarsest, "all": set(convs)}[time_taps]
    assert {convs[name].out_channels for name in kept} == levels
    assert all(conv.kernel_size == (1, 3) for name, conv in convs.items() if name not in kept)
    assert {m.kernel_size for n, m in export_unet(unet).named_modules() if n in convs} == {(3, 3)}


def test_a_unet_without_time_taps_is_a_start_for_one_with_them_and_back_to_its_average(tmp_path: Path) -> None:
    stock = export_unet(make_unet(seed=5))
    stock.save_pretrained(tmp_path)
    started = initial_unet(UnetSettings(start=str(tmp_path), time_taps="all"))
    assert all(torch.equal(a, b) for a, b in zip(started.parameters(), stock.parameters(), strict=True))
    coarsest = initial_unet(UnetSettings(start=str(tmp_path), time_taps="coarsest"))
    checkpoint = {"model": coarsest.state_dict(), "ema": list(coarsest.parameters()), "step": 4}
    save_checkpoint(tmp_path / CHECKPOINT, checkpoint)
    averaged, step = averaged_unet(tmp_path)
    assert step == 4
    assert all(torch.equal(a, b) for a, b in zip(averaged.parameters(), stock.parameters(), strict=True))


def test_export_computes_the_same_with_stock_convolutions() -> None:
    unet = make_unet().eval()
    latents = torch.randn(1, 8, 24, 16, generator=torch.Generator().manual_seed(2))
    stock = export_unet(unet)
    with torch.no_grad():
        expected = unet(latents, 500, **text_inputs(1)).sample
        actual = stock(latents, 500, **text_inputs(1)).sample
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    kernel = stock.mid_block.resnets[0].conv1.weight
    assert kernel.shape[2:] == (3, 3)
    assert kernel[:, :, [0, 2]].abs().max() == 0.0


def test_resnets_alone_do_not_mix_time() -> None:
    resnet = make_unet().down_blocks[0].resnets[0].eval()
    x = torch.randn(1, 32, 8, 16, generator=torch.Generator().manual_seed(4))
    moved = x.clone()
    moved[:, :, 5] += 1.0
    resnet.norm1, resnet.norm2 = torch.nn.Identity(), torch.nn.Identity()  # group norms do mix, by statistics
    with torch.no_grad():
        change = (resnet(moved, torch.zeros(1, 128)) - resnet(x, torch.zeros(1, 128))).abs().amax((0, 1, 3))
    assert change[5] > 0.0
    assert change[[0, 1, 2, 3, 4, 6, 7]].max() == 0.0


def test_noise_levels_are_stratified_and_mostly_in_the_middle() -> None:
    settings = UnetSettings(batch_size=1000, middle_share=0.7)
    t = noise_levels(settings, torch.Generator().manual_seed(0))
    middle = ((t >= 400) & (t < 850)).float().mean().item()
    assert middle == pytest.approx(0.7 + 0.3 * 0.45, abs=0.01)
    assert t.min() >= 0
    assert t.max() <= 999


def test_pairs_are_drawn_more_often_and_otherwise_clips_are_drawn_as_before() -> None:
    settings = UnetSettings(batch_size=4000, pair_share=0.6)
    generator = torch.Generator().manual_seed(0)
    natural = len(two_event_clips(200)) / 200
    assert natural == pytest.approx(0.55, abs=0.08)  # "while" and "then" of the corpus: 38% and 17%
    drawn = draw_clips(200, settings, generator)
    paired = torch.isin(drawn, two_event_clips(200)).float().mean().item()
    assert paired == pytest.approx(0.6 + 0.4 * natural, abs=0.02)
    assert len(drawn.unique()) == 200
    as_before = torch.randint(200, (4000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw_clips(200, replace(settings, pair_share=0.0), torch.Generator().manual_seed(0)), as_before)


def test_schedule_ends_in_pure_noise() -> None:
    assert make_scheduler().alphas_cumprod[-1] == 0.0


def test_a_checkpoint_of_other_settings_is_refused_and_more_steps_go_on(tmp_path: Path) -> None:
    data, settings = tiny_data(), UnetSettings(run=str(tmp_path), steps=1, **SMALL)
    train_unet(settings, data)
    with pytest.raises(ValueError, match="other settings; delete it"):
        train_unet(replace(settings, learning_rate=0.5), data)
    train_unet(replace(settings, steps=2), data)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 2
    del checkpoint["fingerprint"]
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="other settings; delete it"):
        train_unet(settings, data)


def test_a_unet_is_compiled_where_asked_and_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    plain = train_unet(UnetSettings(run=str(tmp_path / "plain"), steps=1, **SMALL), tiny_data())
    assert compiled == []
    asked = train_unet(UnetSettings(run=str(tmp_path / "asked"), steps=1, compile=True, **SMALL), tiny_data())
    assert compiled == [asked]
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), asked.parameters(), strict=True))


def test_training_data_are_named_after_what_made_them(tmp_path: Path) -> None:
    make_vae((8, 16, 16)).save_pretrained(tmp_path / "vae")
    settings = UnetSettings(vae=str(tmp_path / "vae"), text=str(WEIGHTS), cache=str(tmp_path), clips=2, clip_s=0.512)
    first = prepare_data(settings).latents
    assert torch.equal(prepare_data(settings).latents, first)
    longer = prepare_data(replace(settings, clip_s=1.024)).latents
    assert (first.shape, longer.shape) == ((2, 8, 8, 16), (2, 8, 16, 16))
    make_vae((8, 16, 16), seed=1).save_pretrained(tmp_path / "vae")
    assert not torch.equal(prepare_data(settings).latents, first)
    assert len(list(tmp_path.glob("latents_2_*.safetensors"))) == 3


def test_a_start_counts_by_its_weights_and_the_record_names_no_folder(tmp_path: Path) -> None:
    for name, seed in (("first", 5), ("moved", 5), ("other", 6)):
        export_unet(make_unet((16, 32, 32), seed=seed)).save_pretrained(tmp_path / name)

    def run(start: str) -> None:
        settings = UnetSettings(run=str(tmp_path / "run"), start=str(tmp_path / start), width=16, steps=1, **SMALL)
        train_unet(settings, tiny_data())

    run("first")
    run("moved")
    with pytest.raises(ValueError, match="other settings; delete it"):
        run("other")
    assert str(tmp_path) not in (tmp_path / "run" / "record.jsonl").read_text()


def test_killed_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data()
    whole = train_unet(UnetSettings(run=str(tmp_path / "whole"), steps=5, **SMALL), data)
    original = train_unet_module.unet_loss

    calls: list[int] = []

    def dying_loss(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of step 2: the third step is lost and must be repeated exactly
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    killed = UnetSettings(run=str(tmp_path / "killed"), steps=5, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(train_unet_module, "unet_loss", dying_loss)
        with pytest.raises(KeyboardInterrupt):
            train_unet(killed, data)
    resumed = train_unet(killed, data)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
