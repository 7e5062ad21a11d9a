"""Everything of a user's own from files outside the packages, in one run: method, data, pipeline, embedder, metric."""

import sys
import textwrap

import pytest

from experiments.matrix.conditions import build_methods, expand_conditions
from experiments.records import ClipRecord, MetricRecord, of_kind, read_records
from experiments.run import run
from experiments.stages.setup import load_pipeline, load_prompts
from experiments.system.cli import check_overrides

PARTS = """
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from evaluation.metric import Metric
from experiments.datasets.prompts import Prompt
from experiments.pipelines.untrained import build_untrained

entered = []

@contextmanager
def counted(pipe, width):
    entered.append(width)
    yield

def two_prompts(first):
    return [Prompt("one", first), Prompt("two", "rain")]

def my_pipeline(device, dtype, *, name, trained, training_length_s):
    made = build_untrained(device, dtype, name=name, seed=0, size="tiny", trained=False, training_length_s=1.0)
    return replace(made, trained=trained, training_length_s=training_length_s)

class Ear:
    name, sample_rate, outputs, min_samples, max_samples, identity = "ear", 8000, ("embedding",), 800, None, "ear-1"

    def embed(self, waveforms):
        return [{"embedding": np.float32([len(row) / 8000, 1.0])} for row in waveforms]

HEARD = Metric("heard", lambda f: f.rows("ear", "embedding")[..., 0], "ear", True, unit="s", label="Heard")
"""
CONF = {
    "method/counted.yaml": """
        defaults: [dense, _self_]
        name: counted
        label: Counted
        patch: {_target_: outside_parts.counted, width: 3}
    """,
    "data/two.yaml": """
        _target_: outside_parts.two_prompts
        first: a dog barks
        references: null
    """,
    "pipeline/mine.yaml": """
        _target_: outside_parts.my_pipeline
        name: mine
        trained: true
        training_length_s: 1.0
        max_duration_s: 10
        durations: [1]
        stages: [generate, score, report]
        steps: 1
        guidance: 2.0
        timing_rounds: 1
    """,
    "metrics/mine.yaml": """
        defaults: [strict, _self_]
        extra: [outside_parts]
        metrics: [heard, level]
        cache_dir: null
        embedders: {ear: {_target_: outside_parts.Ear}}
    """,
}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with one Python file and four yaml files, as docs/extending.md says."""
    (tmp_path / "outside_parts.py").write_text(PARTS)
    for name, text in CONF.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_parts", raising=False)
    return tmp_path


def test_a_run_made_of_a_users_own_parts(outside):
    words = [
        f"--config-dir={outside / 'conf'}", "method=counted", "data=two", "pipeline=mine", "metrics=mine",
        f"out_dir={outside / 'run'}",
    ]  # fmt: skip
    text = run(check_overrides(words, config_name="config"))
    records = read_records(outside / "run")
    clips = of_kind(records, ClipRecord)
    assert [(clip.prompt_id, clip.caption, clip.method) for clip in clips] == [
        ("one", "a dog barks", "counted"), ("two", "rain", "counted"),
    ]  # fmt: skip
    assert sys.modules["outside_parts"].entered[-1] == 3
    (heard,) = [r for r in of_kind(records, MetricRecord) if r.metric == "heard"]
    assert (heard.value, heard.higher_is_better, heard.n_scored) == (1.0, True, 2)
    assert "Heard (s) ↑" in text
    assert "Counted" in text


def test_a_pipeline_or_data_set_of_another_kind_is_refused_before_anything_is_made(outside):
    (outside / "outside_parts.py").write_text(
        PARTS.replace("return replace(made,", "return made.pipe; replace(made,").replace(
            'Prompt("two", "rain")', '("two", "rain")'
        )
    )
    config = check_overrides([f"--config-dir={outside / 'conf'}", "data=two", "pipeline=mine"], config_name="config")
    with pytest.raises(TypeError, match="outside_parts.my_pipeline returned SeededTextAudioLDM2Pipeline; accepted"):
        load_pipeline(config)
    with pytest.raises(TypeError, match=r"outside_parts.two_prompts: item 2 is \('two', 'rain'\); accepted is a list"):
        load_prompts(config)


def test_a_patch_that_is_no_context_manager_is_refused_before_a_clip_is_made(outside):
    parts = PARTS.replace("@contextmanager\ndef counted", "def counted")
    (outside / "outside_parts.py").write_text(parts)
    words = [
        f"--config-dir={outside / 'conf'}",
        "method=counted",
        "data=two",
        "pipeline=mine",
        f"out_dir={outside}/run",
    ]
    with pytest.raises(TypeError, match="method counted: its patch returned generator; accepted is a context manager"):
        run(check_overrides([*words, "stages=[generate]"], config_name="config"))
    assert not list((outside / "run").rglob("*.wav"))
    assert read_records(outside / "run") == []
    assert sys.modules["outside_parts"].entered == []


@pytest.mark.parametrize(("name", "package"), [("deepcache_2", "DeepCache"), ("tomesd", "tomesd")])
def test_a_method_whose_package_is_missing_is_refused_before_a_clip_of_any_method(outside, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    words = [
        f"--config-dir={outside / 'conf'}",
        "+method@methods.counted=counted",
        f"+method@methods.{name}={name}",
        "data=two",
        "pipeline=mine",
        f"out_dir={outside}/run",
    ]
    with pytest.raises(ImportError, match=f"the arm needs the package {package}: pip install -e '.\\[peers\\]'"):
        run(check_overrides([*words, "stages=[generate]"], config_name="config"))
    assert read_records(outside / "run") == []
    assert sys.modules["outside_parts"].entered == []


def test_keys_that_are_missing_are_named_together(outside):
    (outside / "conf" / "method" / "counted.yaml").write_text("name: counted\nlabel: Counted\n")
    (outside / "conf" / "pipeline" / "mine.yaml").write_text("name: mine\ntrained: true\nsteps: 1\n")
    words = [f"--config-dir={outside / 'conf'}", "method=counted", "pipeline=mine"]
    config = check_overrides(words, config_name="config")
    with pytest.raises(ValueError, match="method counted: missing patch, timing_only, materialised; its keys"):
        build_methods(config)
    missing = "_target_, training_length_s, max_duration_s, stages, durations, guidance, timing_rounds"
    with pytest.raises(ValueError, match=f"pipeline mine: missing {missing}; its keys are"):
        expand_conditions(config, {})
