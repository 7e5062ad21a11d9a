"""Conditions: ids, expansion and the validation of plain numbers; noise depends on prompt, seed and length alone."""

import pytest
import torch
from omegaconf import OmegaConf

from experiments.matrix.conditions import Condition, build_methods, build_timing_arms, expand_conditions
from experiments.system.seeds import noise_generator

DENSE = {
    "name": "dense",
    "label": "Dense",
    "timing_only": False,
    "materialised": False,
    "patch": {"_target_": "contextlib.nullcontext", "_partial_": True},
}


TIMING = {"rounds": 1, "starts": 1, "warmup": 0, "baseline": "dense"}


def config(**changes):
    base = {
        "method": DENSE,
        "methods": {},
        "timing": TIMING | {"arms": {}},
        "decode_in_chunks": None,
        "pipeline": {"_target_": "x", "name": "p", "trained": True, "training_length_s": 10, "max_duration_s": 640},
        "durations": [10, 20],
        "steps": 2,
        "guidance": 3.5,
        "seeds": [0],
        "stages": ["generate"],
        "batch_size": 1,
    }
    return OmegaConf.create({**base, **changes})


def test_durations_are_outermost_and_ids_are_folder_names():
    methods = {"a": DENSE, "b": {**DENSE, "name": "other", "label": "other"}}
    cfg = config(methods=methods, durations=[10, 20.5])
    ids = [condition.id for condition in expand_conditions(cfg, build_methods(cfg))]
    assert ids == [
        "dense_10s_2steps_g3.5",
        "other_10s_2steps_g3.5",
        "dense_20.5s_2steps_g3.5",
        "other_20.5s_2steps_g3.5",
    ]


def test_a_sweep_replaces_the_single_method_and_arms_add_to_it():
    cfg = config(
        methods={"x": {**DENSE, "name": "x", "label": "x"}},
        timing=TIMING | {"arms": {"y": {**DENSE, "name": "y", "label": "y"}}},
    )
    assert list(build_methods(cfg)) == ["x"]
    assert list(build_timing_arms(cfg)) == ["x", "y"]
    assert list(build_methods(config())) == ["dense"]


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="methods with one name: dense"):
        build_methods(config(methods={"a": DENSE, "b": DENSE}))


def test_two_arms_of_one_label_are_refused_as_a_table_could_not_tell_them_apart():
    with pytest.raises(ValueError, match="methods with one label: Dense; give each arm of a sweep its own label"):
        build_methods(config(methods={"a": DENSE, "b": {**DENSE, "name": "other"}}))


@pytest.mark.parametrize("name", ["../up", "a b", "", ".hidden", "x" * 65])
def test_unsafe_method_names_are_refused(name):
    with pytest.raises(ValueError, match="method name"):
        build_methods(config(method={**DENSE, "name": name}))


def test_every_key_that_a_method_lacks_or_misspells_is_named_at_once():
    node = {"name": "mine", "label": "???", "patch": DENSE["patch"], "timing_only": False, "aproximate": True}
    with pytest.raises(ValueError, match="method mine: missing label, materialised; unknown aproximate; its keys"):
        build_methods(config(method=node))
    with pytest.raises(ValueError, match="method: missing name, label, patch, timing_only, materialised; its"):
        build_methods(config(method={}))


def test_a_patch_that_is_called_at_once_is_refused():
    node = {**DENSE, "patch": {"_target_": "builtins.dict"}}
    with pytest.raises(TypeError, match="method dense: its patch gave a dict; accepted is a function of a pipeline"):
        build_methods(config(method=node))


def test_every_key_that_a_pipeline_lacks_is_named_at_once():
    """Those of the run's own that stand for one of the pipeline's count where the run leaves them to it."""
    cfg = config(pipeline={"name": "mine", "max_duration_s": 5}, steps="${pipeline.steps}")
    with pytest.raises(ValueError, match="pipeline mine: missing _target_, trained, training_length_s, steps; its"):
        expand_conditions(cfg, build_methods(cfg))
    cfg = config(pipeline={**config().pipeline, "training_length_s": "ten"})
    with pytest.raises(ValueError, match="pipeline.training_length_s: got 'ten', accepted are numbers"):
        expand_conditions(cfg, build_methods(cfg))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": [0]}, "duration 0 s: accepted are lengths above 0 and up to 640 s"),
        ({"durations": [1e6]}, "duration 1000000.0 s"),
        ({"durations": [-1]}, "duration -1 s"),
        ({"durations": [float("nan")]}, "duration nan s"),
        ({"durations": ["ten"]}, "durations: got 'ten', accepted are numbers"),
        ({"durations": [True]}, "durations: got True"),
        ({"durations": []}, "durations is empty"),
        ({"durations": [10, 10.0]}, "a length is given twice"),
        ({"steps": 0}, "steps 0: accepted are whole numbers from 1 to 1000"),
        ({"steps": 2.5}, "steps 2.5"),
        ({"guidance": -1}, "guidance -1"),
        ({"guidance": float("inf")}, "guidance inf"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, -1]}, "seeds"),
        ({"seeds": [0, 0]}, r"seeds \[0, 0\]: a seed is given twice; give each once"),
        (
            {"durations": [327.6875, 327.688]},
            r"would share the name dense_327.688s_\S+: give lengths that differ in six",
        ),
        ({"stages": ["dance"]}, r"stages \['dance'\]: accepted are generate, timing"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_bad_numbers_are_refused(change, message):
    cfg = config(**change)
    with pytest.raises(ValueError, match=message):
        expand_conditions(cfg, build_methods(cfg))


def test_a_method_may_sample_with_its_own_steps():
    methods = {"a": DENSE, "b": {**DENSE, "name": "fast", "label": "fast", "steps": 25, "approximate": True}}
    cfg = config(methods=methods, steps=200, durations=[10])
    built = build_methods(cfg)
    assert [c.id for c in expand_conditions(cfg, built)] == ["dense_10s_200steps_g3.5", "fast_10s_25steps_g3.5"]
    assert [built[name].approximate for name in built] == [False, True]
    with pytest.raises(ValueError, match="steps 0: accepted are whole numbers from 1 to 1000"):
        build_methods(config(method={**DENSE, "steps": 0}))


def noise(*key):
    return torch.randn(4, generator=noise_generator(*key))


def test_noise_depends_on_prompt_seed_and_duration_alone():
    base = noise("a", 0, 10.0)
    assert torch.equal(base, noise("a", 0, 10))
    others = [noise("b", 0, 10.0), noise("a", 1, 10.0), noise("a", 0, 20.0), noise("a0", 0, 1.0)]
    assert not any(torch.equal(base, other) for other in others)


def test_condition_id_separates_every_field():
    method = build_methods(config())["dense"]
    conditions = [
        Condition(method, 10, 2, 3.5),
        Condition(method, 10.5, 2, 3.5),
        Condition(method, 10, 3, 3.5),
        Condition(method, 10, 2, 3.0),
    ]
    assert len({condition.id for condition in conditions}) == 4
