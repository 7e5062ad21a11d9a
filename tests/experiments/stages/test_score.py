"""The score stage: values by hand on known audio, paired with the baseline, refused for untrained pipelines."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from clip_material import DAMAGES, swap, truncate
from omegaconf import OmegaConf

from evaluation.run.scorer import embed_folder, make_scorer
from experiments.datasets.prompts import Prompt
from experiments.matrix.clips import plan_clips
from experiments.matrix.conditions import Condition, Method
from experiments.records import (
    ClipRecord,
    EmbeddingsRecord,
    FailureRecord,
    MetricRecord,
    append_record,
    of_kind,
    read_records,
)
from experiments.stages.score import (
    build_scorer,
    check_scorable,
    embed_clips,
    folder_references,
    is_scored,
    score_duration,
    score_run,
    to_clips,
)
from experiments.system.audio_files import write_wav
from experiments.system.files import sha256_file

PROMPTS = [Prompt(name, f"caption {name}") for name in "abcdefgh"]


def condition(name):
    return Condition(Method(name, name, lambda pipe: None), 2.0, 2, 3.5)


def add_clip(run_dir, cond, prompt, amplitude):
    audio = f"audio/{cond.id}/{prompt.id}_0.wav"
    tone = amplitude * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    write_wav(run_dir / audio, tone.astype(np.float32), 16000)
    record = ClipRecord(
        "r", cond.id, cond.method.name, 2.0, 2, 3.5, prompt.id, prompt.text, 0, audio,
        sha256_file(run_dir / audio), 16000, 32000, 1.0, 0.5, 0.1,
    )  # fmt: skip
    append_record(run_dir, record)
    return record


@pytest.fixture
def scored(tmp_path):
    dense, lite, absent = condition("dense"), condition("litefocus"), condition("focus_only")
    for prompt in PROMPTS:
        add_clip(tmp_path, dense, prompt, 0.1)
        add_clip(tmp_path, lite, prompt, 0.2)
    scorer = make_scorer("strict", metrics=["level"], cache_dir=None, window_s=1.0, duration_s=2.0)
    clips = of_kind(read_records(tmp_path), ClipRecord)
    score_duration(scorer, [dense, lite, absent], clips, {}, "dense", tmp_path, "run")
    return read_records(tmp_path)


def metric(records, method, name="level", baseline="", window=-1):
    chosen = [
        r
        for r in of_kind(records, MetricRecord)
        if (r.method, r.metric, r.baseline, r.window) == (method, name, baseline, window)
    ]
    assert len(chosen) == 1, [(r.metric, r.baseline, r.window) for r in of_kind(records, MetricRecord)]
    return chosen[0]


def test_level_and_its_paired_difference_are_those_of_the_tones(scored):
    # A sine of amplitude A has an RMS of A / sqrt(2); twice the amplitude is 6.02 dB more.
    assert metric(scored, "dense").value == pytest.approx(20 * math.log10(0.1 / math.sqrt(2)), abs=0.01)
    difference = metric(scored, "litefocus", baseline="dense")
    assert difference.value == pytest.approx(20 * math.log10(2), abs=0.01)
    # Every clip says the same, so nothing says how much others would differ.
    assert math.isnan(difference.low)
    assert math.isnan(difference.high)
    assert (difference.n_scored, difference.n_failed, difference.preset) == (8, 0, "strict")
    assert difference.details["baseline_condition"] == condition("dense").id


def test_a_condition_without_clips_is_a_failure_with_its_reason(scored):
    (failure,) = of_kind(scored, FailureRecord)
    assert (failure.method, failure.stage, failure.reason) == ("focus_only", "score", "no clips were generated")


def test_the_newest_record_of_a_file_counts_and_seeds_share_the_prompt(tmp_path):
    first = add_clip(tmp_path, condition("dense"), PROMPTS[0], 0.1)
    clips = to_clips([first, first], tmp_path)
    assert [(clip.id, clip.prompt, clip.caption) for clip in clips] == [("a_0", "a", "caption a")]


def level_config():
    return OmegaConf.create(
        {
            "pipeline": {"name": "p", "trained": True, "training_length_s": 1.0},
            "data": {"references": None},
            "timing": {"baseline": "dense"},
            "seeds": [0, 1],
            "metrics": {
                **{"preset": "strict", "metrics": ["level"], "window_s": None, "embedders": {}, "weights": {}},
                **{"cache_dir": None, "labels": None, "device": "cpu", "batch_size": 8, "half": False},
            },
        }
    )


def test_only_clips_of_the_configured_prompts_and_seeds_are_scored(tmp_path):
    cond = condition("dense")
    for prompt in PROMPTS:
        add_clip(tmp_path, cond, prompt, 0.1)
    config = level_config()
    score_run(config, [cond], PROMPTS[:3], tmp_path, "run")
    found = metric(read_records(tmp_path), "dense")
    assert (found.n_scored, sorted(found.details["per_clip"])) == (3, ["a_0", "b_0", "c_0"])
    config.seeds = [1]
    score_run(config, [cond], PROMPTS, tmp_path, "again")
    assert read_records(tmp_path)[-1].reason == "no clips were generated"


@pytest.mark.parametrize("damage", DAMAGES)
def test_wavs_that_are_not_the_recorded_ones_are_refused_before_anything_is_written(tmp_path, damage):
    dense, lite = condition("dense"), condition("litefocus")
    for prompt in PROMPTS:
        add_clip(tmp_path, dense, prompt, 0.1)
    for prompt in PROMPTS:
        add_clip(tmp_path, lite, prompt, 0.2)
    damage(tmp_path / f"audio/{lite.id}/h_0.wav", tmp_path / f"audio/{dense.id}/h_0.wav")
    before = (tmp_path / "records.jsonl").read_bytes()
    named = (dense if damage is swap else lite).id
    message = rf"^audio/{named}/h_0\.wav: its content is not what was recorded; delete the file .*$"
    with pytest.raises(ValueError, match=message):
        score_run(level_config(), [dense, lite], PROMPTS, tmp_path, "run")
    assert (tmp_path / "records.jsonl").read_bytes() == before
    if damage is not swap:  # Clips that are not asked for are not read.
        score_run(level_config(), [dense], PROMPTS, tmp_path, "run")
    score_run(level_config(), [dense, lite], PROMPTS[:7], tmp_path, "run")


def test_a_shard_embeds_no_wav_that_is_not_the_recorded_one(tmp_path):
    cond = condition("dense")
    add_clip(tmp_path, cond, PROMPTS[0], 0.1)
    planned = plan_clips([cond], PROMPTS[:2], [0])
    truncate(tmp_path / planned[0].audio, None)
    config = OmegaConf.merge(level_config(), {"metrics": {"cache_dir": str(tmp_path / "cache")}})
    with pytest.raises(ValueError, match=r"a_0\.wav: its content is not what was recorded"):
        embed_clips(config, planned, tmp_path)
    assert not (tmp_path / "cache").exists()


def test_several_presets_score_the_same_clips_and_every_record_names_its_own(tmp_path):
    cond = condition("dense")
    for prompt in PROMPTS:
        add_clip(tmp_path, cond, prompt, 0.1)
    config = OmegaConf.merge(level_config(), {"metrics": {"preset": ["litefocus", "strict"]}})
    score_run(config, [cond], PROMPTS, tmp_path, "run")
    found = of_kind(read_records(tmp_path), MetricRecord)
    assert [(r.preset, r.metric, r.n_scored) for r in found if r.window < 0 and r.metric == "level"] == [
        ("litefocus", "level", 8), ("strict", "level", 8),
    ]  # fmt: skip
    twice = OmegaConf.merge(config, {"metrics": {"preset": ["strict", "strict"]}})
    with pytest.raises(ValueError, match=r"metrics.preset=\['strict', 'strict'\]: give every preset once"):
        score_run(twice, [cond], PROMPTS, tmp_path, "run")
    unknown = OmegaConf.merge(config, {"metrics": {"preset": ["strict", "fidelity"]}})
    with pytest.raises(ValueError, match="preset 'fidelity'; give one of strict"):
        score_run(unknown, [cond], PROMPTS, tmp_path, "run")


def test_untrained_pipelines_are_refused_by_name():
    config = OmegaConf.create({"pipeline": {"name": "audioldm2_untrained", "trained": False}})
    with pytest.raises(ValueError, match="pipeline audioldm2_untrained has random weights"):
        check_scorable(config)


def test_the_testbeds_judges_are_refused_for_another_pipeline():
    config = OmegaConf.create({"pipeline": {"name": "audioldm2", "trained": True}, "metrics": {"preset": "testbed"}})
    with pytest.raises(ValueError, match="the pipeline is audioldm2; set metrics=strict, or leave score out of stages"):
        check_scorable(config)
    for change in ({"metrics": {"preset": "strict"}}, {"pipeline": {"name": "testbed_seed1", "trained": True}}):
        check_scorable(OmegaConf.merge(config, change))


def asked(stages, preset, trained=True):
    pipeline = {"name": "audioldm2", "trained": trained}
    return OmegaConf.create({"stages": stages, "pipeline": pipeline, "metrics": {"preset": preset}})


def test_clips_are_scored_where_metrics_are_chosen_and_otherwise_one_line_says_that_they_are_not(caplog):
    assert is_scored(asked(["generate", "score"], "strict"))
    assert not is_scored(asked(["generate", "timing", "report"], "strict"))
    assert caplog.text == ""
    assert not is_scored(asked(["generate", "score"], None))
    assert [record.getMessage() for record in caplog.records] == [
        "stage score: no metrics are chosen, the clips are not scored; metrics=strict scores them"
    ]


def test_scores_that_cannot_be_had_are_refused():
    with pytest.raises(ValueError, match="no metrics are chosen.*metrics=strict scores them, or leave score out"):
        is_scored(asked(["score", "report"], None))
    with pytest.raises(ValueError, match="preset testbed judges the testbed's sounds only"):
        is_scored(asked(["generate", "score"], "testbed"))
    with pytest.raises(ValueError, match="random weights"):
        is_scored(asked(["generate", "score"], None, trained=False))


def test_folder_references(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no reference folder at .*nowhere; set data\.references"):
        folder_references(tmp_path / "nowhere", PROMPTS)
    for name in "abcdefg":
        (tmp_path / f"{name}.wav").touch()
    with pytest.raises(FileNotFoundError, match=r"1 of 8 references missing, first h\.wav"):
        folder_references(tmp_path, PROMPTS)
    (tmp_path / "h.flac").touch()
    assert folder_references(tmp_path, PROMPTS)["h"] == tmp_path / "h.flac"
    (tmp_path / "g.flac").touch()
    with pytest.raises(ValueError, match="g.flac and g.wav are of one prompt; keep one"):
        folder_references(tmp_path, PROMPTS)


def test_a_clip_that_could_not_be_scored_is_named_with_its_reason(tmp_path, caplog):
    """It counts as failed in the tables; which one and why stood nowhere."""
    cond = condition("dense")
    for prompt in PROMPTS:
        add_clip(tmp_path, cond, prompt, 0.1)
    clips = of_kind(read_records(tmp_path), ClipRecord)
    (tmp_path / clips[1].audio).write_bytes(b"no audio")
    scorer = make_scorer("strict", metrics=["level"], cache_dir=None, window_s=1.0, duration_s=2.0)
    score_duration(scorer, [cond], clips, {}, "dense", tmp_path, "run")
    (failure,) = of_kind(read_records(tmp_path), FailureRecord)
    assert (failure.stage, failure.condition) == ("score", cond.id)
    assert failure.reason.startswith("b_0: ")
    assert f"{cond.id}, clip b_0: not scored" in caplog.text
    assert metric(read_records(tmp_path), "dense").n_failed == 1


def test_references_said_to_be_aligned_are_held_to_it(tmp_path):
    config = level_config()
    for asked, counted in ((True, True), (False, False)):
        config.metrics.aligned_references = asked
        scorer = build_scorer(config, "strict", 2.0, aligned=False)
        assert (scorer.preset.reference_windows == "aligned") is counted


def test_a_headline_keeps_the_values_of_its_clips(scored):
    assert metric(scored, "dense").details["per_clip"].keys() == {f"{prompt.id}_0" for prompt in PROMPTS}
    assert metric(scored, "dense").details["per_clip"]["a_0"] == pytest.approx(metric(scored, "dense").value, abs=1e-6)
    assert "per_clip" not in metric(scored, "litefocus", baseline="dense").details


def test_the_order_of_the_clips_changes_no_number(tmp_path):
    cond = condition("dense")
    records = [add_clip(tmp_path, cond, prompt, 0.1 + 0.05 * number) for number, prompt in enumerate(PROMPTS)]
    scorer = make_scorer("strict", metrics=["level"], cache_dir=None, window_s=1.0, duration_s=2.0)
    values = []
    for order, run_id in ((records, "run"), (records[::-1], "again")):
        score_duration(scorer, [cond], order, {}, "dense", tmp_path, run_id)
        found = [r for r in of_kind(read_records(tmp_path), MetricRecord) if r.run_id == run_id]
        values.append([(r.metric, r.window, r.value, r.low, r.high, r.details) for r in found])
    assert values[0] == values[1]


def test_parts_embed_into_the_cache_what_the_whole_then_finds(tmp_path):
    cond = condition("dense")
    clips = to_clips([add_clip(tmp_path, cond, p, 0.05 * n) for n, p in enumerate(PROMPTS, start=1)], tmp_path)

    def scorer():
        return make_scorer("strict", metrics=["level"], cache_dir=tmp_path / "cache", window_s=1.0, duration_s=2.0)

    for part in (clips[:3], clips[3:], clips[2:5], []):
        embed_folder(scorer(), "part", part)
    whole = scorer()
    embed_folder(whole, "whole", clips)
    assert (whole.cache.hits, whole.cache.misses) == (len(clips), 0)


def test_a_shard_without_a_cache_to_share_is_refused(tmp_path):
    config = OmegaConf.merge(asked(["score"], "strict"), {"metrics": {"cache_dir": None}})
    with pytest.raises(ValueError, match=r"set metrics.cache_dir to a folder that the shards share, got null"):
        embed_clips(config, [], tmp_path)


@pytest.fixture
def kept(tmp_path):
    """A run of two methods, scored with its embeddings kept, and its audio gone."""
    dense, lite = condition("dense"), condition("litefocus")
    for number, prompt in enumerate(PROMPTS):
        add_clip(tmp_path, dense, prompt, 0.1 + 0.01 * number)
        add_clip(tmp_path, lite, prompt, 0.2 + 0.03 * number)
    config = level_config()
    config.metrics.keep_embeddings = True
    score_run(config, [dense, lite], PROMPTS, tmp_path, "first")
    shutil.rmtree(tmp_path / "audio")
    return config, [dense, lite], tmp_path


def scores(run_dir, run_id):
    records = [r for r in of_kind(read_records(run_dir), MetricRecord) if r.run_id == run_id]
    return [replace(r, run_id="") for r in records]


def test_scores_are_the_same_bits_from_kept_embeddings_without_the_audio(kept):
    config, conditions, run_dir = kept
    score_run(config, conditions, PROMPTS, run_dir, "second")
    first = scores(run_dir, "first")
    assert len(first) > 2
    assert repr(scores(run_dir, "second")) == repr(first)
    one, two = of_kind(read_records(run_dir), EmbeddingsRecord)
    assert (one.sha256, one.entries, one.size_bytes) == (two.sha256, 16, two.size_bytes)
    assert one.size_bytes == (run_dir / one.file).stat().st_size


def refuse_the_gone(config, conditions, prompts, run_dir, audio):
    """The first wav that is gone without an embedding is named before anything is written."""
    before = (run_dir / "records.jsonl").read_bytes()
    message = rf"^{run_dir}/{audio} is gone, and its embeddings are not all in {run_dir}/embeddings\.npz; fetch one .*$"
    with pytest.raises(FileNotFoundError, match=message):
        score_run(config, conditions, prompts, run_dir)
    assert (run_dir / "records.jsonl").read_bytes() == before
    assert not (run_dir / "references").exists()


def test_a_clip_without_audio_whose_embedding_was_not_kept_is_refused(kept):
    config, conditions, run_dir = kept
    late = add_clip(run_dir, conditions[0], Prompt("late", "late"), 0.3)
    (run_dir / late.audio).unlink()
    refuse_the_gone(config, conditions, [*PROMPTS, Prompt("late", "late")], run_dir, late.audio)


@pytest.mark.parametrize("keep", [True, False])
def test_clips_without_audio_and_embeddings_are_refused(kept, keep):
    config, conditions, run_dir = kept
    (run_dir / "embeddings.npz").unlink()
    config.metrics.keep_embeddings = keep
    refuse_the_gone(config, conditions, PROMPTS, run_dir, "audio/dense_2s_2steps_g3.5/a_0.wav")


def test_embeddings_by_other_windows_do_not_stand_in_for_the_audio(kept):
    config, conditions, run_dir = kept
    config.metrics.window_s = 0.5
    refuse_the_gone(config, conditions, PROMPTS, run_dir, "audio/dense_2s_2steps_g3.5/a_0.wav")


def test_a_random_crop_of_audio_that_is_gone_is_found_again(tmp_path):
    cond = condition("dense")
    for prompt in PROMPTS:
        add_clip(tmp_path, cond, prompt, 0.1)
    config = OmegaConf.merge(level_config(), {"metrics": {"preset": "litefocus", "keep_embeddings": True}})
    score_run(config, [cond], PROMPTS, tmp_path, "first")
    shutil.rmtree(tmp_path / "audio")
    score_run(config, [cond], PROMPTS, tmp_path, "second")
    assert repr(scores(tmp_path, "second")) == repr(scores(tmp_path, "first"))


def test_scoring_a_part_again_loses_no_embedding(kept):
    config, conditions, run_dir = kept
    score_run(config, conditions, PROMPTS[:2], run_dir, "part")
    score_run(config, conditions, PROMPTS, run_dir, "whole")
    assert metric(scores(run_dir, "whole"), "dense").n_scored == 8


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda run_dir: (run_dir / "embeddings.npz").write_bytes(b"no zip"),
            r"its content is not what was recorded; fetch it again \(git checkout, say\) or, only where the wavs",
        ),
        (
            lambda run_dir: (run_dir / "records.jsonl").write_text(
                "".join(
                    line + "\n" for line in (run_dir / "records.jsonl").read_text().splitlines() if "npz" not in line
                )
            ),
            "no record names this file",
        ),
    ],
)
def test_embeddings_that_were_not_recorded_are_refused_before_anything_is_written(kept, damage, message):
    config, conditions, run_dir = kept
    damage(run_dir)
    before = (run_dir / "records.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"embeddings.npz: {message}"):
        score_run(config, conditions, PROMPTS, run_dir, "second")
    assert (run_dir / "records.jsonl").read_bytes() == before


def test_nothing_is_kept_where_it_was_not_asked_for(tmp_path):
    add_clip(tmp_path, condition("dense"), PROMPTS[0], 0.1)
    score_run(level_config(), [condition("dense")], PROMPTS[:1], tmp_path, "run")
    assert not (tmp_path / "embeddings.npz").exists()
