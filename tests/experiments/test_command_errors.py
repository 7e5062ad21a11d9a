"""Every command line: what the user got wrong is one line and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmark import metrics as benchmark_metrics
from experiments.system.cli import one_line_errors
from experiments.testbed.assessment import linear_sweep


@pytest.mark.parametrize("program", [linear_sweep, benchmark_metrics])
@pytest.mark.parametrize(("word", "message"), [("foo=1", "error: got 'foo=1'; accepted"), ("clips=x", "clips must be")])
def test_unknown_settings(program, word, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", word])
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("error", [ImportError, FloatingPointError, ValueError, OSError])
def test_what_a_user_can_mend_has_no_traceback(error, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error("two\nlines")
    assert (stop.value.code, capsys.readouterr().err) == (2, "error: two lines\n")


def test_a_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError), one_line_errors():
        raise RuntimeError("ours")
    with pytest.raises(SystemExit) as stop, one_line_errors():
        sys.exit(3)
    assert stop.value.code == 3


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
