"""Run folders made by earlier commits resume: names of code moved since, what was made did not."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.matrix.composition import with_composed_methods
from experiments.records import ClipRecord, RunRecord, of_kind, read_records
from experiments.records.folder import check_same_settings
from experiments.run import run
from experiments.system.cli import CONF_DIR
from experiments.testbed.plugin.load import load_on_cpu

ROOT = Path(__file__).resolve().parents[2]
# By commit c3a3b23, with the overrides below: python -m experiments.run +method@methods.dense=dense ...
EARLIER = Path(__file__).parent / "made_at_c3a3b23"
EARLIER_WEIGHTS = "sha256:ba500054dfb8a52e0c7bce5cf9998e984f92f38f6c64a21b7ad4b323ed2110c2"
METHODS = ("dense", "litefocus", "linear_dpm", "uniform")
SAME = ["name=made_earlier", "durations=[1.28]", "steps=2", "data.count=1", "stages=[generate]", "threads=1"]


def composed(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("config", overrides=list(overrides))


def asked(run_dir, *changes):
    methods = [f"+method@methods.{name}={name}" for name in METHODS]
    return composed(*methods, *SAME, f"out_dir={run_dir}", *changes)


def test_a_run_folder_made_before_the_code_moved_resumes_without_making_a_clip_again(tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(EARLIER, run_dir)
    # The testbed's weights have been replaced since, for which a folder is rightly refused; here only the code is old.
    records = run_dir / "records.jsonl"
    text = records.read_text()
    assert EARLIER_WEIGHTS in text
    with pytest.raises(ValueError, match=f"made with weights {EARLIER_WEIGHTS}"):
        run(asked(run_dir))
    records.write_text(text.replace(EARLIER_WEIGHTS, load_on_cpu("").weights))
    before = of_kind(read_records(run_dir), ClipRecord)
    assert len(before) == 3  # uniform attention is for timing only
    run(asked(run_dir))
    after = read_records(run_dir)
    assert of_kind(after, ClipRecord) == before
    assert len(of_kind(after, RunRecord)) == 2
    with pytest.raises(ValueError, match=r"method litefocus.patch.config.sparse_ratio was 0.1, now 0.2"):
        run(asked(run_dir, "methods.litefocus.patch.config.sparse_ratio=0.2"))


@pytest.mark.parametrize(
    ("folder", "sweep"),
    [
        ("levers", "levers"),
        ("third_study_peers", "peers"),
        ("third_study_levers", "levers"),
        ("third_study_levers_8x", "levers"),
        ("controls", "controls"),
        ("third_study", "testbed"),
        ("third_study_controls", "controls"),
        ("third_study_sparsity", "sparsity"),
        ("testbed", "testbed"),
        ("testbed_sparsity", "sparsity"),
        ("latency_cpu", "latency"),
    ],
)
def test_the_committed_runs_were_made_with_the_settings_that_their_sweeps_have_today(folder, sweep):
    runs = of_kind(read_records(ROOT / "results" / folder), RunRecord)
    config = OmegaConf.to_container(with_composed_methods(composed(f"+sweep={sweep}")), resolve=True)
    config["pipeline"] = runs[-1].config["pipeline"]
    assert set(runs[-1].config["methods"]) & set(config["methods"])
    check_same_settings(runs[-1:], config)
