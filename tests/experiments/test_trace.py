"""From a cell back to what made it: every record, start and wav, at its line of the file."""

import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from listen_material import make_run, metric, timing
from start_material import PIPELINE

from experiments.records import ClipRecord, ScoreRunRecord, append_record, of_kind, read_records
from experiments.trace import main, trace

RESULTS = Path(__file__).resolve().parents[2] / "results"
ENVIRONMENT = {
    "commit": "c" * 40,
    "dirty": True,
    "device": "cpu",
    "dtype": "float32",
    "threads": 1,
    "packages": {"torch": "2"},
}


@pytest.fixture
def scored(tmp_path):
    make_run(tmp_path, {"a": "Rain", "b": "Wind"}, [0.1, 0.2])
    clips = of_kind(read_records(tmp_path), ClipRecord)
    lite, dense = (next(c for c in clips if (c.method, c.duration_s) == (name, 0.1)) for name in ("litefocus", "dense"))
    config = {"stages": ["score"]}
    append_record(
        tmp_path, ScoreRunRecord("scores", "2026-02-02", config, ENVIRONMENT, PIPELINE, [], 7, ["stages=[score]"])
    )
    for value, changes in ((0.3, {}), (0.4, {}), (-0.1, {"baseline": "dense"})):
        record = metric(lite.condition, "litefocus", 0.1, value=value, n_scored=2, **changes)
        append_record(tmp_path, replace(record, run_id="scores", judges={"text": "clap 1f2e"}, preset_version=3))
    append_record(tmp_path, replace(metric(dense.condition, "dense", 0.1, n_scored=2), run_id="scores"))
    timed = timing(0.1, dense=[4.0], litefocus=[2.0], no_attention=[1.0])
    append_record(tmp_path, replace(timed, labels={name: f"{name} step" for name in timed.latencies_s}))
    return tmp_path


def line(run_dir, place):
    name, _, number = place.partition(":")
    return json.loads((run_dir / name).read_text().splitlines()[int(number) - 1])


def lines_of(found, what):
    return [text.split(maxsplit=1)[1] for text in found if text.startswith(f"{what}: ")]


def test_a_score_comes_of_its_newest_record_its_start_and_the_wavs_of_its_condition(scored):
    found = trace(scored, "quality", "0.1 litefocus", "clap")
    assert found[0] == "cell: quality, 0.1 litefocus, clap: 0.4 without an interval"
    (record,) = lines_of(found, "record")
    assert line(scored, record.split()[0])["value"] == 0.4
    assert "preset strict version 3" in record
    assert "judges text: clap 1f2e, start scores" in record
    told = {text.split()[1]: text for text in lines_of(found, "start")}
    assert told.keys() == {"scores", "r"}
    assert "commit cccccccccccc-dirty, stages score, typed stages=[score]" in told["scores"]
    wavs = lines_of(found, "wav")
    expected = {
        c.audio for c in of_kind(read_records(scored), ClipRecord) if (c.method, c.duration_s) == ("litefocus", 0.1)
    }
    assert {text.split()[1] for text in wavs} == expected
    for text in wavs:
        place, audio, _, sha256 = text.split()[:4]
        assert (line(scored, place)["audio"], line(scored, place)["sha256"]) == (audio, sha256)


def test_a_difference_comes_of_the_wavs_of_both_and_a_label_names_the_row_too(scored):
    found = trace(scored, "difference_dense", "0.1 LiteFocus", "clap")
    record, *_ = lines_of(found, "record")
    assert line(scored, record.split()[0])["baseline"] == "dense"
    assert {text.split()[1].split("/")[1].split("_")[0] for text in lines_of(found, "wav")} == {"dense", "litefocus"}


def test_a_difference_names_the_scores_too_whose_clips_give_its_interval(scored):
    of = {c.method: c.condition for c in of_kind(read_records(scored), ClipRecord) if c.duration_s == 0.1}
    for name, baseline in (("dense", ""), ("litefocus", ""), ("litefocus", "dense")):
        values = {"a_0": 0.25, "b_0": 0.5}
        record = metric(
            of[name], name, 0.1, per_clip=values, baseline=baseline, **({"details": {}} if baseline else {})
        )
        append_record(scored, replace(record, run_id="scores"))
    found = trace(scored, "difference_dense", "0.1 litefocus", "clap")
    records = [line(scored, text.split()[0]) for text in lines_of(found, "record")]
    assert [(r["method"], r["baseline"]) for r in records] == [
        ("litefocus", "dense"), ("dense", ""), ("litefocus", ""),
    ]  # fmt: skip


