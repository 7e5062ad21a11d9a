"""The notebooks run from top to bottom, and carry no outputs in git.

Their cells tagged `parameters` are replaced: a synthetic run, and the tiny untrained pipeline instead of the testbed.
"""

import os
from pathlib import Path

import pytest

from experiments.records import append_record

nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
nbclient = pytest.importorskip("nbclient", reason="needs the extra notebooks")
pytest.importorskip("ipykernel", reason="needs the extra notebooks")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = 'PIPELINE = ["pipeline=audioldm2_untrained", "pipeline.size=tiny"]'


def read(name):
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def tagged(book, tag):
    (cell,) = [cell for cell in book.cells if tag in cell.metadata.get("tags", ())]
    return cell


def execute(name, parameters, tmp_path):
    """Run a notebook from its own folder; returns the text that it printed and the mime types that it showed."""
    book = read(name)
    tagged(book, "parameters").source = parameters
    resources = {"metadata": {"path": str(ROOT / "notebooks")}}
    client = nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources)
    client.execute(env={**os.environ, "IPYTHONDIR": str(tmp_path), "OMP_NUM_THREADS": "1"})
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    return text, [kind for output in outputs for kind in output.get("data", ())]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_stripped(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert book.metadata.language_info == {"name": "python"}


def test_all_notebooks_are_executed_below():
    assert [path.name for path in NOTEBOOKS] == ["01_results.ipynb", "02_attention.ipynb", "03_your_own_method.ipynb"]


@pytest.mark.slow
def test_results_are_redrawn_from_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "experiments"))
    from listen_material import make_run, timing
    from probe_material import attention, loss, probe_run

    make_run(tmp_path, {"a": "Rain"}, [0.1])
    append_record(tmp_path, timing(0.1, dense=[4.0], litefocus=[2.0], no_attention=[1.0]))
    for record in (probe_run(), loss("dense", [1.0, 1.1]), loss("litefocus", [1.2, 1.2]), attention()):
        append_record(tmp_path, record)
    text, shown = execute("01_results.ipynb", f"RUN = {str(tmp_path)!r}", tmp_path)
    assert "'ClipRecord': 3" in text
    assert shown.count("text/markdown") == 5
    assert shown.count("image/png") == 6
    assert "text/html" in shown


@pytest.mark.slow
def test_the_attention_pattern_is_measured_and_redrawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "experiments"))
    from probe_material import attention, loss, probe_run

    for record in (probe_run(), loss("dense", [1.0, 1.1]), loss("litefocus", [1.2, 1.2]), attention()):
        append_record(tmp_path, record)
    parameters = f"{TINY}\nCLIPS, DURATION_S, LEVELS, RUN = 1, 1.28, (500,), {str(tmp_path)!r}"
    text, shown = execute("02_attention.ipynb", parameters, tmp_path)
    assert "random weights: expect no structure" in text
    # Random weights are the control: no preference for the own frequency bin.
    ratio = float(text.split("own frequency bin: ")[1].split(" ")[0])
    assert ratio == pytest.approx(1.0, abs=0.3)
    assert shown.count("image/png") == 4


@pytest.mark.slow
def test_a_new_method_is_right_timed_and_judged(tmp_path):
    lines = [line for line in tagged(read("03_your_own_method.ipynb"), "method").source.splitlines() if line]
    assert len(lines) <= 10
    text, shown = execute("03_your_own_method.ipynb", f"{TINY}\nDURATION_S, FRAMES = 1.28, 2", tmp_path)
    assert "sites; a window over everything differs by" in text
    assert float(text.split("a window of 2 frames differs by ")[1]) > 0
    assert shown.count("text/html") == 2
