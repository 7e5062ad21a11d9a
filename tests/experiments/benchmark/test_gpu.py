"""`make gpu` rehearsed at small size on a CPU: the same parts, the same commands."""

import json
import runpy
import sys
from types import SimpleNamespace

import pytest

from experiments.benchmark import gpu
from experiments.benchmark.gpu import CHECK, PARTS, Outcome, Part, render, run_parts

SMALL = ["device=cpu", "pipeline.size=tiny", "keep_freed_memory=false"]


def in_this_process(command, **_):
    """`python -m MODULE WORDS` without another start of the interpreter; a mistake leaves with its exit code."""
    _, _, module, *words = command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *words])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            return SimpleNamespace(returncode=stop.code)
    return SimpleNamespace(returncode=0)


@pytest.mark.slow
def test_every_part_runs_at_small_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(run=in_this_process, TimeoutExpired=TimeoutError))
    cells = "cells=[{level: op, duration_s: 2.56}, {level: step, duration_s: 2.56}, {level: loop, duration_s: 2.56}]"
    small = ["durations=[2.56]", f"out_dir={tmp_path / 'check'}"]
    check = Part("check", (*CHECK, *small, "dtype=float32"), 9999)
    short = (cells, "cell.rounds=1", "cell.arms=[dense,litefocus,no_attention]")
    grids = [
        Part(part.name, (*part.words, *short, f"out_dir={tmp_path / part.name}", "dtype=float32"), 9999)
        for part in PARTS
        if "+grid=gpu" in part.words
    ]
    outcomes = run_parts([check, *grids[:1]], SMALL, 9999)
    out, errors = capsys.readouterr()
    assert [outcome.code for outcome in outcomes] == [0, 0], errors[-2000:]
    assert "0 of" in out
    records = [json.loads(line) for line in (tmp_path / "bfloat16" / "records.jsonl").read_text().splitlines()]
    assert {r["level"] for r in records if r["kind"] == "round"} == {"op", "step", "loop"}


def test_a_part_that_fails_or_takes_too_long_leaves_the_others_their_time(capfd):
    parts = [
        Part("fails", ("platform", "--nonsense"), 30),
        Part("hangs", ("http.server", "0", "--bind", "127.0.0.1"), 0.5),
        Part("runs", ("platform",), 30),
    ]
    codes = [outcome.code for outcome in run_parts(parts, [], 60)]
    assert codes[1:] == [gpu.TIMED_OUT, 0]
    assert [outcome.code for outcome in run_parts(parts, [], -1)] == [None] * 3


def test_the_summary_says_how_each_part_ended(monkeypatch, capsys):
    outcomes = [Outcome("check", 0, 41.2), Outcome("bfloat16", 124, 240.0), Outcome("float16", None, 0.0)]
    lines = render(outcomes).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "check ok 41 s", "bfloat16 out of time 240 s", "float16 not started: no time left 0 s",
    ]  # fmt: skip
    monkeypatch.setattr(gpu, "run_parts", lambda *_: outcomes)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert stop.value.code == 2
    assert sum(part.limit_s for part in PARTS) <= 600
    assert gpu.BUDGET_S < 600