def test_a_step_time_comes_of_its_timing_and_of_no_wav(scored):
    found = trace(scored, "speed", "0.1 litefocus", "speedup")
    assert line(scored, lines_of(found, "record")[0].split()[0])["kind"] == "timing"
    assert lines_of(found, "wav") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere", "0.1 dense", "clap"), r"no table 'nowhere' in .*; accepted: all_metrics, difference_dense"),
        (("quality", "9 dense", "clap"), r"no row '9 dense' in quality; accepted: 0.1 "),
        (("quality", "dense", "clap"), r"no row 'dense' in quality; accepted: 0.1 "),
        (("quality", "0.1 dense", "fad"), r"no column 'fad' in quality; accepted: clap, note"),
        (("quality", "0.1 dense", "note"), r"note of quality comes of no record of a score, a loss"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(scored, words, message):
    with pytest.raises(ValueError, match=message):
        trace(scored, *words)


def test_the_command_says_how_it_is_used(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trace", "results/testbed"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code, capsys.readouterr().err.splitlines()) == (
        2,
        ["error: got 1 arguments; give RUN_FOLDER TABLE ROW COLUMN, like results/third_study quality "
         "'40.96 litefocus' fad or results/third_study denoising_loss '40.96 500 litefocus' difference_percent"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "words", "kind", "expected"),
    [
        (
            "testbed",
            ("denoising_loss", "40.96 500 litefocus", "difference_percent"),
            "probe_loss",
            {("litefocus", 40.96, 500, draw) for draw in (0, 1, 2)}
            | {("dense", 40.96, 500, draw) for draw in (0, 1, 2)},
        ),
        (
            "testbed",
            ("denoising_loss", "5.12 700 Focus only", "loss"),
            "probe_loss",
            {("focus_only", 5.12, 700, draw) for draw in (0, 1, 2)},
        ),
    ],
)
def test_a_loss_comes_of_its_records_and_a_difference_of_those_of_dense_too(run, words, kind, expected):
    folder = RESULTS / run
    records = [line(folder, text.split()[0]) for text in lines_of(trace(folder, *words), "record")]
    assert {record["kind"] for record in records} == {kind}
    assert {(r["method"], r["duration_s"], r["t"], r["noise_seed"]) for r in records} == expected


def test_attention_comes_of_every_site_at_its_length_and_level():
    found = trace(RESULTS / "testbed", "attention", "20.48 700", "own_bin_over_uniform")
    records = [line(RESULTS / "testbed", text.split()[0]) for text in lines_of(found, "record")]
    assert {(r["duration_s"], r["structure"]["t"]) for r in records} == {(20.48, 700)}
    assert len({r["structure"]["site"] for r in records}) == len(records) == 12


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [("step_eager_speedup", "LiteFocus", "speedup_40s"), ("step_eager", "40 litefocus", "latency_s")],
)
def test_a_benchmarks_ratio_comes_of_its_rounds(table, row, column):
    folder = RESULTS / "benchmark_cpu"
    found = trace(folder, table, row, column)
    records = [line(folder, text.split()[0]) for text in lines_of(found, "record")]
    assert {(r["kind"], r["level"], r["duration_s"]) for r in records} == {("round", "step", 40.0)}
    own = [r["latencies_s"] for r in records]
    told = float(found[0].rpartition(": ")[2].split()[0])
    ratio = statistics.geometric_mean(r["dense"] / r["litefocus"] for r in own)
    expected = ratio if "speedup" in column else statistics.median(r["litefocus"] for r in own)
    assert told == pytest.approx(expected, rel=1e-3)


def test_a_committed_score_of_before_scoring_starts_were_recorded_says_that_its_start_is_unknown():
    found = trace(RESULTS / "levers", "quality", "20.48 dense", "fad")
    assert any("it did not score: the start that did is older" in text for text in lines_of(found, "start"))
