"""The tables of docs/reliability.md, written from what the fault tests and the soak logged.

python -m tests.faults.table docs/reliability.md
"""

import json
import re
import sys
from pathlib import Path

from experiments.tables.formats import markdown_table

RESULTS = Path("results/reliability")
COUNTS = ("injected", "lost", "duplicated", "bytes_differing")
HEADER = ("Fault", "Times injected", "Clips lost", "Clips duplicated", "Bytes differing")


def fill(text: str, results: Path = RESULTS) -> str:
    """A document with the text between `<!-- reliability:NAME -->` markers written anew from NAME.jsonl."""
    for name, render in (("faults", fault_table), ("soak", soak_table)):
        path = results / f"{name}.jsonl"
        block = render(_read(path)) if path.exists() else "Not measured on this commit.\n"
        pattern = rf"(<!-- reliability:{name} -->\n).*?(<!-- /reliability:{name} -->)"
        text, found = re.subn(pattern, lambda m, block=block: m[1] + block + m[2], text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"the document has {found} blocks reliability:{name}, needs one")
    return text


def fault_table(entries: list[dict]) -> str:
    """One row per fault, counts added over its tests."""
    rows = []
    for fault in dict.fromkeys(entry["fault"] for entry in entries):
        same = [entry for entry in entries if entry["fault"] == fault]
        rows.append([fault, *(str(sum(entry[count] for entry in same)) for count in COUNTS)])
    first, last = entries[0], entries[-1]
    commits = dict.fromkeys(entry["commit"][:12] + "-dirty" * bool(entry["dirty"]) for entry in entries)
    note = (
        f"Measured on {last['device']}, commit {', '.join(commits)}, {first['measured_at']} to {last['measured_at']}."
    )
    return f"{markdown_table(HEADER, rows)}\n{note}\n"


def soak_table(entries: list[dict]) -> str:
    """Memory and open files near 12, 100, 200 and 300 conditions."""
    chosen = [next((e for e in entries if e["conditions"] >= n), entries[-1]) for n in (1, 100, 200, 300)]
    rows = [[str(e["conditions"]), f"{e['rss_mib']:.1f}", str(e["open_files"])] for e in chosen]
    return markdown_table(("Conditions", "Resident memory, MiB", "Open files"), rows)


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(fill(document.read_text(encoding="utf-8")), encoding="utf-8")
