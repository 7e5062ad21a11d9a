"""Writes what the records say of every claim into results/claims.yaml.

python -m experiments.claims          # write
python -m experiments.claims check    # only say which are stale; exit code 2 if any is
"""

import sys
from pathlib import Path

from experiments.claims.claim import load_claims, to_yaml
from experiments.claims.verdicts import measure_claims
from experiments.system.cli import one_line_errors, print_help_if_asked
from experiments.system.files import write_whole

RESULTS = Path("results")


def main() -> None:
    """The command line."""
    with one_line_errors():
        words = sys.argv[1:]
        print_help_if_asked(words, __doc__)
        if words not in ([], ["check"]):
            raise ValueError(f"got {' '.join(words)}; accepted is the word check, or nothing")
        path = RESULTS / "claims.yaml"
        claims = load_claims(path)
        fresh = measure_claims(claims, RESULTS)
        stale = [new.id for old, new in zip(claims, fresh, strict=True) if old != new]
        if words and stale:
            raise ValueError(f"{path}: stale: {', '.join(stale)}; run python -m experiments.claims")
        if not words:
            write_whole(path, to_yaml(fresh).encode())
        for claim in fresh:
            assert claim.measured is not None
            print(f"{claim.measured.verdict:>17}  {claim.id}")


if __name__ == "__main__":
    main()
