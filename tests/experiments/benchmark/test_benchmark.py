"""The benchmark: arms that share weights, exactness of every exact arm, rounds that survive a kill, rows by hand."""

import importlib.util
import math
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from ratio_material import times_faster
from scipy.stats import ttest_1samp

import experiments.benchmark.run as benchmark
import experiments.stages.arms as arms
from experiments.benchmark.arms import level_call, method_of, op_call, op_error, relative_error, run_pipeline
from experiments.benchmark.module_profile import module_shares
from experiments.benchmark.report import benchmark_report
from experiments.pipelines.untrained import build_untrained
from experiments.readme import fill_blocks
from experiments.records import CellRecord, RoundRecord, RunRecord, of_kind, read_records
from experiments.stages.arms import open_arm, unet_step
from experiments.system.cli import CONF_DIR
from experiments.tables.benchmark_tables import arm_rows, benchmark_tables
from experiments.tables.formats import NO_INTERVAL, OF_TIMES, Estimate, to_markdown
from litefocus import TokenGrid
from litefocus.cost import unet_step_cost

METHODS = sorted(path.stem for path in (CONF_DIR / "method").glob("*.yaml"))
PEERS = {"deepcache_2": "DeepCache", "tomesd": "tomesd"}
SLOW = {"litefocus_flex"}  # generates and compiles C++
GRIDS = sorted(path.stem for path in (CONF_DIR / "grid").glob("*.yaml"))


@pytest.fixture(autouse=True)
def hydra_configuration() -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        yield


@pytest.fixture(scope="module")
def pipeline() -> Any:
    options: Any = {"name": "tiny", "seed": 0, "size": "tiny", "trained": False, "training_length_s": 10.24}
    return build_untrained(torch.device("cpu"), torch.float32, **options)


