"""A report is a function of the records: drawn again it has the same bytes, with or without the audio."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from listen_material import clip, make_run, metric, run_record, timing
from probe_material import attention, loss, probe_run

from experiments.records import append_record
from experiments.report import report
from experiments.tables.formats import ResultTable
from experiments.tables.intervals import STUDENT
from experiments.tables.run_tables import joined_tables

RENDERED = {".md", ".csv", ".tex", ".svg", ".png", ".pdf", ".html"}

pytestmark = pytest.mark.usefixtures("module_with_intervals_of_few_clips")


def snapshot(folder):
    files = [path for path in folder.rglob("*") if path.suffix in RENDERED]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_run(folder, {"a": "Rain", "b": "Wind"}, [0.1, 0.2], seeds=(0, 1, 2, 3))
    by_t = {"details": {"interval": STUDENT}, "n_scored": 7, "n_failed": 1}  # by its own bounds, not the clips' values
    for record in (
        metric("litefocus_0.1s_2steps_g3.5", "litefocus", 0.1, value=0.1, baseline="dense", **by_t),
        timing(0.1, dense=[4.0], litefocus=[2.0], no_attention=[1.0]),
        probe_run(),
        loss("dense", [1.0, 1.1]),
        loss("litefocus", [1.2, 1.2]),
        attention(),
    ):
        append_record(folder, record)
    points = [{"settings": {}}, *({"step": step, "loss": 1 / step} for step in range(1, 60))]
    (folder / "training_unet.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    report(folder)
    return folder


def test_everything_is_rendered(study):
    files = snapshot(study)
    tables = ("quality", "all_metrics", "difference_dense", "power", "speed", "denoising_loss", "attention")
    assert {f"tables/{name}.{end}" for name in tables for end in ("md", "csv", "tex")} <= set(files)
    figures = ("quality", "latency", "speedup", "step_time", "denoising_loss", "attention", "training", "spectrograms")
    assert {f"figures/{name}.{end}" for name in figures for end in ("svg", "png", "pdf")} <= set(files)
    assert {"report.md", "listen.html"} <= set(files)


def test_a_second_rendering_has_the_same_bytes(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / study.name)
    for name in snapshot(copy):
        (copy / name).unlink()
    report(copy)
    assert snapshot(copy) == snapshot(study)


def test_what_the_records_no_longer_hold_is_removed_and_nothing_else(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / study.name)
    condition = "litefocus_0.1s_2steps_g3.5"
    for seed in range(8):  # The difference was of 8 clips; now there are 16.
        audio = f"audio/{condition}/c_{seed}.wav"
        append_record(copy, clip(condition, "litefocus", 0.1, "c", "Snow", seed, audio, b"x"))
    kept = copy / "figures" / "spectrograms.svg"
    before = kept.read_bytes()
    report(copy)
    gone = set(snapshot(study)) - set(snapshot(copy))
    tables = {f"tables/{name}.{end}" for name in ("difference_dense", "power") for end in ("md", "csv", "tex")}
    assert gone == tables | {f"figures/difference.{end}" for end in ("svg", "png", "pdf")}
    assert kept.read_bytes() == before


def test_without_audio_the_same_tables_and_figures_are_drawn(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / study.name, ignore=shutil.ignore_patterns("audio"))
    (copy / "report.md").unlink()
    report(copy)
    assert snapshot(copy) == snapshot(study)


def test_figures_name_the_machine_that_made_their_numbers(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.1])
    for run_id, device, record in (
        ("timed", "BIG GPU", timing(0.1, dense=[4.0], litefocus=[2.0], no_attention=[1.0])),
        ("probed", "OLD GPU", loss("dense", [1.0, 1.1])),
    ):
        start = run_record(["a"], [0.1], stages=["timing"]) if run_id == "timed" else probe_run()
        append_record(tmp_path, replace(start, run_id=run_id, environment={**start.environment, "device": device}))
        append_record(tmp_path, replace(record, run_id=run_id))
    report(tmp_path)
    named = {
        "latency": "BIG GPU",
        "speedup": "BIG GPU",
        "step_time": "BIG GPU",
        "quality": "CPU",
        "denoising_loss": "OLD GPU",
    }
    for figure, device in named.items():
        drawn = (tmp_path / "figures" / f"{figure}.svg").read_text()
        assert re.findall("BIG GPU|OLD GPU|CPU", drawn) == [device], figure


def test_names_and_machines_of_a_strangers_records_are_text_in_the_report(tmp_path):
    start = run_record(["a"], [0.1], name="<img src=x onerror=alert(1)>\n## injected \\![x](http://y)")
    append_record(tmp_path, replace(start, environment={**start.environment, "device": "<b>dev</b>"}))
    bare = report(tmp_path)
    append_record(tmp_path, timing(0.1, dense=[4.0]))
    for text in (bare, report(tmp_path)):
        assert text.splitlines()[0] == r"# &lt;img src=x onerror=alert(1)> ## injected \\\![x](http://y)"
        assert "&lt;b>dev&lt;/b>" in text
        assert not re.search(r"<(img|b)\b", text)


def test_a_folder_of_probes_alone_has_a_report(tmp_path):
    append_record(tmp_path, probe_run())
    append_record(tmp_path, loss("dense", [1.0, 1.1]))
    text = report(tmp_path)
    assert text.startswith("# probes\n")
    assert "Denoising loss of real audio" in text


@pytest.mark.parametrize(("name", "is_folder"), [("tables", False), ("report.md", True)])
def test_what_is_in_the_way_of_a_report_is_to_be_moved(study, tmp_path, name, is_folder):
    """Advice to free space would not help."""
    shutil.copy(study / "records.jsonl", tmp_path)
    (tmp_path / name).mkdir() if is_folder else (tmp_path / name).write_text("mine")
    with pytest.raises(OSError, match=rf"{name}.* clips and scores are kept, move it away and run python -m"):
        report(tmp_path)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no records to report"):
        report(tmp_path)


def test_a_report_needs_no_deep_learning_library():
    code = "import sys, experiments.report; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_that_could_not_share_a_folder_are_joined_into_one_table(tmp_path):
    """What -m over a dtype or a pipeline leaves: the values stand side by side, each under its run."""
    for dtype, speeds in {"float32": [4.0, 4.0], "bfloat16": [2.0, 2.5]}.items():
        (tmp_path / f"dtype_{dtype}").mkdir()
        make_run(tmp_path / f"dtype_{dtype}", {"a": "Rain"}, [0.5])
        append_record(tmp_path / f"dtype_{dtype}", timing(0.5, dense=speeds, litefocus=[1.0, 1.0]))
    append_record(tmp_path / "dtype_float32", metric("dense_0.5s_2steps_g3.5", "dense", 0.5, "kl", 1.25, n_scored=1))
    (tmp_path / "jobs").mkdir()
    text = report(tmp_path)
    assert (tmp_path / "report.md").read_text() == text
    assert "- [dtype_bfloat16](dtype_bfloat16/report.md)" in text
    rows = list(csv.DictReader((tmp_path / "tables" / "speed.csv").open()))
    dense = {row["run"]: row["step_s"] for row in rows if row["method"] == "x" and float(row["step_s"] or 0) > 1.5}
    assert dense == {"dtype_bfloat16": "2.25", "dtype_float32": "4.0"}
    quality = list(csv.DictReader((tmp_path / "tables" / "quality.csv").open()))
    assert [row["kl"] for row in quality if row["method"] == "Dense (SDPA)"] == ["", "1.25"]
    assert len(quality) == 6
    assert (tmp_path / "tables" / "speed.tex").read_text().count("run") >= 1
    assert "nothing here tests one run against another" in text


def test_a_folder_without_runs_below_it_is_an_error(tmp_path):
    (tmp_path / "jobs").mkdir()
    with pytest.raises(ValueError, match="no records to report"):
        report(tmp_path)


def test_a_note_of_one_run_names_it():
    def of(*notes):
        return {"t": ResultTable("t", "T", ["method"], ["method"], [["dense"]], notes)}

    (table,) = joined_tables({"a": of("same", "mine"), "b": of("same")}).values()
    assert table.notes[1:] == ["same", "a: mine"]
    assert table.rows == [["a", "dense"], ["b", "dense"]]
    assert list(table.header) == ["run", "method"]
