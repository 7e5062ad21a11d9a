"""The command line: a whole run on wav files, and every mistake in one line with exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import noise_clip, write_folder

from evaluation.__main__ import main, options_of, parse
from evaluation.audio.windows import random_crop
from evaluation.embedders.protocol import identity_of

NAMES = [f"c{i}" for i in range(4)]


@pytest.fixture
def setup(tmp_path):
    write_folder(tmp_path / "ref", {n: noise_clip(i, 1) for i, n in enumerate(NAMES)})
    write_folder(tmp_path / "gen", {n: noise_clip(10 + i, 2) for i, n in enumerate(NAMES)})
    write_folder(tmp_path / "dense", {n: noise_clip(20 + i, 2) for i, n in enumerate(NAMES)})
    (tmp_path / "captions.csv").write_text("id,caption\n" + "".join(f"{n},sound {n}\n" for n in NAMES))
    roles = "".join(f"  {role}: {{_target_: networks.BandEmbedder}}\n" for role in ("frames", "classifier", "text"))
    (tmp_path / "metrics.yaml").write_text(f"preset: testbed\nwindow_s: 1.0\ncache_dir: null\nembedders:\n{roles}")
    return tmp_path


def words(folder, *more):
    return [
        f"reference={folder / 'ref'}", f"generated={folder / 'gen'}", f"captions={folder / 'captions.csv'}",
        f"config={folder / 'metrics.yaml'}", *more,
    ]  # fmt: skip


def test_a_run_prints_a_table_and_writes_files(setup, capsys, monkeypatch):
    monkeypatch.chdir(setup)
    assert main(words(setup, f"out={setup / 'out'}", f"baseline={setup / 'dense'}", "metrics=fad,kl,clap")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "gen"
    assert any(line.startswith("fad ↓") for line in lines)
    assert any(line.startswith("kl ↓") for line in lines[lines.index("minus dense") :])
    assert any(line.startswith("clap_reference ↑") for line in lines[lines.index("floors") :])
    data = json.loads((setup / "out" / "gen.json").read_text())
    assert {row["metric"] for row in data["results"] if row["window"] == -1} >= {"fad", "kl", "clap", "fad_drift"}
    assert str(setup / "out" / "gen.csv") in lines[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("metrics=fad,fidelity", "metric 'fidelity'; give some of fad,"),
        ("preset=sota", "preset 'sota'; give one of strict, published,"),
        ("generated=nowhere", "nowhere: no such folder of audio"),
        ("captions=none.csv", "none.csv: no such captions file"),
        ("speed=3", "unknown key 'speed'; keys are reference,"),
        ("fast", "'fast' is not key=value"),
        ("config=none.yaml", "none.yaml: no such config file"),
        ("weights.clip=a", "weights for ['clip']; options are vggish,"),
        ("window_s=-1", "window_s=-1"),
        ("embedders.ears._target_=networks.BandEmbedder", "roles are frames, classifier, text"),
        ("baseline=nowhere", "nowhere: no such folder of audio"),
        ("window_s=1s", "window_s=1s: accepted is a number without a unit"),
        ("strict=perhaps", "strict=perhaps: accepted are true and false"),
        ("metrics=[]", "metrics=[]: name at least one"),
        ("device=gpu", "device=gpu: torch sees cpu"),
        ("device=cuda:0,cuda:1", "device=cuda:0,cuda:1: torch sees cpu"),
        ("id_pattern=[a-z](.*", "id_pattern '[a-z](.*' is no regular expression"),
        ("id_pattern=(x)?.*", "id_pattern '(x)?.*' does not match 'c0' with exactly one group"),
        ("metrics=3", "metrics=3: give a list of names, like metrics=[first,second]"),
        ("metrics=[[level]]", "metrics=[['level']]: give a list of names"),
        ("extra=7", "extra=7: give a list of names"),
        ("extra=", "extra= is empty"),
        ("weights.vggish=", "weights.vggish= is empty"),
        ("weights=x", "weights=x: give each by its key, like weights.vggish=PATH"),
        ("embedders.frames={_target_: builtins.dict}", "embedders.frames is of type dict, which has no embed"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(setup, capsys, change, message):
    assert main(words(setup, change)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


def test_without_weights_the_error_names_file_source_and_place(setup, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(setup))
    assert main([*words(setup)[:2], "metrics=fad", "cache_dir=null"]) == 2
    error = capsys.readouterr().err
    for part in (
        "vggish-10086976.pth",
        "torchvggish/releases",
        str(setup / ".cache/litefocus/weights"),
        "weights.vggish",
    ):
        assert part in error


def test_help_and_no_words(capsys):
    assert main(["--help"]) == 0
    assert "python -m evaluation reference=DIR" in capsys.readouterr().out
    assert main([]) == 2


def test_configuration_files_of_the_repository_are_read_with_their_defaults():
    folder = Path(__file__).resolve().parents[2] / "conf" / "metrics"
    config = parse([f"config={folder / 'audioldm.yaml'}", "generated=a", "window_s=5"])
    assert (config.preset, config.window_s, config.batch_size) == ("audioldm", 5, 8)


NAMES_OF_FOLDERS = [
    *(
        "2024",
        "007",
        "1e3",
        "2024.10",
        "null_",
        "-1",
        "null",
        "true",
        "takes #2",
        "a: b",
        "[x]",
        "{x}",
        "@x",
        "%x",
        "*x",
    ),
    *("&x", "!x", "x ", "'x'", "a=b", "${x}", "${oc.env:HOME}", "\\\\x", "~x"),
]


@pytest.mark.parametrize("name", NAMES_OF_FOLDERS)
def test_a_folder_may_have_any_name(setup, capsys, monkeypatch, name):
    (setup / "gen").rename(setup / name)
    monkeypatch.chdir(setup)
    assert main([f"generated={name}", "metrics=level", "cache_dir=null", "window_s=1", f"out={name}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == name
    assert (setup / name / f"{name}.json").is_file()


def test_generated_is_needed():
    with pytest.raises(ValueError, match="generated=DIR is missing"):
        parse(["reference=a"])


def test_metrics_as_a_list_or_as_words():
    assert options_of(parse(["generated=a", "metrics=[fad,kl]"]))["metrics"] == ["fad", "kl"]
    assert options_of(parse(["generated=a", "metrics=fad, kl"]))["metrics"] == ["fad", "kl"]
    assert options_of(parse(["generated=a", "weights.vggish=x.pth", "seed=3"])) == {
        "weights": {"vggish": "x.pth"}, "seed": 3,
    }  # fmt: skip


def test_the_module_runs_as_a_program(setup):
    script = (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('evaluation', run_name='__main__')"
    )
    helpers = str(__file__).rsplit("/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", script, helpers, *words(setup, "metrics=level")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "gen"


def test_importing_the_package_opens_no_socket_and_pulls_no_hub():
    script = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('network')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import evaluation.evaluate, evaluation.run.scorer\n"
        "from evaluation.embedders.networks import clap, laion, packages, panns, vggish\n"
        "assert not {'laion_clap', 'frechet_audio_distance', 'torchaudio', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_tilde_is_the_home_folder(setup, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(setup))
    assert main(["generated=~/gen", "metrics=level", "cache_dir=null", "window_s=1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "gen"


def test_several_captions_of_a_clip_are_taken_as_the_command_line_says(setup, capsys):
    rows = "".join(f"{n},sound {n}\n{n},noise {n}\n" for n in NAMES)
    (setup / "captions.csv").write_text(f"id,caption\n{rows}")
    assert main(words(setup, "metrics=clap")) == 2
    assert "several_captions=max, mean or first" in capsys.readouterr().err
    assert main(words(setup, "metrics=clap", "several_captions=max")) == 0
    assert main(words(setup, "metrics=clap", "several_captions=most")) == 2


@pytest.mark.parametrize(
    "word", ["generated=", "reference=", "baseline=", "out=", "cache_dir=", "captions=", "window_s=", "weights.vggish="]
)
def test_an_empty_value_is_refused_and_not_the_working_directory(setup, capsys, monkeypatch, word):
    monkeypatch.chdir(setup / "gen")
    given = ["generated=.", "metrics=level", "window_s=1", "cache_dir=null"]
    assert main([*(other for other in given if not other.startswith(word)), word]) == 2
    assert capsys.readouterr() == ("", f"error: {word} is empty; give a value, or leave the key out\n")
    assert [path.name for path in (setup / "gen").iterdir() if path.suffix != ".wav"] == []


def test_an_empty_folder_of_records_is_refused(setup, capsys, monkeypatch):
    monkeypatch.chdir(setup)
    assert main(["agreement="]) == 2
    assert "agreement= is empty" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["yml", "txt"])
def test_a_config_is_read_from_the_named_file_and_not_from_its_neighbour(setup, capsys, ending):
    (setup / "u.yaml").write_text("metrics: [silence]\n")
    (setup / f"u.{ending}").write_text("metrics: [level]\n")
    assert main([f"generated={setup / 'gen'}", f"config={setup / f'u.{ending}'}", "cache_dir=null"]) == 2
    assert capsys.readouterr().err == f"error: {setup / f'u.{ending}'}: a config file ends in .yaml; rename it\n"


def test_a_tilde_in_a_config_is_the_home_folder_too(setup, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(setup))
    monkeypatch.chdir(setup)
    config = "generated: ~/gen\nout: ~/out\ncache_dir: ~/cache\nmetrics: [level]\nwindow_s: 1\nfloors: false\n"
    (setup / "home.yaml").write_text(config)
    assert main(["config=~/home.yaml"]) == 0
    assert (setup / "out" / "gen.json").is_file()
    assert (setup / "cache").is_dir()
    assert not (setup / "~").exists()
    assert options_of(parse(["config=~/home.yaml", "weights.vggish=~/x"]))["weights"] == {"vggish": str(setup / "x")}
    (setup / "w.yaml").write_text("generated: a\nweights: {vggish: ~/x}\n")
    assert options_of(parse([f"config={setup / 'w.yaml'}"]))["weights"] == {"vggish": str(setup / "x")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("generated: 2024", "generated: 2024 is no path"),
        ("generated: 010", "generated: 8 is no path"),
        ("{generated: gen, out: ''}", "out: '' is no path"),
        ("{generated: gen, cache_dir: false}", "cache_dir: False is no path"),
        ("generated:", "generated=DIR is missing"),
        ("{generated: gen, weights: {vggish: 3}}", "weights.vggish=3: give a path or sha256:HEX"),
        ("{generated: gen, embedders: [a]}", "embedders=['a']: give each by its key, like embedders.frames._target_="),
        ("generated: [gen", "{folder}/paths.yaml: no yaml ("),
        ("generated: gen\ngenerated: ref", "{folder}/paths.yaml: no yaml (while constructing a mapping"),
    ],
)
def test_what_a_config_holds_wrongly_is_one_line(setup, capsys, monkeypatch, line, message):
    monkeypatch.chdir(setup)
    (setup / "paths.yaml").write_text(f"{line}\n")
    assert main([f"config={setup / 'paths.yaml'}", "metrics=level", "window_s=1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message.replace('{folder}', str(setup))}")
    assert error.count("\n") == 1


def test_a_clip_that_failed_in_the_baseline_is_named_in_table_and_json(setup, capsys, monkeypatch):
    monkeypatch.chdir(setup)
    (setup / "dense" / "c1.wav").write_bytes(b"garbage")
    (setup / "gen" / "c2.wav").write_bytes(b"garbage")
    (setup / "ref" / "c3.wav").write_bytes(b"garbage")
    given = words(setup, f"baseline={setup / 'dense'}", "metrics=level,fad", "floors=false", f"out={setup / 'out'}")
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = (
        number for number, line in enumerate(lines) if line.startswith("failed in the baseline: 1: cannot be read")
    )
    assert lines[at + 1].strip() == str(setup / "dense" / "c1.wav")
    record = json.loads((setup / "out" / "gen.json").read_text())
    assert sorted(record["failures"]) == ["c2", "c3"]
    assert sorted(record["baseline_failures"]) == ["c1", "c3"]
    assert str(setup / "dense" / "c1.wav") in record["baseline_failures"]["c1"]


def level(folder, *more):
    return [f"generated={folder}", "metrics=level", "window_s=1", "cache_dir=null", *more]


@pytest.mark.parametrize("out", ["afile", "afile/below", "/proc/nope", "/dev/null"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(setup, capsys, monkeypatch, out):
    monkeypatch.chdir(setup)
    (setup / "afile").write_text("")
    monkeypatch.setattr("evaluation.run.scorer.embed_side", lambda *_, **__: pytest.fail("work began"))
    assert main(level("gen", f"out={out}")) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {out}: no record can be written there (")
    assert captured.err.count("\n") == 1


def test_a_disk_that_fills_up_keeps_the_table_and_leaves_no_half_record(setup, capsys, monkeypatch):
    monkeypatch.chdir(setup)

    def full(path, *_, **__):
        if path.suffix == ".csv":
            raise OSError(28, "No space left on device")
        path.write_bytes(b"{}")

    monkeypatch.setattr("evaluation.results.result.write_whole", full)
    assert main(level("gen", "out=out")) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "gen"
    assert any(line.startswith("level ") for line in captured.out.splitlines())
    assert captured.err.startswith("error: out: no record can be written there (No space left on device)")
    assert list((setup / "out").iterdir()) == []


def test_a_refused_run_makes_no_folder(setup):
    assert main(level(setup / "nowhere", f"out={setup / 'a' / 'b'}")) == 2
    assert not (setup / "a").exists()


def run_as_program(*given, encoding="utf-8"):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "evaluation", *given], capture_output=True, timeout=60, env=environment
    )


def test_a_pipe_among_the_clips_is_one_failed_clip(setup):
    os.mkfifo(setup / "gen" / "pipe.wav")
    done = run_as_program(*level(setup / "gen"))
    assert done.returncode == 0, done.stderr
    assert f"{setup / 'gen' / 'pipe.wav'}" in done.stdout.decode()
    assert "failed: 1: no such audio file" in done.stdout.decode()


def test_a_name_that_is_not_utf8_is_scored_and_written(setup):
    name = os.fsencode(setup / "gen") + b"/caf\xe9.wav"
    os.rename(setup / "gen" / "c0.wav", name)
    with open(os.fsencode(setup / "gen") + b"/bad\xe9.wav", "wb") as file:
        file.write(b"garbage")
    done = run_as_program(*level(setup / "gen", f"out={setup / 'out'}"))
    assert done.returncode == 0, done.stderr
    assert "bad\\udce9.wav" in done.stdout.decode()
    (path,) = (setup / "out").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert sorted(record["per_clip"]) == ["c1", "c2", "c3", "caf\udce9"]
    assert list(record["failures"]) == ["bad\udce9"]
    assert random_crop(np.arange(9.0), 1, 3, seed=0, clip_id="caf\udce9").shape == (3,)
    assert identity_of("caf\udce9") != identity_of("caf\udce8")


def test_a_terminal_without_arrows_has_its_table(setup):
    (setup / "gen" / "☂.wav").write_bytes(b"garbage")
    done = run_as_program(*level(setup / "gen"), encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u2602.wav" in done.stdout.decode("ascii")
