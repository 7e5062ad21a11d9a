"""Captions in, wavs, records, table and figures out, on the tiny untrained pipeline: the code that real runs use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir

from experiments.records import ClipRecord, RunRecord, TimingRecord, of_kind, read_records
from experiments.report import report
from experiments.run import run
from experiments.system.cli import CONF_DIR
from experiments.tables.run_tables import tables_of

ROOT = Path(__file__).resolve().parents[2]
TINY = ("pipeline=audioldm2_untrained", "pipeline.name=tiny_untrained", "pipeline.size=tiny", "data=demo")


def smoke(out_dir, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose(config_name="config", overrides=["+sweep=smoke", f"out_dir={out_dir}", *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("smoke")
    text = run(smoke(run_dir, "timing.rounds=2", "data.limit=2"))
    return run_dir, text


def test_every_clip_has_exactly_the_asked_length(finished):
    run_dir, _ = finished
    clips = of_kind(read_records(run_dir), ClipRecord)
    assert len(clips) == 6 * 2 * 2
    for clip in clips:
        info = soundfile.info(run_dir / clip.audio)
        assert (info.frames, info.samplerate, info.channels) == (round(clip.duration_s * 16000), 16000, 1)


def test_the_timing_has_every_arm_and_an_a_a_arm(finished):
    run_dir, _ = finished
    timings = of_kind(read_records(run_dir), TimingRecord)
    assert [timing.duration_s for timing in timings] == [1.0, 2.0]
    expected = {
        "dense",
        "litefocus",
        "focus_only",
        "compensation_only",
        "naive",
        "authors",
        "no_attention",
        "dense_again",
    }
    for timing in timings:
        assert set(timing.latencies_s) == expected
        assert all(len(values) == 2 and min(values) > 0 for values in timing.latencies_s.values())
        assert all(memory is None or memory > 0 for memory in timing.peak_memory_gib.values())


def test_the_report_shows_every_method_and_says_untrained(finished):
    run_dir, text = finished
    for label in ("Dense (SDPA)", "LiteFocus", "Focus only", "Compensation only", "Attention removed (limit)", "(A/A)"):
        assert label in text
    assert "random weights" in text
    assert (run_dir / "report.md").read_text() == text
    assert (run_dir / "tables" / "speed.csv").exists()
    assert (run_dir / "listen.html").exists()
    names = sorted(path.name for path in (run_dir / "figures").iterdir())
    assert {"latency.png", "latency.svg", "speedup.png", "speedup.svg"} <= set(names)


def test_the_report_is_redrawn_from_records_byte_for_byte(finished):
    run_dir, text = finished
    before = {
        path: path.read_bytes()
        for path in run_dir.rglob("*")
        if path.suffix in (".svg", ".png", ".pdf", ".csv", ".md", ".tex", ".html")
    }
    assert report(run_dir) == text
    assert {path: path.read_bytes() for path in before} == before


def test_the_run_record_says_what_ran(finished):
    run_dir, _ = finished
    (record,) = of_kind(read_records(run_dir), RunRecord)
    assert record.pipeline["name"] == "tiny_untrained"
    assert record.pipeline["trained"] is False
    assert record.config["steps"] == 2
    assert record.environment["packages"]["torch"] == torch.__version__
    assert record.environment["threads"] == torch.get_num_threads()
    assert json.dumps(record.config)
    assert str(Path.home()) not in (run_dir / "records.jsonl").read_text()


def test_running_again_generates_nothing_and_changes_no_wav(finished):
    run_dir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.wav")}
    run(smoke(run_dir, "data.limit=2", "stages=[generate]"))
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.wav")} == before


def test_timing_again_times_only_what_is_missing(tmp_path):
    few = ("stages=[timing]", "timing.rounds=1", "timing.warmup=0")
    for durations in ("[0.64]", "[0.64,1.28]"):
        run(smoke(tmp_path, *few, f"durations={durations}"))
    assert [r.duration_s for r in of_kind(read_records(tmp_path), TimingRecord)] == [0.64, 1.28]


def wavs(run_dir):
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*.wav")}


def test_same_bits_alone_in_a_batch_and_in_any_method_order(finished, tmp_path):
    run_dir, _ = finished
    config = smoke(tmp_path, "data.limit=2", "seeds=[0,1]", "batch_size=4", "stages=[generate]", "durations=[1]")
    config.methods = dict(reversed(list(config.methods.items())))
    run(config)
    reference, shuffled = wavs(run_dir), wavs(tmp_path)
    shared = sorted(set(reference) & set(shuffled))
    assert len(shared) == 12
    assert [name for name in shared if reference[name] != shuffled[name]] == []


def test_same_bits_of_audible_audio_on_the_testbed(tmp_path):
    # The untrained pipeline is too quiet for 16 bits: its wavs are silence. The shipped model's are not.
    common = ("pipeline=testbed", "data=testbed", "durations=[2.56]", "stages=[generate]", "~pipeline.size")
    run(smoke(tmp_path / "alone", *common))
    config = smoke(tmp_path / "batch", *common, "batch_size=4", "seeds=[1,0]")
    config.methods = dict(reversed(list(config.methods.items())))
    run(config)
    alone, batch = wavs(tmp_path / "alone"), wavs(tmp_path / "batch")
    assert len(alone) == 12
    assert {name: batch[name] for name in alone} == alone
    assert len(set(alone.values())) >= 8
    assert all(abs(soundfile.read(tmp_path / "alone" / name)[0]).max() > 0.01 for name in alone)


def test_shards_together_make_the_same_bytes_and_time_every_length_once(finished, tmp_path):
    run_dir, _ = finished
    common = ("data.limit=2", "stages=[generate,timing,report]", "timing.rounds=1", "shard.count=2")
    for index in (0, 1):
        assert run(smoke(tmp_path, *common, f"shard.index={index}")) == ""
    assert wavs(tmp_path) == wavs(run_dir)
    records = read_records(tmp_path)
    assert len(of_kind(records, ClipRecord)) == len(wavs(tmp_path))
    assert sorted(timing.duration_s for timing in of_kind(records, TimingRecord)) == [1.0, 2.0]
    assert not (tmp_path / "report.md").exists()
    (speeds,) = (table for name, table in tables_of(tmp_path).items() if name == "speed")
    assert [row[0] for row in speeds.rows if row[1] == "LiteFocus"] == [1.0, 2.0]


def test_the_global_rng_is_left_alone(tmp_path):
    state = torch.random.get_rng_state()
    run(smoke(tmp_path, "durations=[1]", "stages=[generate]"))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method=telepathy", "Could not find 'method/telepathy'"),
        ("nonsense=1", "nonsense=1: no setting is named nonsense; there are batch_size, data, "),
        ("+seed=[5]", "+seed=[5]: no setting is named seed; did you mean seeds?"),
        ("guidence=9", "guidence=9: no setting is named guidence; did you mean guidance?"),
        ("+timing.round=3", "no setting is named timing.round; did you mean timing.rounds?"),
        ("+metrics.window=3", "no setting is named metrics.window; did you mean metrics.window_s?"),
        ("tracking.tags=[x]", "no setting is named tracking.tags; there are name (of this choice of tracking=)"),
        ("tracking=wandb +tracking.tag=[x]", "no setting is named tracking.tag; did you mean tracking.tags?"),
        ("out_dir=null", "out_dir: got None, accepted is a folder"),
        ("pipeline.name=null", "pipeline.name: got None, accepted is a text"),
        ("data=captions data.file=x.csv data.column=3", "data.column 3: accepted are texts"),
        ("shard=1", "shard=1: it holds settings of its own; set one of them, shard.KEY=VALUE"),
        ("methods=x", "methods=x: it holds settings of its own"),
        ("timing=x", "timing=x: it holds settings of its own"),
        ("timing.arms=x", "timing.arms=x: it holds settings of its own"),
        ("metrics.weights=x", "metrics.weights=x: it holds settings of its own"),
        ("timing.rounds=0", "timing.rounds 0: accepted are whole numbers from 1"),
        ("timing.rounds=two", "timing.rounds 'two': accepted are whole numbers from 1"),
        ("timing.starts=0", "timing.starts 0: accepted are whole numbers from 1"),
        ("timing.baseline=litfocus", "timing.baseline 'litfocus': no such method; did you mean litefocus?"),
        ("metrics.window_s=abc", "metrics.window_s 'abc': accepted are seconds above 0, or null"),
        ("metrics.aligned_references=maybe", "metrics.aligned_references 'maybe': accepted are true and false"),
        ("+metrics.margins.clpa=1", "metrics.margins.clpa: no such metric; did you mean clap?"),
        ("+metrics.margins.fad=nan", "metrics.margins.fad nan: accepted are numbers above 0"),
        ("metrics.cache_dir=", "metrics.cache_dir is empty; give one, or null"),
        ("data.references=[a]", "data.references: got ['a']; accepted are a folder, a _target_ of its own, or null"),
        ("+data.references.folder=x", "data.references: got {'folder': 'x'}; accepted are a folder"),
        ("decode_in_chunks=yes", "decode_in_chunks=yes: it holds settings of its own"),
        ("+stps=1,2 -m", "+stps=1,2: no setting is named stps; did you mean steps?"),
        ("durations=[0]", "duration 0 s: accepted are lengths above 0"),
        ("durations=[1e6]", "accepted are lengths above 0 and up to 640 s"),
        ("durations=[0.01]", "clips of at least"),
        ("device=cuda", "torch sees no CUDA device"),
        ("dtype=float8", "dtype 'float8': accepted are float32, float16, bfloat16"),
        ("pipeline.size=huge", "pipeline.size 'huge': accepted are full, tiny"),
        ("method.patch.config.sparse_ratio=1.5", "sparse_ratio=1.5: accepted are numbers from 0 to 1"),
        ("data=captions data.file=nowhere.txt", "no caption file at nowhere.txt"),
        ("data=captions", "data.file"),
        ("pipeline=audioldm2 pipeline.path=nowhere", "no model_index.json in nowhere"),
        ("pipeline=audioldm2 metrics=testbed", "the pipeline is audioldm2; set metrics=strict"),
        ("stages=[generate,score]", "pipeline tiny_untrained has random weights"),
        ("device=0", "device 0: accepted are auto, cpu, cuda and cuda:N"),
        ("device=cudafoo", "device 'cudafoo': accepted are auto, cpu, cuda and cuda:N"),
        ("threads=0", "threads 0: accepted are whole numbers from 1, or null"),
        ("seeds=[0,0]", "seeds [0, 0]: a seed is given twice"),
        ("tracking=wandb tracking.mode=foo", "tracking.mode 'foo': accepted are online, offline"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, override, message):
    from experiments import run as program

    groups = {word.split("=")[0] for word in override.split()}
    tiny = [word for word in TINY if word.split("=")[0] not in groups]
    if "pipeline" in groups:
        tiny = [word for word in tiny if not word.startswith("pipeline.")]
    arguments = ["run", *tiny, "data.limit=1", "durations=[1]", f"out_dir={tmp_path}/run", *override.split()]
    if "device=cuda" in override and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_info:
        program.main()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit_info.value.code == 2
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "run" / "records.jsonl").exists(), "said before anything is generated"


@pytest.mark.slow
def test_the_command_line_from_a_strangers_folder(tmp_path):
    (tmp_path / "prompts.txt").write_text("Rain on a roof\n")
    command = [
        sys.executable,
        "-m",
        "experiments.run",
        *TINY,
        "data=captions",
        "data.file=prompts.txt",
        "durations=[1]",
    ]
    done = subprocess.run(
        [*command, "stages=[generate,report]", "out_dir=here"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "results: here" in done.stdout
    assert len(list((tmp_path / "here" / "audio").rglob("*.wav"))) == 1
