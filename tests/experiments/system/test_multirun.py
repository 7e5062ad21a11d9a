"""-m as one study: which conditions a command line gives, which words are refused, and what a launcher is told."""

import shlex
import sys
import tomllib

import pytest

from experiments import run as program
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import build_methods, expand_conditions
from experiments.records import ClipRecord, RunRecord, of_kind, read_records
from experiments.system.cli import CONF_DIR, check_overrides
from experiments.system.multirun import PLUGINS, check_launcher, study_of

TINY = "data.count=1 durations=[0.64] threads=1"


def study(text):
    return study_of(shlex.split(text), CONF_DIR)


def conditions(text):
    config = with_composed_methods(check_overrides(study(text).words, "config"))
    return [(c.method.name, c.duration_s, c.steps) for c in expand_conditions(config, build_methods(config))]


def test_a_launcher_that_is_not_installed_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.distributions", lambda name: [])
    monkeypatch.setattr(sys, "argv", ["run", "-m", "steps=1,2", "hydra/launcher=slurm_gpu"])
    with pytest.raises(SystemExit):
        program.main()
    message = "error: hydra/launcher=slurm_gpu needs hydra-submitit-launcher, which is not installed; "
    assert capsys.readouterr() == ("", f"{message}pip install -e '.[slurm]'\n")
    monkeypatch.setattr("importlib.metadata.distributions", lambda name: [name])
    check_launcher(["-m", "hydra/launcher=slurm_gpu", "steps=1"])
    check_launcher(["-m", "hydra/launcher=my_own"])


