"""What MkDocs lacks: the site is the repository seen from docs/, with executed notebooks and listening samples.

A page of docs/ links to files beside docs/ (`../results/testbed/figures/attention.png`), as it must where the
repository is read. Those files join the site under the same path, and the links lose the step out of docs/.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from notebook_page import page_of

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("results/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SAMPLES = ("listen.html", "audio/**/*.wav", "spectrograms/**/*")
LINK = re.compile(r"(?P<before>\]\()(?P<target>(?![a-z]+:|#|/)[^)#\s]+)(?P<after>#[^)\s]*)?(?=\))")
logger = logging.getLogger("mkdocs.hooks.litefocus")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents beside docs/, every file that a page links to, the notebooks and the samples."""
    for name in BESIDE:
        files.append(_file(config, name))
    pending = [file for file in files if file.is_documentation_page()]
    while pending:
        page = pending.pop()
        for match in LINK.finditer(page.content_string):
            path = _in_repository(page.src_uri, match["target"])
            uri = path.removeprefix("docs/")
            if files.get_file_from_path(uri) is None and (ROOT / path).is_file():
                files.append(_file(config, uri, ROOT / path))
                if path.endswith(".md"):
                    pending.append(files.get_file_from_path(uri))
    _add_notebooks(files, config)
    _add_samples(files, config)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they stand in the repository become links of the site."""
    here = posixpath.dirname(page.file.src_uri)

    def as_seen_from_docs(match: re.Match[str]) -> str:
        uri = _in_repository(page.file.src_uri, match["target"]).removeprefix("docs/").replace(".ipynb", ".md")
        return f"{match['before']}{posixpath.relpath(uri, here or '.')}{match['after'] or ''}"

    return LINK.sub(as_seen_from_docs, markdown)


def _in_repository(page: str, target: str) -> str:
    """Path in the repository that a link of a page leads to; pages outside docs/ keep their own place."""
    home = page if (ROOT / page).is_file() else f"docs/{page}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target))


def _file(config: Any, uri: str, path: Path | None = None) -> File:
    return File.generated(config, uri, abs_src_path=str(path or ROOT / uri))


def _add_notebooks(files: Files, config: Any) -> None:
    folder = ROOT / config.extra["notebooks"]
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        executed = folder / source.name
        if not executed.is_file():
            logger.warning("%s was not executed into %s: make docs does it", source.name, config.extra["notebooks"])
            executed = source
        text, pictures = page_of(nbformat.read(executed, as_version=4), source.stem)
        files.append(File.generated(config, f"notebooks/{source.stem}.md", content=text))
        for name, png in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=png))


def _add_samples(files: Files, config: Any) -> None:
    folder = ROOT / config.extra["samples"]
    shown = [path for name in SAMPLES for path in folder.glob(name) if path.is_file()]
    if not shown:
        logger.warning("no listening page in %s: make docs makes it", config.extra["samples"])
    for path in sorted(shown):
        files.append(_file(config, f"samples/{path.relative_to(folder).as_posix()}", path))
