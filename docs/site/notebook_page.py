"""An executed notebook as a page: its text, its code, and under each cell what it printed and drew."""

import base64
import re
from html import escape
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def page_of(book: Any, stem: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and its pictures by file name (`stem_3.png`), which the markdown names."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in book.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if (
                output.get("name") == "stderr"
            ):  # progress bars and warnings, with paths of the machine that built the site
                continue
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}_{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above]({name})")
            else:
                parts.append(_text_of(output, data))
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _text_of(output: Any, data: Any) -> str:
    """Markdown as it is, a table of pandas as html, anything else as the text that it is."""
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        return _framed(re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL))
    text = ANSI.sub("", output.get("text", "") or data.get("text/plain", "")).rstrip()
    return _framed(f"<pre>{escape(text)}</pre>") if text else ""


def _framed(html: str) -> str:
    return f'<div class="notebook-output">{html}</div>'
