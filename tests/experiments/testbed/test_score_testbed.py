"""The score stage with the testbed's classifier: real scenes as clips, hits and divergences per method in tables."""

import math

import pytest
from omegaconf import OmegaConf

from experiments.matrix.conditions import Condition, Method
from experiments.records import ClipRecord, MetricRecord, append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.stages.score import build_scorer, score_duration
from experiments.system.audio_files import write_wav
from experiments.system.files import sha256_file
from experiments.tables.quality_tables import result_tables
from experiments.testbed.plugin.load_prompts import load_prompts, reference_audio
from experiments.testbed.plugin.references import render_references

DURATION_S = 4.0
CONFIG = {
    "pipeline": {"training_length_s": 5.12},
    "metrics": {
        "preset": "testbed", "metrics": ["kl_bernoulli", "hit_rate", "exact_set_rate"], "window_s": 2.0,
        "weights": {}, "cache_dir": None, "device": "cpu", "batch_size": 8, "half": False,
        "embedders": {"classifier": {"_target_": "experiments.testbed.plugin.judges.TestbedClassifierEmbedder"}},
        "labels": {"_target_": "experiments.testbed.plugin.labels.event_labels", "_partial_": True},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """ "dense" plays the scenes that were asked for, "litefocus" those of the next prompt."""
    run_dir = tmp_path_factory.mktemp("run")
    prompts = load_prompts(6)
    dense, lite = (
        Condition(Method(name, name, lambda pipe: None), DURATION_S, 2, 3.5) for name in ("dense", "litefocus")
    )
    for condition, shift in ((dense, 0), (lite, 1)):
        for number, prompt in enumerate(prompts):
            audio = f"audio/{condition.id}/{prompt.id}_0.wav"
            write_wav(run_dir / audio, reference_audio(prompts[number - shift].id, DURATION_S), 16000)
            clip = ClipRecord(
                "r", condition.id, condition.method.name, DURATION_S, 2, 3.5, prompt.id, prompt.text, 0, audio,
                sha256_file(run_dir / audio), 16000, int(DURATION_S * 16000), 1.0, 0.5, 0.1,
            )  # fmt: skip
            append_record(run_dir, clip)
    references, aligned = render_references(prompts, DURATION_S, folder=str(run_dir / "references"))
    scorer = build_scorer(OmegaConf.create(CONFIG), "testbed", DURATION_S, aligned)
    clips = of_kind(read_records(run_dir), ClipRecord)
    score_duration(scorer, [dense, lite], clips, references, "dense", run_dir, "r")
    return read_records(run_dir)


@pytest.mark.parametrize("damage", ["exchanged", "silent", "cut"])
def test_a_reference_that_is_not_its_scene_is_refused(tmp_path, damage):
    """Scores against it would be of another scene, and nobody would know."""
    prompts = load_prompts(2)
    files, _ = render_references(prompts, 0.32, folder=str(tmp_path))
    assert render_references(prompts, 0.32, folder=str(tmp_path))[0] == files
    one, two = files.values()
    content = one.read_bytes()
    changed = {"exchanged": two.read_bytes(), "silent": content[:44] + bytes(len(content) - 44), "cut": content[:20]}
    one.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=rf"^{one}: its content is not the scene of its prompt; delete it"):
        render_references(prompts, 0.32, folder=str(tmp_path))


def headline(records, method, metric, baseline=""):
    (found,) = [
        r
        for r in of_kind(records, MetricRecord)
        if (r.method, r.metric, r.baseline, r.window) == (method, metric, baseline, -1)
    ]
    return found


def test_the_right_scenes_are_heard_and_those_of_other_prompts_are_not(records):
    right, wrong = (headline(records, method, "hit_rate") for method in ("dense", "litefocus"))
    assert right.value >= 0.7
    assert wrong.value <= 0.4
    assert right.higher_is_better
    # The clips are the references: no divergence at all but for the 16 bits that both were written in.
    assert headline(records, "dense", "kl_bernoulli").value == pytest.approx(0, abs=1e-9)
    assert headline(records, "litefocus", "kl_bernoulli").value > 2


def test_hits_are_compared_in_pairs_and_shown(records):
    difference = headline(records, "litefocus", "hit_rate", baseline="dense")
    assert difference.value < 0
    assert math.isnan(difference.low)  # every prompt differs by as much: there is no spread to make an interval of
    assert math.isnan(difference.high)
    assert difference.value == pytest.approx(
        headline(records, "litefocus", "hit_rate").value - headline(records, "dense", "hit_rate").value
    )
    table = next(table for table in result_tables(Run(records)) if table.name == "quality")
    assert {"KL Bernoulli ↓", "hit rate ↑", "exact set rate ↑"} <= set(table.header)
