"""Tables inside documents: the text between `<!-- results:RUN/TABLE -->` and its closing marker comes from records.

    python -m experiments.readme README.md          # write them
    python -m experiments.readme README.md check    # only say which are stale; exit code 2 if any is

RUN is a folder below `results/` and TABLE one of its tables: speed, quality, difference_dense, power, sparsity,
ablation, denoising_loss, attention, or of a benchmark: op_eager, step_eager, step_compiled, loop_eager, wave_eager,
profile. `<!-- results:leaderboard -->` is the table over several runs, those submitted by others among them,
`<!-- results:claims -->` that of results/claims.yaml and `<!-- results:headlines -->` its claims marked `headline`.
"""

import re
import sys
from pathlib import Path

from experiments.claims.claim import load_claims
from experiments.claims.table import claims_table
from experiments.leaderboard import leaderboard
from experiments.system.cli import one_line_errors, print_help_if_asked
from experiments.system.files import write_whole
from experiments.tables.formats import to_markdown
from experiments.tables.run_tables import tables_of

RESULTS = Path("results")
BLOCK = re.compile(r"(<!-- results:(?P<name>[\w./-]+) -->\n)(?P<text>.*?)(<!-- /results:(?P=name) -->)", re.DOTALL)
OPENING = re.compile(r"<!-- results:")


def fill_blocks(text: str, results: Path = RESULTS) -> str:
    """A document with every block between markers written anew.

    Raises:
        ValueError: a marker without its closing one, or a table that the run's records cannot fill.
    """
    if len(OPENING.findall(text)) != len(BLOCK.findall(text)):
        raise ValueError("a results marker is not closed: write <!-- results:NAME --> and <!-- /results:NAME -->")
    return BLOCK.sub(lambda block: f"{block[1]}{_block(block['name'], results)}{block[4]}", text)


def _block(name: str, results: Path) -> str:
    if name == "leaderboard":
        return to_markdown(leaderboard(results))
    if name in ("claims", "headlines"):
        return to_markdown(claims_table(load_claims(results / "claims.yaml"), headlines=name == "headlines"))
    run, _, table = name.rpartition("/")
    tables = tables_of(results / run)
    if table not in tables:
        raise ValueError(f"no table {table!r} in the records of {results / run}; there are: {', '.join(tables)}")
    return to_markdown(tables[table])


def stale_blocks(text: str, results: Path = RESULTS) -> list[str]:
    """Names of the blocks whose text is not what the records give."""
    fresh = {block["name"]: block["text"] for block in BLOCK.finditer(fill_blocks(text, results))}
    return [block["name"] for block in BLOCK.finditer(text) if block["text"] != fresh[block["name"]]]


def main() -> None:
    """The command line: a document, and `check` to leave it as it is."""
    with one_line_errors():
        arguments = sys.argv[1:]
        print_help_if_asked(arguments, __doc__)
        if len(arguments) not in (1, 2) or arguments[1:] not in ([], ["check"]):
            raise ValueError("give a document and optionally the word check: python -m experiments.readme README.md")
        path = Path(arguments[0])
        text = path.read_text(encoding="utf-8")
        stale = stale_blocks(text)
        if arguments[1:] and stale:
            raise ValueError(f"{path}: stale tables {', '.join(stale)}; run python -m experiments.readme {path}")
        if not arguments[1:]:
            write_whole(path, fill_blocks(text))
        print(f"{path}: {len(stale)} tables {'rewritten' if stale else 'stale'}")


if __name__ == "__main__":
    main()
