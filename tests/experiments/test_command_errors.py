"""Every command line: what the user got wrong is one line and exit code 2."""

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments import run
from experiments.system.cli import one_line_errors
from experiments.system.settings import program

ROOT = Path(__file__).resolve().parents[2]
# Every file that a line `program(...)` makes a command.
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "experiments").rglob("*.py")
    if "\n    program(" in path.read_text(encoding="utf-8") or "\nprogram(" in path.read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Settings:
    """`clips` is how many; `folder` where."""

    clips: int = 3
    share: float = 0.5
    folder: str = "here"
    half: bool = False


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("foo=1", "error: got 'foo=1'; accepted"),
        ("clips=x", "clips must be a int, got 'x'"),
        ("half=maybe", "half must be a bool"),
        ("clips", "got 'clips'; accepted"),
    ],
)
def test_unknown_settings(word, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", word])
    with pytest.raises(SystemExit) as stop:
        program(Settings, lambda settings: pytest.fail("ran"), "What it does.")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+sweep=smoke", "--verbose"], "unrecognized arguments: --verbose; write KEY=VALUE words first"),
        (["+sweep=smoke", "--cfg", "job", "steps=1"], "unrecognized arguments: steps=1; write KEY=VALUE words first"),
        (["--cfg", "everything"], "invalid choice: 'everything'"),
        (["--config-dir"], "expected one argument"),
        (["--co=x"], "ambiguous option: --co=x"),
    ],
)
def test_a_flag_that_hydra_cannot_read_is_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run", *words])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_an_error_of_hydra_names_no_folder_of_this_machine(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise ValueError("Could not find 'method/x'\nAvailable: y\nConfig search path:\n\tpath=file:///home/ann/conf")
    assert capsys.readouterr().err == "error: Could not find 'method/x' Available: y\n"


@pytest.mark.parametrize("name", ["takes #2", "a: b", "[x]", "@x", "${oc.env:HOME}", "~", "null", "x=y", "'"])
def test_a_typed_value_is_text_and_nothing_else(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", f"folder={name}", "clips=4"])
    program(Settings, lambda settings: f"{settings.clips} {settings.folder}", None)
    assert capsys.readouterr().out == f"4 {name}\n"


def test_help_names_every_option_with_its_default_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "clips=x", "--help"])
    with pytest.raises(SystemExit) as stop:
        program(Settings, lambda settings: pytest.fail("ran"), "What it does.")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("What it does.")
    assert all(f"  {option}\n" in out for option in ("clips=3", "share=0.5", "folder=here", "half=False"))
    assert "`clips` is how many" in out


def test_the_help_of_every_program_fits_a_screen():
    """One process: each file as it is started from the command line, with --help."""
    assert len(PROGRAMS) > 12
    code = (
        "import contextlib, io, runpy, sys\n"
        "for name in sys.argv[1].split():\n"
        "    sys.argv[1:], out = ['--help'], io.StringIO()\n"
        "    module = name.removesuffix('.py').removesuffix('/__main__').replace('/', '.')\n"
        "    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "        runpy.run_module(module, run_name='__main__')\n"
        "    text = out.getvalue()\n"
        "    print(name, len(text.splitlines()), 'Options, with their defaults:' in text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, " ".join(PROGRAMS)],
        cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _, _ in shown] == PROGRAMS
    assert [name for name, lines, options in shown if int(lines) > 60 or options != "True"] == []


def test_what_a_run_finds_once_it_has_started_is_one_line_too(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["run", "+sweep=smoke", "stages=[score]", f"out_dir={tmp_path}"])
    with pytest.raises(SystemExit) as stop:
        run.main()
    (line,) = capfd.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith("error: stage score: pipeline tiny_untrained has random weights")


@pytest.mark.parametrize(
    ("module", "option"),
    [
        ("run", "decode_in_chunks:"),
        ("check", "decode_in_chunks:"),
        ("plan", "shard_hours:"),
        ("probe", "noise_seeds:"),
        ("benchmark.run", "cells:"),
        ("benchmark.windows", "rounds:"),
    ],
)
def test_the_help_of_the_harness_fits_a_screen_and_explains_its_keys(module, option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "--help"])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"experiments.{module}").main()
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "hydra:" not in out
    assert option in out
    assert "\n(data, grid, method, metrics, pipeline, sweep, tracking, windows; " in out
    assert len(out.splitlines()) <= 70


@pytest.mark.parametrize("error", [ImportError, FloatingPointError, ValueError, OSError])
def test_what_a_user_can_mend_has_no_traceback(error, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error("two\nlines")
    assert (stop.value.code, capsys.readouterr().err) == (2, "error: two lines\n")


INTERRUPTED_BETWEEN_MAKING_AND_ENTERING = """
from experiments.system.cli import one_line_errors
from litefocus import lite_focus

def work():
    context = lite_focus(None)
    raise KeyboardInterrupt

with one_line_errors():
    work()
"""


def test_an_interrupt_before_a_patch_is_entered_is_one_line():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_BETWEEN_MAKING_AND_ENTERING], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; finished clips are kept, the same command resumes\n"


def test_a_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError), one_line_errors():
        raise RuntimeError("ours")
    with pytest.raises(SystemExit) as stop, one_line_errors():
        sys.exit(3)
    assert stop.value.code == 3


def test_a_terminal_without_arrows_gets_its_table():
    code = "from experiments.system.cli import one_line_errors\nwith one_line_errors():\n    print('FAD ↓ 🐕')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "FAD \\u2193 \\U0001f415\n", "")


@pytest.mark.parametrize("module", ["experiments.report", "evaluation"])
def test_a_reader_that_has_gone_is_no_error(module):
    """As `python -m ... --help | head -0`: the read end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=root)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
