"""Tables of results/ as LaTeX: pdflatex compiles them into an article without a box that sticks out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.tables.escaping import latex_escape
from experiments.tables.formats import Estimate, ResultTable
from experiments.tables.latex import MOST_ROWS, to_latex
from experiments.tables.run_tables import tables_of

ROOT = Path(__file__).resolve().parents[3]
# Every committed folder that has tables.
RUNS = sorted({path.parent.parent.name for path in ROOT.glob("results/*/tables/*.tex")})
MOST_OVERFULL_PT = 5.0
ARTICLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\extrafloats{200}
\begin{document}
%s
\end{document}
"""


def overfull(folder, body):
    """Compile with pdflatex; returns the points by which boxes stick out, largest last."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex (Debian: texlive-latex-recommended)")
    (folder / "tables.tex").write_text(ARTICLE % body, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (folder / "tables.log").read_text(errors="replace")
    found = re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log) + re.findall(
        r"Float too large for page by ([\d.]+)pt", log
    )
    return sorted(map(float, found))


def test_a_box_that_sticks_out_is_seen(tmp_path):
    assert overfull(tmp_path, r"\noindent\rule{\textwidth}{1pt}\rule{7pt}{1pt}") == [7.0]


@pytest.mark.parametrize("run", RUNS)
def test_the_committed_tables_fit_an_article(run, tmp_path):
    body = "\n\\clearpage\n".join(map(to_latex, tables_of(ROOT / "results" / run).values()))
    assert [points for points in overfull(tmp_path, body) if points > MOST_OVERFULL_PT] == []


def test_any_label_compiles(tmp_path):
    labels = ["α = 0.1, Ω, ς", "雨が降る", "дождь", "🌧 rain", "naïve Łódź – “x”", "50% & $x_1^2$ #~{}\\", "≤ ≈ →"]
    table = ResultTable(
        "t", "Labels α 雨", ["method", "v"], ["m", "v"], [[label, 1.0] for label in labels], ["Note 雨."]
    )
    assert overfull(tmp_path, to_latex(table)) == []
    assert latex_escape("α雨").startswith(r"$\alpha$\ifdefined\Umathchardef 雨\else{[}U+96E8{]}\fi\allowbreak{}")


def test_a_wide_and_long_table_is_cut_and_loses_nothing():
    header = ["length (s)", "method", *(f"quantity number {i} ↑ [min, max]" for i in range(9)), "empty", "note"]
    rows = [[float(r), f"method {r}", *(Estimate(r + i / 10, r, r + 1.0) for i in range(9)), None, "why" * (r == 3)]
            for r in range(MOST_ROWS + 5)]  # fmt: skip
    latex = to_latex(ResultTable("t", "T", header, header, rows, ["All of it."]))
    parts = latex.count(r"\begin{tabular}")
    assert parts > 4
    assert latex.count("method 7 ") == parts // 2
    assert latex.count("[") - latex.count("{[}") == 9 * len(rows)
    assert "empty" not in latex
    assert latex.count("(1) why.") == 1
    assert f"(part {parts} of {parts})" in latex
    assert [latex.count(rf"\caption{{T (part {n} of {parts}).}}") for n in range(1, parts + 1)] == [1] * parts
