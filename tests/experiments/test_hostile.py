"""Captions and ids from a stranger, through the whole job: files, records, tables, page and W&B's offline folder."""

import csv
import getpass
import io
import json
import platform
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from markdown_it import MarkdownIt
from wandb_material import offline_records

from experiments.datasets.prompts import load_captions
from experiments.records import ClipRecord, of_kind, read_records
from experiments.run import run
from experiments.system.cli import CONF_DIR
from experiments.tables.formats import ResultTable, to_csv, to_markdown
from experiments.tables.latex import to_latex

SECRET = "not-a-real-token-0123456789"
IDS = {
    "traversal": "../../../etc/passwd",
    "absolute": "/etc/shadow",
    "null byte": "a\0b",
    "line break": "a\nb",
    "script": "<script>alert(1)</script>",
    "formula": "=cmd|' /C calc'!A0",
    "right to left": "\u202egnp.exe",
    "emoji": "🐕🐕🐕",
    "device": "CON",
    "hidden": ".lock",
    "long": "x" * 10_000,
}
CAPTIONS = {
    "traversal": "../../etc/passwd",
    "absolute": "/etc/shadow",
    "null byte": "%00 is not a null byte",
    "line break": "one line \\n only",
    "script": "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>",
    "formula": '=HYPERLINK("https://example.org","click")',
    "right to left": "كلب \u202e gnikrab",
    "emoji": "👩‍🚀 launches a 🚀",
    "device": "![picture](https://example.org/track.png) `code` a|b \\| c",
    "hidden": "@SUM(1+1)*cmd 100% & $x_1^2$ #~{}\\",
    "long": "word " * 399,
}
REFUSED = {"null": "a\0b", "bell": "a\x07b", "escape": "\x1b[2Jb", "separator": "a\u2028b", "10,000": "x" * 10_000}


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "caption"), *rows])
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run over every hostile id and caption, reported and tracked offline, with a secret in the environment."""
    folder = tmp_path_factory.mktemp("hostile")
    file = write_csv(folder / "p.csv", [(IDS[name], CAPTIONS[name]) for name in IDS])
    run_dir = folder / "run"
    overrides = [
        "+sweep=smoke", "data=captions", f"data.file={file}", "data.id_column=id", f"out_dir={run_dir}",
        "durations=[0.64]", "steps=1", "stages=[generate,report]", "tracking=wandb", "tracking.mode=offline",
        *(f"~methods.{name}" for name in ("focus_only", "compensation_only", "naive", "authors")),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(folder / "staged"))
        patch.setenv("WANDB_API_KEY", SECRET)
        patch.setenv("HF_TOKEN", SECRET)
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
            run(compose(config_name="config", overrides=overrides))
    return run_dir, load_captions(file, id_column="id")


def test_every_file_lies_in_the_run_folder_under_a_plain_name(finished):
    run_dir, prompts = finished
    outside = {path.name for path in run_dir.parent.iterdir()} - {"run", "p.csv", "staged"}
    assert outside == set()
    wavs = list(run_dir.rglob("*.wav"))
    assert len(wavs) >= 2 * len(prompts)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,80}", path.name) for path in wavs)


def test_records_hold_every_caption_as_it_was(finished):
    run_dir, prompts = finished
    clips = of_kind(read_records(run_dir), ClipRecord)
    assert {clip.caption for clip in clips} == {caption.strip() for caption in CAPTIONS.values()}
    assert {clip.prompt_id for clip in clips} == {prompt.id for prompt in prompts}
    assert len(clips) == 2 * len(IDS)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_holds_no_tag_and_no_address_of_a_caption(finished):
    run_dir, _ = finished
    tags = Tags((run_dir / "listen.html").read_text(encoding="utf-8")).found
    assert [tag for tag, _ in tags if tag in ("img", "iframe", "object", "link")] == []
    assert [attributes for _, attributes in tags if any(name.startswith("on") for name in attributes)] == []
    assert len([tag for tag, _ in tags if tag == "script"]) == 2
    assert not re.search(r"(?:src|href)=.https?:", (run_dir / "listen.html").read_text(encoding="utf-8"))


def test_wandb_gets_captions_as_plain_cells_and_nothing_private(finished):
    run_dir, _ = finished
    (path,) = run_dir.glob("wandb/offline-run-*/files/media/table/clips_*.json")
    table = json.loads(path.read_text())
    captions = {row[table["columns"].index("caption")] for row in table["data"]}
    assert all(caption[:1] not in "=+-@\t\r" for caption in captions)
    assert {caption.removeprefix("'") for caption in captions} == {caption.strip() for caption in CAPTIONS.values()}
    sent = " ".join(str(record) for record in offline_records(run_dir))
    for private in (SECRET, str(Path.home()), str(run_dir)):
        assert private not in sent


def test_records_tables_and_page_hold_nothing_private(finished):
    run_dir, _ = finished
    texts = [path for path in run_dir.rglob("*") if path.suffix in (".jsonl", ".md", ".csv", ".tex", ".html", ".svg")]
    assert len(texts) >= 4
    private = {SECRET, str(Path.home()), str(run_dir.parent), platform.node()}
    if getpass.getuser() != "root":
        private.add(getpass.getuser())
    for path in texts:
        content = path.read_text(encoding="utf-8")
        assert [word for word in private if word in content] == [], path.name


@pytest.mark.parametrize("name", REFUSED)
def test_captions_that_act_instead_of_reading_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="control character|has 10000 characters"):
        load_captions(write_csv(tmp_path / "p.csv", [("a", REFUSED[name])]), id_column="id")


TEXTS = [*CAPTIONS.values(), *IDS.values(), *REFUSED.values(), "\\", "a\\", "\\|", "| |", "a\ud800b"]


def hostile_table():
    return ResultTable("t", "T", ["a", "b"], ["a", "b"], [[text, "end"] for text in TEXTS])


def test_a_markdown_reader_sees_the_cells_that_were_written():
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(to_markdown(hostile_table()))
    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2 * len(TEXTS)
    assert all(cell.content == "end" for cell in cells[1::2])
    inline = {child.type for cell in cells for child in cell.children}
    assert inline & {"html_inline", "image", "hardbreak", "softbreak"} == set()


def test_a_csv_reader_sees_the_cells_that_were_written_and_no_formula():
    rows = list(csv.reader(io.StringIO(to_csv(hostile_table()), newline="")))[1:]
    assert [row[1] for row in rows] == ["end"] * len(TEXTS)
    assert all(row[0][:1] not in ("=", "+", "-", "@", "\t", "\r") for row in rows)


def test_latex_gets_no_command_of_a_caption():
    body = to_latex(hostile_table())
    body.encode()
    commands = set(re.findall(r"\\([A-Za-z]+)", body))
    known = {"begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule"}
    known |= {"footnotesize", "setlength", "tabcolsep", "ifdefined", "Umathchardef", "else", "fi", "allowbreak"}
    assert commands <= known | {"textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater"}
    assert body.count(r" \\") == body.count(r"\toprule") + len(TEXTS)
    assert not re.search(r"(?<!\\)[%#&](?! )", body.split(r"\midrule")[1])
