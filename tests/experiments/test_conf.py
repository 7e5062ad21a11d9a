"""Every configuration file composes; methods construct; names agree with file names; the docs name every sweep."""

import importlib.util
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from experiments.matrix.conditions import build_method, build_methods, build_timing_arms, expand_conditions
from experiments.stages.score import presets_of
from experiments.system.cli import CONF_DIR

ROOT = Path(__file__).resolve().parents[2]


def names(group):
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose(config_name="config", overrides=list(overrides))


@pytest.mark.parametrize("name", names("method"))
def test_methods_construct_and_carry_their_file_name(name):
    method = build_method(composed(f"method={name}").method)
    assert method.name == name
    assert callable(method.patch)


@pytest.mark.parametrize("name", names("pipeline"))
def test_pipelines_compose(name):
    config = composed(f"pipeline={name}")
    assert config.pipeline.name == name
    assert expand_conditions(config, build_methods(config))


@pytest.mark.parametrize(
    ("overrides", "preset"),
    [
        ([], "testbed"),
        (["pipeline=audioldm2"], None),
        (["pipeline=musicldm"], None),
        (["pipeline=audioldm2_untrained"], None),
        (["pipeline=audioldm2", "metrics=strict"], "strict"),
        (["pipeline=audioldm2", "metrics=testbed"], "testbed"),
        (["metrics=none"], None),
        (["+sweep=durations"], "testbed"),
        (["+sweep=durations", "pipeline=audioldm2"], None),
        (["+sweep=paper", "metrics=litefocus"], "litefocus"),
    ],
)
def test_the_pipeline_chooses_the_metrics_where_the_user_and_the_sweep_do_not(overrides, preset):
    assert composed(*overrides).metrics.preset == preset


def test_the_papers_experiment_is_scored_as_its_authors_did_and_by_our_own_protocol():
    assert presets_of(composed("+sweep=paper")) == ["litefocus", "strict"]
    assert presets_of(composed("+sweep=paper", "metrics.preset=[audioldm2,strict]")) == ["audioldm2", "strict"]


@pytest.mark.parametrize("command", ["probe", "benchmark"])
@pytest.mark.parametrize("pipeline", ["testbed", "audioldm2"])
def test_the_commands_that_score_nothing_take_every_pipeline(command, pipeline):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        assert compose(command, overrides=[f"pipeline={pipeline}"]).pipeline.name == pipeline


@pytest.mark.parametrize("name", names("data"))
def test_data_composes(name):
    config = composed(f"data={name}")
    assert "_target_" in config.data


@pytest.mark.parametrize("name", names("sweep"))
def test_sweeps_compose_and_construct(name):
    config = composed(f"+sweep={name}")
    assert config.name == name
    assert expand_conditions(config, build_methods(config))
    assert set(build_methods(config)) <= set(build_timing_arms(config))


@pytest.mark.parametrize("name", names("sweep"))
def test_the_readme_names_every_sweep(name):
    assert f"+sweep={name}" in (ROOT / "docs" / "experiments.md").read_text()


def test_the_study_is_as_large_as_its_results_say():
    config = composed("+sweep=testbed")
    conditions = expand_conditions(config, build_methods(config))
    assert len(conditions) * config.data.count * len(config.seeds) == 3840
    assert "then" not in config.data.relations


def test_ablations_differ_from_the_method_in_one_mechanism():
    litefocus = composed("method=litefocus").method.patch.config
    focus = composed("method=focus_only").method.patch.config
    compensation = composed("method=compensation_only").method.patch.config
    assert dict(focus) == {**litefocus, "cross_frequency": False}
    assert dict(compensation) == {**litefocus, "same_frequency": False}


def test_methods_that_work_across_steps_say_so():
    across = {name for name in names("method") if build_method(composed(f"method={name}").method).needs_schedule}
    levers = {"attention_reuse", "feature_reuse_2", "feature_reuse_3", "feature_reuse_5", "guidance_interval"}
    levers |= {"attention_reuse_predicted", "feature_reuse_2_predicted", "feature_reuse_3_predicted"}
    assert across == levers | {"dpm_solver", "unipc", "linear_dpm", "combined", "deepcache_2"}


def test_the_paper_sweep_is_the_paper():
    config = composed("+sweep=paper")
    assert list(config.durations) == [10, 20, 40, 80]
    assert (config.steps, config.guidance, config.data.subset) == (200, 3.5, "886")
    assert config.pipeline.name == "audioldm2"


def test_sparsity_sweep_ratios():
    config = composed("+sweep=sparsity")
    ratios = {
        entry.name: instantiate(entry.patch.config).sparse_ratio
        for entry in config.methods.values()
        if "config" in entry.patch
    }
    assert ratios["litefocus_r0.05"] == 0.05
    assert ratios["compensation_r0.40"] == 0.4


def test_linear_sweep_windows_and_budgets():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        methods = build_methods(compose("probe", overrides=["sweep=linear"]))
        nodes = compose("probe", overrides=["sweep=linear"]).methods
    found = {name: instantiate(nodes[name].patch.config) for name in methods if name.startswith("linear_w")}
    assert len(found) == 9
    for name, config in found.items():
        budget = (config.max_cross_keys or 0) if config.cross_frequency else 0
        assert name == f"linear_w{config.window_frames}_k{budget}"


PLUGIN = {
    "devices": "hydra_joblib_launcher",
    "slurm_cpu": "hydra_submitit_launcher",
    "slurm_gpu": "hydra_submitit_launcher",
}


@pytest.mark.parametrize("name", names("hydra/launcher"))
def test_launchers_compose_with_fields_that_their_plugin_knows(name):
    if importlib.util.find_spec("hydra_plugins") is None or not importlib.util.find_spec(
        f"hydra_plugins.{PLUGIN[name]}"
    ):
        pytest.skip(f"{PLUGIN[name]} is not installed (extras slurm, devices)")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("config", overrides=[f"hydra/launcher={name}", "+sweep=smoke"], return_hydra_config=True)
    assert PLUGIN[name] in config.hydra.launcher._target_


def test_the_planner_reads_the_configuration_of_a_run():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("plan", overrides=["+sweep=smoke", "plan.steps=5"])
    assert (config.name, config.plan.steps) == ("smoke", 5)
    assert {key: value for key, value in config.items() if key != "plan"} == dict(composed("+sweep=smoke"))
