"""Methods made of methods: what the whole is follows from its parts, and a list of files is never merged into one."""

import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.matrix.composition import composed, with_composed_methods
from experiments.matrix.conditions import build_method, build_methods
from experiments.system.cli import CONF_DIR, with_method_lists


def written_out(*words):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return with_composed_methods(compose("config", overrides=with_method_lists(words)))


def targets(node):
    return [patch["_target_"].rpartition(".")[2] for patch in node.patch.patches]


def test_exact_levers_around_the_paper_give_its_output_and_its_steps():
    config = written_out("method=[optimized,litefocus]")
    method = build_method(config.method)
    assert (method.name, method.label) == ("optimized-litefocus", "Exact levers + LiteFocus")
    assert (method.same_output_as, method.steps) == ("litefocus", None)
    assert (method.approximate, method.needs_schedule, method.timing_only) == (False, False, False)
    assert targets(config.method) == ["optimized", "lite_focus"]
    assert config.out_dir == "runs/optimized-litefocus"


def test_one_approximate_part_with_its_own_steps_makes_the_whole_so():
    config = written_out("+method@methods.fast=[litefocus_linear,guidance_interval,dpm_solver]")
    method = build_methods(config)["fast"]
    assert (method.approximate, method.steps, method.needs_schedule, method.same_output_as) == (True, 25, True, "")
    assert list(config.methods.fast.parts) == ["litefocus_linear", "guidance_interval", "dpm_solver"]


def test_parts_take_overrides_of_their_own():
    word = "method.of.litefocus.patch.config.sparse_ratio=0.3"
    config = written_out("method=[optimized,litefocus]", word)
    assert config.method.patch.patches[1].config.sparse_ratio == 0.3


def test_the_named_combinations_are_their_parts():
    config = written_out("method=combined")
    assert targets(config.method) == ["lite_focus", "guidance_interval", "solver"]
    assert build_method(config.method).label == "Linear + guidance interval + DPM-Solver++"
    assert build_method(written_out("method=no_attention_optimized").method).timing_only
    assert build_method(written_out("method=litefocus_linear_optimized").method).same_output_as == "litefocus_linear"
    assert build_method(written_out("method=dense_optimized").method).same_output_as == "dense"


def test_every_patch_is_active_inside_in_the_order_of_the_list():
    entered = []
    parts = {
        name: {"name": name, "label": name, "timing_only": False, "materialised": False, "patch": None}
        for name in ("one", "two")
    }
    node = composed(OmegaConf.create({"of": parts}))
    node["patch"]["patches"] = [
        {"_target_": f"{__name__}.Entering", "_partial_": True, "name": name} for name in ("one", "two")
    ]
    sys.modules[__name__].Entering = lambda pipe, name: _Mark(entered, name)
    with build_method(OmegaConf.create(node)).patch("pipe"):
        assert entered == ["one", "two"]
    assert entered == []


class _Mark:
    def __init__(self, entered, name):
        self.entered, self.name = entered, name

    def __enter__(self):
        self.entered.append(self.name)

    def __exit__(self, *_):
        assert self.entered.pop() == self.name


def test_parts_that_want_different_steps_are_refused_unless_the_whole_says_its_own():
    with pytest.raises(ValueError, match=r"want different steps: 25 \(dpm_solver\), 10 \(unipc\); set method.steps"):
        written_out("method=[dpm_solver,unipc]", "method.of.unipc.steps=10")
    config = written_out("method=[dpm_solver,unipc]", "method.of.unipc.steps=10", "+method.steps=12")
    assert build_method(config.method).steps == 12


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method=[dense,dense]", "give each method once"),
        ("method=[dense,litefocus],dense", r"a list of methods is method=\[optimized,litefocus\], names"),
        ("method=[dense,{a: b}]", "names and nothing else"),
    ],
)
def test_other_lists_are_refused(word, message):
    with pytest.raises(ValueError, match=message):
        with_method_lists([word])


def test_other_words_stay_as_they_are():
    words = ["durations=[5,10]", "method=dense", "metrics.metrics=[fad]", "method.patch.config.sparse_ratio=0.1"]
    assert with_method_lists(words) == words