def test_every_launcher_of_this_project_and_its_extra_are_known():
    extras = tomllib.loads((CONF_DIR.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in (path.stem for path in (CONF_DIR / "hydra" / "launcher").glob("*.yaml")):
        distribution, extra = PLUGINS[name]
        assert any(requirement.startswith(distribution) for requirement in extras[extra])


def test_three_keys_give_every_combination_and_a_method_without_the_key_once():
    found = conditions("-m method=litefocus,dense steps=25,50 method.patch.config.sparse_ratio=0.1,0.2")
    rows = [("litefocus-steps25-sparse_ratio0.1", 25), ("litefocus-steps25-sparse_ratio0.2", 25)]
    rows += [("litefocus-steps50-sparse_ratio0.1", 50), ("litefocus-steps50-sparse_ratio0.2", 50)]
    rows += [("dense-steps25", 25), ("dense-steps50", 50)]
    assert [(name, steps) for name, duration, steps in found if duration == found[0][1]] == rows


def test_a_value_reaches_the_method_and_its_label():
    words = study("-m method.patch.config.sparse_ratio=0.1,0.2 guidance=1,3").words
    config = with_composed_methods(check_overrides(words, "config"))
    found = {node.label: (node.patch.config.sparse_ratio, node.guidance) for node in config.methods.values()}
    assert found["LiteFocus, sparse ratio 0.2, guidance 3"] == (0.2, 3)
    assert len(found) == 4
    assert "vary" not in config
    assert config.name == "sparse_ratio_0.1_0.2-guidance_1_3"


def test_lengths_and_seeds_are_lists_of_one_run():
    config = check_overrides(study("-m durations=[5.12],[10.24] seeds=0,1 method=dense,litefocus").words, "config")
    assert (list(config.durations), list(config.seeds), list(config.methods)) == (
        [5.12, 10.24], [0, 1], ["dense", "litefocus"],
    )  # fmt: skip


def test_a_sweep_is_varied_with_its_own_methods_and_keeps_a_baseline():
    config = with_composed_methods(check_overrides(study("-m +sweep=durations steps=1,2").words, "config"))
    assert len(config.methods) == 8
    assert config.timing.baseline == "dense-steps1"
    assert config.name == "durations-steps_1_2"


def test_methods_by_glob_and_one_option_for_all_that_have_it():
    config = with_composed_methods(
        check_overrides(study("-m 'method=glob([f*_only,dense])' method.patch.config.sparse_ratio=0.3").words, "config")
    )
    assert {"dense", "focus_only"} <= set(config.methods)
    assert config.methods.focus_only.patch.config.sparse_ratio == 0.3
    assert config.methods.focus_only.name == "focus_only"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "-m method.patch.config.spars_ratio=0.1,0.2",
            "method.patch.config.spars_ratio: none of the methods litefocus",
        ),
        ("-m steps=0,1", "steps 0: accepted are whole numbers from 1 to 1000"),
        ("-m method=nothing,dense", "nothing"),
        ("-m steps=interval(1,3)", "give the values themselves, like steps=1,2"),
        ("+sweep=ablations method=uniform", "method=uniform would be ignored: this run compares dense, litefocus"),
        ("+sweep=ablations method.patch.config.sparse_ratio=0.4", "would be ignored"),
        ("-m pipeline=testbed,nothing", "nothing"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", *shlex.split(words)])
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.rglob("records*.jsonl")) == []


def test_shards_and_plain_command_lines_are_left_alone():
    assert study("+sweep=smoke") is None
    assert study("-m +sweep=smoke shard.count=2 'shard.index=range(2)'") is None


def test_a_launcher_makes_the_clips_and_the_rest_is_one_run():
    first, last = study("-m steps=1,2 seeds=0,1 hydra/launcher=devices hydra.launcher.n_jobs=2").commands(True)
    assert {"-m", "hydra/launcher=devices", "hydra.launcher.n_jobs=2", "shard.count=4", "stages=[generate]"} <= set(
        first
    )
    assert not any("launcher" in word or word == "-m" for word in last)


def test_what_cannot_share_a_folder_gets_its_own():
    found = study("-m dtype=float32,bfloat16 pipeline=testbed,audioldm2 method=dense,litefocus name=x")
    assert found.apart == ["dtype", "pipeline"]
    assert "out_dir=runs/x/dtype_${dtype}-pipeline_${hydra:runtime.choices.pipeline}" in found.words
    assert found.folder == "runs/x"
    assert study("-m dtype=float32,bfloat16 out_dir=here/${name} name=y").folder == "here/y"
    assert study("-m steps=1,2").folder == ""
    assert {"-m", "dtype=float32,bfloat16", "+method@methods.dense=dense"} <= set(found.words)


@pytest.mark.parametrize("launcher", ["", "hydra/launcher=devices hydra.launcher.n_jobs=2"])
@pytest.mark.slow
def test_a_multirun_is_the_same_study_as_a_sweep_made_of_its_methods(launcher, monkeypatch, tmp_path, capsys):
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra devices")
    monkeypatch.setenv("PYTHONPATH", str(CONF_DIR.parent))
    by_hand = "+method@methods.a=litefocus methods.a.name=a +methods.a.steps=1 "
    by_hand += "+method@methods.b=litefocus methods.b.name=b methods.b.label=B +methods.b.steps=2"
    folders = {"-m steps=1,2 method=litefocus " + launcher: tmp_path / "m", by_hand: tmp_path / "sweep"}
    for words, folder in folders.items():
        text = f"{words} {TINY} out_dir={folder} 'stages=[generate,report]'"
        monkeypatch.setattr(sys, "argv", ["run", *shlex.split(text)])
        program.main()
    multi, sweep = ({c.steps: c.sha256 for c in of_kind(read_records(f), ClipRecord)} for f in folders.values())
    assert multi == sweep
    assert len(set(multi.values())) == len({1, 2} & set(multi)) == 2
    starts = of_kind(read_records(tmp_path / "m"), RunRecord)
    assert [node["name"] for node in starts[-1].config["methods"].values()] == ["litefocus-steps1", "litefocus-steps2"]
    assert starts[-1].config["methods"]["litefocus_steps2"]["label"] == "LiteFocus, steps 2"
