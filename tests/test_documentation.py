"""The documentation site builds without a warning, leads nowhere that is not there, and asks no other host."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from chromium import Chromium, needs_chromium

ROOT = Path(__file__).resolve().parents[1]
EXTRA = ("mkdocs", "material", "mkdocstrings", "nbformat")
needs_extra = pytest.mark.skipif(not all(map(find_spec, EXTRA)), reason="needs the extra docs")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsGDbVwAAAABJRU5ErkJggg=="
PAGES = ("index", "method", "performance", "metrics", "results/index", "api/litefocus", "notebooks/01_results")
# Requests that a browser makes by itself when it meets these.
LOADED = {"script": "src", "img": "src", "iframe": "src", "audio": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """What a page loads by itself, where its links lead, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.add(found.get("id"))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get("rel") != "canonical" and LOADED.get(tag) in found:
            self.loaded.append(found[LOADED[tag]])


def executed_copy(source, target):
    """A notebook as make docs leaves it, with one output of each kind instead of minutes of computing."""
    import nbformat
    from nbformat.v4 import new_output

    book = nbformat.read(source, as_version=4)
    cell = next(cell for cell in book.cells if cell.cell_type == "code")
    show = functools.partial(new_output, "display_data")
    cell.outputs = [
        show(data={"image/png": PNG, "text/plain": "<Figure>"}),
        show(data={"text/markdown": "| a | b |\n|---|---|\n| 1 | *two* |"}),
        show(data={"text/html": "<style>\n\n</style><table>\n\n<tr><td>cell of pandas</td></tr></table>"}),
        new_output("stream", name="stderr", text="a warning with a path"),
        new_output("stream", text="first line\n\n\x1b[31m<script>red</script>\x1b[0m\n"),
    ]
    nbformat.write(book, target)


def build(folder, notebooks, samples):
    environment = {
        **os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "LITEFOCUS_DOCS_NOTEBOOKS": str(notebooks), "LITEFOCUS_DOCS_SAMPLES": str(samples),
    }  # fmt: skip
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    for name in ("notebooks", "samples"):
        (folder / name).mkdir()
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        executed_copy(source, folder / "notebooks" / source.name)
    (folder / "samples" / "listen.html").write_text("<title>listen</title>", encoding="utf-8")
    done = build(folder / "site", folder / "notebooks", folder / "samples")
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


@needs_extra
def test_every_page_of_the_navigation_is_there_and_every_document_is_in_it(site):
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- .*: (\S+\.md)$", text, re.MULTILINE)
    assert [name for name in named if not (site / name.replace("README", "index")).with_suffix(".html").exists()] == []
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(named)


@needs_extra
def test_every_link_inside_the_site_leads_to_a_file_and_an_anchor_of_it(site, pages):
    broken = []
    for path, page in pages.items():
        for target in [*page.links, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme or path.name == "404.html":
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            anchors = pages[file].anchors if file in pages else {parts.fragment}
            if not file.is_file() or parts.fragment not in {"", "__skip"} | anchors:
                broken.append((path.relative_to(site).as_posix(), target))
    assert broken == []


@needs_extra
def test_no_page_and_no_style_asks_another_host(site, pages):
    loaded = [(path.name, target) for path, page in pages.items() for target in page.loaded if urlsplit(target).netloc]
    assert loaded == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    outside = re.compile(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//[^)\"']+")
    assert [url for text in styles for url in outside.findall(text)] == []
    assert styles
    # Material's script would fetch a drawing program for these.
    assert [path.name for path in pages if "mermaid" in path.read_text(encoding="utf-8")] == []


@needs_extra
def test_a_notebook_shows_its_outputs(site):
    text = (site / "notebooks" / "01_results.html").read_text(encoding="utf-8")
    assert (site / "notebooks" / "01_results_0.png").read_bytes().startswith(b"\x89PNG")
    assert 'src="01_results_0.png"' in text
    assert "<em>two</em>" in text
    assert "<td>cell of pandas</td>" in text
    assert "a warning with a path" not in text
    assert "first line\n\n&lt;script&gt;red&lt;/script&gt;" in text


@needs_extra
def test_the_reference_comes_from_the_docstrings(site):
    import litefocus

    text = (site / "api" / "litefocus.html").read_text(encoding="utf-8")
    assert [name for name in litefocus.__all__ if f'id="litefocus.{name}"' not in text] == []


@needs_extra
def test_a_site_without_its_notebooks_is_refused(tmp_path):
    done = build(tmp_path / "site", tmp_path, tmp_path)
    assert done.returncode != 0
    assert "01_results.ipynb was not executed" in done.stderr
    assert "no listening page" in done.stderr


def test_the_citation_page_says_what_the_citation_file_says():
    import litefocus

    text = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    assert f"{paper['start']}--{paper['end']}" in text
    assert paper["title"].removeprefix("LiteFocus") in text
    assert all(f"{author['family-names']}, {author['given-names']}" in text for author in paper["authors"])
    assert f"version = {{{litefocus.__version__}}}" in text


def test_the_start_page_shows_the_same_code_as_the_readme():
    def code(name):
        return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)[0]

    lines = [line.split("  #")[0] for line in code("README.md").splitlines()]
    assert [line.split("  #")[0] for line in code("docs/index.md").splitlines()] == lines


@pytest.fixture
def address(site):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_extra
@pytest.mark.slow
@needs_chromium
def test_pages_in_a_browser_fit_a_phone_and_ask_this_server_alone(address, tmp_path):
    browser = Chromium(tmp_path / "profile", 390, 844, touch=True)
    try:
        for name in PAGES:
            browser.visit(f"{address}/{name}.html")
            browser.wait("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert browser.run("document.documentElement.scrollWidth") <= 390, name
        assert browser.errors() == []
        assert [url for url in browser.requested() if not url.startswith((address, "data:", "blob:"))] == []
    finally:
        browser.close()
