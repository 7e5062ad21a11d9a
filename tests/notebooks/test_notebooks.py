"""The notebooks run from top to bottom as they are, from any folder, and with a run of one's own; no outputs in git."""

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


def execute(name, folder, parameters=""):
    """Run a notebook in a folder; returns the text that it printed and the mime types that it showed.

    `parameters` become a cell after the one tagged so, as papermill does it: no cell of the file is left out.
    """
    book = read(name)
    if parameters:
        place = book.cells.index(tagged(book, "parameters")) + 1
        book.cells.insert(place, nbformat.v4.new_code_cell(parameters))
    client = nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    client.execute(env={**environment, "IPYTHONDIR": str(folder / "ipython")})
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
def test_the_results_as_they_are_opened(tmp_path):
    _, shown = execute("01_results.ipynb", tmp_path)
    tables = sorted((ROOT / "results" / "third_study" / "tables").glob("*.md"))
    assert shown.count("text/markdown") == 1 + sum(not path.name.startswith("all_metrics") for path in tables)
    figures = sorted(path.name for path in (ROOT / "results" / "third_study" / "figures").glob("*.png"))
    # Audio is not in git, so of the committed figures these alone cannot be redrawn from it.
    assert shown.count("image/png") == len([name for name in figures if not name.startswith("spectrogram")])
    assert shown.count("text/html") == 2


@pytest.mark.slow
def test_the_results_of_a_fresh_run_beside_the_reader(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "experiments"))
    from listen_material import make_run, timing

    run_dir = tmp_path / "runs" / "mine"
    run_dir.mkdir(parents=True)
    make_run(run_dir, {"a": "Rain"}, [0.1])
    append_record(run_dir, timing(0.1, dense=[4.0], litefocus=[2.0], no_attention=[1.0]))
    _, shown = execute("01_results.ipynb", tmp_path, "RUN = 'runs/mine'")
    assert shown.count("text/markdown") == 3  # what was measured, quality, speed
    assert shown.count("image/png") == 5  # latency, speed-up, steps, quality, spectrograms
    assert shown.count("text/html") == 2


@pytest.mark.slow
def test_the_attention_pattern_as_it_is_opened(tmp_path):
    text, shown = execute("02_attention.ipynb", tmp_path)
    # Trained weights attend to the own frequency bin, random ones do not (below).
    assert float(text.split("own frequency bin: ")[1].split(" ")[0]) > 1.5
    assert shown.count("image/png") > 2


@pytest.mark.slow
def test_the_attention_pattern_of_random_weights_and_a_run_without_readings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "experiments"))
    from listen_material import make_run

    make_run(tmp_path, {"a": "Rain"}, [0.1])
    parameters = f"{TINY}\nCLIPS, DURATION_S, LEVELS, RUN = 1, 1.28, (500,), {str(tmp_path)!r}"
    text, shown = execute("02_attention.ipynb", tmp_path, parameters)
    assert "random weights: expect no structure" in text
    # Random weights are the control: no preference for the own frequency bin.
    assert float(text.split("own frequency bin: ")[1].split(" ")[0]) == pytest.approx(1.0, abs=0.3)
    assert "holds no readings of the probe: python -m experiments.probe takes them" in text
    assert shown.count("image/png") == 2


@pytest.mark.slow
def test_a_new_method_is_right_timed_and_judged(tmp_path):
    lines = [line for line in tagged(read("03_your_own_method.ipynb"), "method").source.splitlines() if line]
    assert len(lines) <= 10
    text, shown = execute("03_your_own_method.ipynb", tmp_path)
    assert "sites; a window over everything differs by" in text
    assert float(text.split("a window of 8 frames differs by ")[1].split()[0]) > 0
    assert shown.count("text/html") == 2