def slow_ones_marked(names: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


def has_its_package(name: str) -> bool:
    return name not in PEERS or importlib.util.find_spec(PEERS[name]) is not None


@pytest.mark.parametrize("name", slow_ones_marked(filter(has_its_package, METHODS)))
def test_every_exact_arm_agrees_with_the_float64_oracle_on_fresh_inputs(pipeline: Any, name: str) -> None:
    method, _ = method_of(name)
    with ExitStack() as stack:
        arm = open_arm(stack, method, pipeline, "eager")
        if op_call(arm, 1.28, 2) is None:
            pytest.skip("does not change the attention of a site")
        error = op_error(arm, TokenGrid(37, 8))
    if method.approximate or method.timing_only:
        assert error is None
    else:
        assert error is not None
        assert error < 2e-6


TWINS = [name for name in METHODS if name.startswith(("lever", "dense_", "litefocus_", "no_att")) and name not in SLOW]


@pytest.mark.parametrize("name", TWINS)
def test_twins_give_the_same_step(pipeline: Any, name: str) -> None:
    method, _ = method_of(name)
    if not method.same_output_as:
        pytest.skip("equals no other method")
    outputs = []
    for each in (method, method_of(method.same_output_as)[0]):
        with ExitStack() as stack:
            outputs.append(unet_step(open_arm(stack, each, pipeline, "eager").pipeline, 1.28)())
    assert 0 <= relative_error(*outputs) < 1e-4


def test_arms_share_weights_and_leave_the_pipeline_alone(pipeline: Any) -> None:
    before = unet_step(pipeline, 1.28)()
    with ExitStack() as stack:
        arms = [open_arm(stack, method_of(name)[0], pipeline, "eager") for name in ("dense_optimized", "no_attention")]
        pointers = [[p.data_ptr() for p in arm.pipeline.pipe.unet.parameters()] for arm in arms]
        assert pointers[0] == pointers[1] == [p.data_ptr() for p in pipeline.pipe.unet.parameters()]
        assert torch.equal(unet_step(pipeline, 1.28)(), before)
        assert not torch.equal(unet_step(arms[1].pipeline, 1.28)(), before)
    assert torch.equal(unet_step(pipeline, 1.28)(), before)


def test_the_loop_ends_with_latents_and_the_wave_with_samples(pipeline: Any) -> None:
    with ExitStack() as stack:
        arm = open_arm(stack, method_of("litefocus")[0], pipeline, "eager")
        loop, wave = (level_call(arm, level, 1.28, steps=1, batch=2) for level in ("loop", "wave"))
        assert loop is not None
        assert wave is not None
        assert loop().audios.shape == (1, 8, 32, 16)
        assert len(wave()[0].samples) == round(1.28 * 16000)


def configuration(tmp_path: Path, *overrides: str) -> Any:
    config = compose("benchmark", overrides=["+grid=smoke", *overrides])
    config.out_dir = str(tmp_path / "run")
    return config


def test_its_own_configuration_loads_the_pipeline(tmp_path: Path) -> None:
    pipeline = benchmark.load_pipeline(configuration(tmp_path))
    assert pipeline.name == "audioldm2_untrained"
    assert pipeline.decode_in_chunks is not None


def test_a_killed_run_loses_one_round_and_goes_on(tmp_path: Path, pipeline: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(benchmark, "load_pipeline", lambda config: pipeline)
    cells = "cells=[{level: op, duration_s: 1.28, rounds: 3, warmup: 0, arms: [dense, litefocus, no_attention]}]"
    config = configuration(tmp_path, cells)
    real, calls = benchmark.working_memory_gib, []

    def dies_in_the_second_round(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:  # of four arms a round
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(benchmark, "working_memory_gib", dies_in_the_second_round)
    with pytest.raises(KeyboardInterrupt):
        benchmark.benchmark(config)
    run_dir = Path(config.out_dir)
    assert len(of_kind(read_records(run_dir), RoundRecord)) == 1
    text = benchmark.benchmark(config)
    rounds = of_kind(read_records(run_dir), RoundRecord)
    assert len(rounds) == 3
    assert all(set(r.latencies_s) == {"dense", "dense_again", "litefocus", "no_attention"} for r in rounds)
    assert "LiteFocus" in text
    assert (
        fill_blocks("<!-- results:run/op_eager -->\n<!-- /results:run/op_eager -->", tmp_path).count("LiteFocus") == 1
    )
    count = len(read_records(run_dir))
    benchmark.benchmark(config)
    assert len(of_kind(read_records(run_dir), RoundRecord)) == 3
    assert len(read_records(run_dir)) == count + 1
    config.batch = 4
    with pytest.raises(ValueError, match=r"was measured with \{'batch': 2\}"):
        benchmark.benchmark(config)


def cell_record(**changes: Any) -> CellRecord:
    values: dict[str, Any] = {
        **{"run_id": "r", "level": "step", "duration_s": 10.0, "regime": "eager", "batch": 2, "steps": 1},
        **{"baseline": "dense", "limit": "limit", "setup_s": {}, "error": {}, "backend": "b"},
        "labels": {"dense": "Dense", "fast": "Fast", "limit": "Limit", "naive": "Naive"},
        "approximate": ["fast"],
        "flops": {"dense": 8_000_000_000, "fast": 4_000_000_000},
        "scores": {},
        "skipped": {"naive": "too big"},
    }
    return CellRecord(**{**values, **changes})


def round_record(dense: float, fast: float, limit: float, probe: float) -> RoundRecord:
    latencies = {"dense": dense, "fast": fast, "limit": limit}
    return RoundRecord("r", "step", 10.0, "eager", latencies, dict.fromkeys(latencies, 0.5), probe, 0.1)


@pytest.mark.parametrize(("level", "rows"), [("step", 4), ("loop", 2)])
def test_loops_count_the_two_rows_that_they_run_whatever_the_batch(
    tmp_path: Path, pipeline: Any, monkeypatch: Any, level: str, rows: int
) -> None:
    monkeypatch.setattr(benchmark, "load_pipeline", lambda config: pipeline)
    asked: list[int] = []
    monkeypatch.setattr(arms, "materialised_gib", lambda pipeline, duration_s, batch: asked.append(batch) or 0.0)
    cell = f"{{level: {level}, duration_s: 1.28, rounds: 1, warmup: 0, steps: 1, check: false, arms: [dense, naive]}}"
    benchmark.benchmark(configuration(tmp_path, f"cells=[{cell}]", "batch=4"))
    (record,) = of_kind(read_records(tmp_path / "run"), CellRecord)
    assert (record.batch, asked) == (rows, [rows])
    grid = TokenGrid(*pipeline.latent_grid(1.28))
    assert record.flops["dense"] == unet_step_cost(pipeline.pipe, grid, rows, "dense").total


def test_rows_by_hand() -> None:
    rounds = [round_record(4, 2, 1, 10), round_record(6, 2, 1, 20), round_record(9, 3, 1, 40)]
    rows = {row.arm: row for row in arm_rows([cell_record(), *rounds])}
    assert list(rows) == ["dense", "fast", "limit", "naive"]
    fast = rows["fast"]
    assert fast.label == "Fast (approximate)"
    assert (fast.latency_s, fast.rounds, fast.speedup) == (2, 3, times_faster(2, 3, 3))
    # Shares 2/3, 4/5, 6/8 of the way; 2, 2 and 4/3 GFLOP/s of probes 10, 20, 40.
    assert fast.share_of_limit is not None
    interval = ttest_1samp([2 / 3, 4 / 5, 6 / 8], 0).confidence_interval()
    assert fast.share_of_limit == pytest.approx((133 / 180, interval.low, interval.high))
    assert (fast.gflops_per_s, fast.probe_share) == (2, 0.1)
    assert (rows["naive"].note, rows["naive"].latency_s) == ("too big", None)


def test_ratios_by_length_have_an_interval_only_over_several_rounds() -> None:
    cells = [cell_record(), cell_record(duration_s=20.0, labels={"dense": "Dense", "fast": "Fast"}, skipped={})]
    long = replace(round_record(10, 4, 1, 10), duration_s=20.0)
    records = [cells[0], cells[1], round_record(4, 2, 1, 10), round_record(6, 2, 1, 20), long]
    machine = {
        "commit": None,
        "dirty": None,
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "packages": {"torch": "2"},
    }
    run = RunRecord("r", "now", {"keep_freed_memory": False}, machine, {"name": "p", "trained": True}, [])
    table = {table.name: table for table in benchmark_tables([run, *records])}["step_eager_speedup"]
    assert table.header == ["arm", "10 s (5 s/call)", "20 s (10 s/call)"]
    rows = {str(row[0]): row[1:] for row in table.rows}
    several, single = rows["Fast (approximate)"]
    assert isinstance(several, Estimate)
    assert (several.value, several.low, several.high) == times_faster(2, 3)
    assert isinstance(single, Estimate)
    assert single.value == pytest.approx(2.5)
    assert math.isnan(single.low)
    assert rows["Limit"][1] is None
    line = next(line for line in to_markdown(table).splitlines() if line.startswith("| Fast"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["2 [0, 32]", "2.50"]
    assert list(table.notes[:2]) == [OF_TIMES, NO_INTERVAL]


def test_an_arm_whose_package_is_missing_is_skipped_and_said_so(
    tmp_path: Path, pipeline: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(benchmark, "load_pipeline", lambda config: pipeline)
    monkeypatch.setitem(sys.modules, "tomesd", None)
    cells = "cells=[{level: step, duration_s: 1.28, rounds: 1, warmup: 0, arms: [dense, tomesd]}]"
    text = benchmark.benchmark(configuration(tmp_path, cells))
    assert "the arm needs the package tomesd: pip install -e '.[peers]'" in text


@pytest.mark.parametrize("name", [name for name in PEERS if has_its_package(name)])
def test_peers_change_the_loop_and_leave_nothing_behind(pipeline: Any, name: str) -> None:
    before = run_pipeline(pipeline, 1.28, 4, decode=False).audios
    with ExitStack() as stack:
        arm = open_arm(stack, method_of(name)[0], pipeline, "eager")
        state = [sorted(vars(module)) for module in pipeline.pipe.unet.modules()]
        assert relative_error(run_pipeline(arm.pipeline, 1.28, 4, decode=False).audios, before) > 1e-4
    assert torch.equal(run_pipeline(arm.pipeline, 1.28, 4, decode=False).audios, before)
    assert not any("forward" in vars(module) for module in arm.pipeline.pipe.unet.modules())
    assert [sorted(vars(module)) for module in pipeline.pipe.unet.modules()] == state


def test_a_folder_without_rounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished round to report"):
        benchmark_report(tmp_path)


def test_shares_are_self_times_by_kind_of_module(pipeline: Any, monkeypatch: Any) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("experiments.benchmark.module_profile.now", lambda device: next(ticks))
    runs: list[str] = []
    unet = pipeline.pipe.unet
    handles = [m.register_forward_hook(lambda m, *_: runs.append(type(m).__name__)) for m in unet.modules()]
    shares = module_shares(pipeline, unet_step(pipeline, 1.28))
    for handle in handles:
        handle.remove()
    # One tick at every entry and exit: a module takes 1 and 1 more per child (an upsampling has one, its convolution),
    # the whole forward 2 per module less 1.
    convolutions = runs.count("Conv2d") + 2 * runs.count("Upsample2D")
    assert runs.count("Upsample2D") > 0
    assert shares["convolutions"] == pytest.approx(convolutions / (2 * len(runs) - 1))
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_are_valid_cells_of_known_methods(name: str) -> None:
    config = compose("benchmark", overrides=[f"+grid={name}"])
    cells = [benchmark.check_cell({**config.cell, **cell}) for cell in config.cells]
    assert {arm for cell in cells for arm in cell["arms"]} <= set(METHODS)
    assert {arm for cell in cells for arm in cell["profile"]} <= set(METHODS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "kernel"}, "accepted are levels op, step, loop, wave"),
        ({"regime": "fast"}, "accepted are levels"),
        ({"arms": ["litefocus"]}, "contain the baseline 'dense'"),
        ({"arms": ["dense", "dense"]}, "must be distinct"),
        ({"rounds": 0}, "be at least 1"),
    ],
)
def test_bad_cells(change: dict[str, Any], message: str) -> None:
    config = compose("benchmark")
    with pytest.raises(ValueError, match=message):
        benchmark.check_cell({**config.cell, **change})
