"""Which start, judges and prompts made a score, through the command; and that scores of different ones never mix."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from clip_material import DAMAGES
from hydra import compose, initialize_config_dir

from experiments.datasets.prompts import Prompt
from experiments.records import (
    ClipRecord,
    FailureRecord,
    MetricRecord,
    RunRecord,
    ScoreRunRecord,
    append_record,
    of_kind,
    parse_record,
    read_records,
)
from experiments.records.current import current, scored_apart
from experiments.run import main
from experiments.stages.score_records import material_of
from experiments.stages.setup import load_prompts, resolved
from experiments.system import environment
from experiments.system.audio_files import write_wav
from experiments.system.cli import CONF_DIR
from experiments.system.files import sha256_file

ASKED = [
    *("name=scored", "data=demo", "data.limit=4", "durations=[2.0]", "steps=2", "guidance=3.5"),
    *("+method@methods.dense=dense", "+method@methods.litefocus=litefocus"),
    *("metrics=strict", "metrics.metrics=[level]", "metrics.cache_dir=null"),
]
ENVIRONMENT = {
    **{"commit": "a" * 40, "dirty": False, "device": "cpu", "device_type": "cpu", "dtype": "float32", "threads": 1},
    **{"packages": {"torch": "2"}},
}
OF_WEIGHTS = {"name": "testbed", "trained": True, "weights": "sha256:1"}


def config_of(run_dir, *changes):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("config", overrides=[*ASKED, f"out_dir={run_dir}", *changes])


@pytest.fixture
def made(tmp_path):
    """A run folder in which one start has generated tones."""
    config = config_of(tmp_path, "stages=[generate]")
    prompts = load_prompts(config)
    ids = [prompt.id for prompt in prompts]
    append_record(tmp_path, RunRecord("made", "2026-01-01", resolved(config), ENVIRONMENT, OF_WEIGHTS, ids, 1))
    for method, amplitude in (("dense", 0.1), ("litefocus", 0.2)):
        for number, prompt in enumerate(prompts):
            add_tone(tmp_path, method, prompt, amplitude * (1 + number / 10))
    return tmp_path


def add_tone(run_dir, method, prompt, amplitude):
    condition = f"{method}_2s_2steps_g3.5"
    audio = f"audio/{condition}/{prompt.id}_0.wav"
    tone = amplitude * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    write_wav(run_dir / audio, tone.astype(np.float32), 16000)
    clip = ClipRecord(
        "made", condition, method, 2.0, 2, 3.5, prompt.id, prompt.text, 0, audio,
        sha256_file(run_dir / audio), 16000, 32000, 1.0, 0.5, 0.1,
    )  # fmt: skip
    append_record(run_dir, clip)


def command(monkeypatch, run_dir, *changes):
    monkeypatch.setattr(sys, "argv", ["run", *ASKED, f"out_dir={run_dir}", *changes])
    main()


def content(run_dir):
    logs = {".lock", "run.log"}  # what a start is held by and what it says
    return {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name not in logs}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wav_that_is_not_the_recorded_one_stops_the_command_before_a_byte_is_written(
    made, damage, monkeypatch, capsys
):
    clips = of_kind(read_records(made), ClipRecord)
    damage(made / clips[1].audio, made / clips[5].audio)
    before = content(made)
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, made, "stages=[score,report]")
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: {clips[1].audio}: its content is not what was recorded; delete the file")
    assert content(made) == before


def refused(run_dir, monkeypatch, capsys, *changes):
    """The one line that stops a start that only scores; nothing of the folder has changed."""
    before = content(run_dir)
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, run_dir, "stages=[score,report]", *changes)
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert content(run_dir) == before
    return line


RATIO = "methods.litefocus.patch.config.sparse_ratio"
THERE = "it has clips of dense, litefocus; durations 2; steps 2; guidance 3.5; seeds 0; 4 prompts, first a-dog-"
OTHER = "this run folder was made with other settings: "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (f"{RATIO}=0.9", f"{OTHER}method litefocus.patch.config.sparse_ratio was 0.1, now 0.9; set another name or"),
        ("dtype=float16", f"{OTHER}dtype was 'float32', now 'float16'; set another name or out_dir, or what it was"),
        ("durations=[2.0,3.0]", "has no clip of dense_3s_2steps_g3.5 and 1 more of the 4 conditions for these prompts"),
        ("steps=3", "has no clip of dense_2s_3steps_g3.5 and 1 more of the 2 conditions for these prompts and seeds"),
        ("seeds=[7]", THERE),
    ],
)
def test_scores_of_what_the_folder_does_not_hold_are_refused_before_a_byte_is_written(
    made, change, message, monkeypatch, capsys
):
    assert message in refused(made, monkeypatch, capsys, change)


def edit(run_dir, old, new):
    path = run_dir / "records.jsonl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_folder_that_says_its_pipeline_was_untrained_is_not_scored_whatever_was_typed(made, monkeypatch, capsys):
    edit(made, '"trained": true, "weights"', '"trained": false, "weights"')
    line = refused(made, monkeypatch, capsys)
    assert line.startswith(f"error: stage score: start made of {made} used testbed with random weights, its audio is")
    edit(made, '"trained": true', '"trained": false')
    assert "made with other settings: pipeline.trained was False, now True" in refused(made, monkeypatch, capsys)


def test_clips_of_another_caption_of_the_same_id_are_not_scored(made, monkeypatch, capsys):
    clip = of_kind(read_records(made), ClipRecord)[0]
    edit(made, json.dumps(clip.caption), '"Something else"')
    assert "was made for the caption 'Something else', now it says" in refused(made, monkeypatch, capsys)


def test_a_folder_without_clips_says_so(made, monkeypatch, capsys):
    lines = (made / "records.jsonl").read_text().splitlines(keepends=True)
    (made / "records.jsonl").write_text("")
    assert "it has no clips at all; ask for these, or add generate to stages" in refused(made, monkeypatch, capsys)
    # Asked for, and none came out: the scores say so.
    (made / "records.jsonl").write_text("".join(line for line in lines if '"method": "litefocus", "dur' not in line))
    command(monkeypatch, made, "stages=[score]")
    assert {m.method for m in of_kind(read_records(made), MetricRecord)} == {"dense"}
    assert [f.reason for f in of_kind(read_records(made), FailureRecord)] == ["no clips were generated"]


def test_a_start_that_only_scores_records_its_commit_command_and_judges(made, monkeypatch):
    monkeypatch.setattr(environment, "source_revision", lambda: {"commit": "f" * 40, "dirty": True})
    command(monkeypatch, made, "stages=[score]")
    records = read_records(made)
    (start,) = of_kind(records, ScoreRunRecord)
    assert (start.environment["commit"], start.environment["dirty"], start.number) == ("f" * 40, True, 2)
    assert start.config["stages"] == ["score"]
    assert 'metrics.metrics=["level"]' in start.overrides
    assert f"out_dir={json.dumps(made.name)}" in start.overrides
    scores = of_kind(records, MetricRecord)
    assert {score.run_id for score in scores} == {start.run_id}
    (judge,) = {score.judges["levels"] for score in scores}
    assert judge.startswith("levels ")
    assert {score.preset_version for score in scores} != {None}
    assert len({(score.protocol, score.material) for score in scores}) == 1


def test_a_start_that_only_reports_is_recorded_and_changes_no_report(made, monkeypatch):
    command(monkeypatch, made, "stages=[score,report]")
    before = (made / "report.md").read_bytes()
    command(monkeypatch, made, "stages=[report]")
    assert [start.config["stages"] for start in of_kind(read_records(made), ScoreRunRecord)] == [
        ["score", "report"],
        ["report"],
    ]
    assert (made / "report.md").read_bytes() == before


def test_nothing_to_report_leaves_no_record(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, tmp_path / "empty", "stages=[report]")
    assert stop.value.code == 2
    assert "nothing to score or report; run the generate stage first" in capsys.readouterr().err
    assert not (tmp_path / "empty/records.jsonl").exists()


def shown(run_dir):
    return {(m.method, m.metric): m.n_scored for m in of_kind(current(read_records(run_dir)), MetricRecord)}


@pytest.mark.parametrize("change", ["data.limit=3", "metrics.window_s=1.0"], ids=["other prompts", "another protocol"])
def test_a_rescore_of_other_prompts_or_another_protocol_is_kept_apart(made, change, monkeypatch, capsys):
    command(monkeypatch, made, "stages=[score]")
    assert {method for method, _ in shown(made)} == {"dense", "litefocus"}
    command(monkeypatch, made, "stages=[score]", "~methods.litefocus", change)
    records = read_records(made)
    earlier = [m for m in of_kind(records, MetricRecord) if m.run_id == of_kind(records, ScoreRunRecord)[0].run_id]
    assert f"{len(earlier)} earlier values, by other judges or of other prompts, are kept" in capsys.readouterr().out
    assert {method for method, _ in shown(made)} == {"dense"}
    assert {m.run_id for m in of_kind(current(records), MetricRecord)} == {records[-1].run_id}
    assert scored_apart(records).keys() == {(2.0, "dense"), (2.0, "litefocus")}


def test_the_same_scoring_again_and_new_methods_stay_together(made, monkeypatch):
    command(monkeypatch, made, "stages=[score]", "~methods.litefocus")
    command(monkeypatch, made, "stages=[score]", "~methods.dense")
    assert {method for method, _ in shown(made)} == {"dense", "litefocus"}
    assert scored_apart(read_records(made)) == {}


def score(run_id, method, judge, metric="fad", role="frames", material="m"):
    return MetricRecord(
        run_id, method, method, 2.0, "strict", metric, 1.0, 0.0, 2.0, 6, 0, "clip", False,
        preset_version=1, n_references=6, judges={role: judge}, protocol="p", material=material,
    )  # fmt: skip


def test_values_of_another_judge_of_the_same_role_are_left_out_those_of_other_roles_stay():
    first = [score("1", method, "vggish 1") for method in ("dense", "litefocus")]
    text = [score("1", method, "clap 1", "clap", "text") for method in ("dense", "litefocus")]
    again = [score("2", "dense", "vggish 2")]
    assert current([*first, *text, *again]) == [*text, *again]
    unknown = parse_record({"schema": 1, "kind": "metric", **{
        "run_id": "0", "condition": "c", "method": "peer", "duration_s": 2.0, "preset": "strict", "metric": "fad",
        "value": 1.0, "low": 0.0, "high": 2.0, "n_scored": 6, "n_failed": 0, "unit": "clip", "higher_is_better": False,
    }})  # fmt: skip
    assert current([unknown]) == [unknown]  # A record of before judges were named: alone it stands,
    assert current([unknown, *again]) == again  # beside a named one it does not.


def test_values_of_another_judge_are_left_out_at_every_length_and_protocols_differ_with_it():
    old = score("1", "dense", "vggish 1")
    new = replace(old, run_id="2", duration_s=8.0, judges={"frames": "vggish 2"}, protocol="p8", material="m8")
    longer = replace(old, run_id="2", duration_s=8.0, protocol="p8", material="m8")
    assert current([old, longer]) == [old, longer]
    assert current([old, new]) == [new]
    assert scored_apart([old, new]).keys() == {(2.0, "dense")}
    several = replace(old, metric="mine", judges={"text": "clap 1", "frames": "vggish 1"})
    assert current([several, new]) == [new]


def test_a_shard_that_is_dated_ahead_does_not_come_after_what_followed_it(made, monkeypatch):
    """A clock of another machine: what is made later would count as older, and its scores would not be shown."""
    text = (made / "records.jsonl").read_text()
    shard = made / "records.shard-00-of-02.jsonl"
    shard.write_text(text.replace('"made"', '"ahead"').replace("2026-01-01", "9999-12-31T23:59:59+00:00"))
    command(monkeypatch, made, "stages=[score]")
    records = read_records(made)
    assert [type(r).__name__ for r in records if isinstance(r, RunRecord | ScoreRunRecord)] == [
        *("RunRecord", "RunRecord", "ScoreRunRecord")
    ]
    assert isinstance(records[-1], MetricRecord)
    assert of_kind(records, ScoreRunRecord)[0].number == 2


def test_material_is_a_matter_of_prompts_captions_and_seeds_in_any_order():
    one, two = Prompt("a", "Rain"), Prompt("b", "Wind")
    assert material_of([one, two], [0, 1]) == material_of([two, one], [1, 0])
    different = [
        material_of(*args) for args in (([one], [0]), ([two], [0]), ([Prompt("a", "Hail")], [0]), ([one], [1]))
    ]
    assert len(set(different)) == 4
