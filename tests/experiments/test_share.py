"""A run in one file: it holds what the folder shows, asks for nothing beside it, and says nothing that is markup."""

import base64
import io
import json
import re
import shutil
import zipfile

import pytest
import soundfile
from listen_material import make_run, timing
from quality_material import HOSTILE

from experiments.records import append_record, read_records
from experiments.share import main, share
from experiments.tables.formats import Estimate, ResultTable, to_html

CAPTIONS = {"a": "Rain", "b": "Wind", "c": "<b>Bells</b>"}


@pytest.fixture
def run_dir(tmp_path):
    make_run(tmp_path, CAPTIONS, [0.5], fail=[("b", 0.5, "litefocus")])
    append_record(tmp_path, timing(dense=[4.0, 4.0], litefocus=[2.0, 1.0], duration=0.5))
    return tmp_path


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def test_the_html_holds_every_clip_bit_for_bit_and_asks_for_no_file(run_dir):
    path = share(run_dir)
    page = path.read_text(encoding="utf-8")
    assert path == run_dir / "synthetic.html"
    entries = data_of(page)["clips"]
    recorded = {clip.audio: clip for clip in read_records(run_dir) if getattr(clip, "audio", "")}
    assert sum("gap" in entry for entry in entries) == 1
    assert len(entries) == len(recorded) + 1
    waves = []
    for entry in (entry for entry in entries if "gap" not in entry):
        kind, content = entry["audio"].split(";base64,")
        assert (kind, entry["image"][:23]) == ("data:audio/flac", "data:image/webp;base64,")
        waves.append(soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")[0].tobytes())
    assert set(waves) == {soundfile.read(run_dir / audio, dtype="int16")[0].tobytes() for audio in recorded}
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "img-src data:; media-src data:;" in policy
    assert "'self'" not in policy
    assert "<b>Bells" not in page
    assert "<td>3 [0, 231]</td>" in page  # rounds of 2 and 4 times: exp(ln 8 / 2 +- 12.7 x ln 2 / 2)
    assert page.count('src="data:image/png;base64,') >= 2


def test_what_is_too_large_becomes_a_zip_that_opens_unpacked(run_dir):
    path = share(run_dir, most_mb=0.001, prompts=1)
    with zipfile.ZipFile(path) as archive:
        names = {name.removeprefix("synthetic/") for name in archive.namelist()}
        page = archive.read("synthetic/listen.html").decode()
    assert {"READ_ME.txt", "report.md", "records.jsonl", "figures/speedup.pdf", "tables/speed.csv"} <= names
    data = data_of(page)
    assert [prompt["id"] for prompt in data["prompts"]] == ["a"]
    needed = {entry[key] for entry in data["clips"] for key in ("audio", "image")}
    assert len(needed) == 6
    assert needed <= names
    assert {name for name in names if name.startswith(("audio/", "spectrograms/"))} == needed
    assert "Speed" in page


def test_a_run_without_audio_is_its_report(tmp_path):
    make_run(tmp_path, {"a": "Rain"}, [0.5], skip=[("a", 0.5, m) for m in ("dense", "litefocus", "focus_only")])
    append_record(tmp_path, timing(dense=[4.0, 4.0], litefocus=[2.0, 1.0], duration=0.5))
    page = share(tmp_path).read_text(encoding="utf-8")
    assert "<td>3 [0, 231]</td>" in page  # rounds of 2 and 4 times: exp(ln 8 / 2 +- 12.7 x ln 2 / 2)


def test_a_table_is_text_in_html():
    table = ResultTable(
        "t", "T <i>", ["a&b", "v"], ["a", "v"], [[HOSTILE[2], Estimate(1.0, 0.5, 1.5, best=True)]], ["<p>"]
    )
    text = to_html(table)
    assert "<h3>T &lt;i&gt;</h3>" in text
    assert "<th>a&amp;b</th>" in text
    assert "<td>&lt;script&gt;</td><td><b>1.00 [0.50, 1.50]</b></td>" in text
    assert text.endswith("<p>&lt;p&gt;</p></section>")


def test_a_folder_with_an_equals_sign_in_its_name_is_a_folder(run_dir, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(run_dir, tmp_path.with_name("n=1"))
    monkeypatch.setattr("sys.argv", ["share", str(folder)])
    main()
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: got 0 arguments; give one run folder"),
        (["x", "most_mb=much"], "error: most_mb must be a float, got 'much'"),
        (["x", "most_mb=0"], "error: got most_mb=0 prompts=0; accepted are above 0"),
        (["x", "size=3"], "error: got 'size=3'; accepted"),
    ],
)
def test_mistakes_are_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["share", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith(message)
