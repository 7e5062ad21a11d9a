"""The claims as a table for readers."""

import math
from collections import Counter
from collections.abc import Sequence

from experiments.claims.claim import Claim
from experiments.tables.formats import Cell, Estimate, ResultTable
from experiments.tables.intervals import LEVEL

HEADER = ("claim", "by", "verdict", "effect", "unit", "n", "adjusted p", "measured on")
KEYS = ("claim", "source", "verdict", "effect", "unit", "n", "p_adjusted", "where")


def claims_table(claims: Sequence[Claim], headlines: bool = False) -> ResultTable:
    """One row per claim, or per claim that is a headline; the effect with its 95% interval.

    Raises:
        ValueError: a claim that was not measured yet.
    """
    sizes = Counter(claim.family for claim in claims if not claim.not_testable)
    claims = [claim for claim in claims if claim.headline or not headlines]
    rows: list[Sequence[Cell]] = [_row(claim, sizes[claim.family]) for claim in claims]
    notes = [
        f"Supported, refuted: on the claimed or the other side with p under {LEVEL:g} after Holm's adjustment over all "
        "claims of results/claims.yaml outside a named family; bounded: undecided, the interval bounds the effect. Not "
        "testable here: the row shows the nearest that is measured.",
    ]
    shown = {claim.family for claim in claims}
    notes += [
        f"p ({size}): adjusted over these alone, the {size} {family}."
        for family, size in sizes.items()
        if family and family in shown
    ]
    untestable = [f"{claim.id}: {claim.not_testable}." for claim in claims if claim.not_testable]
    return ResultTable("claims", "Claims and what the records say", HEADER, KEYS, rows, notes + untestable, 3, True)


def _row(claim: Claim, family_size: int) -> list[Cell]:
    found = claim.measured
    if found is None:
        raise ValueError(f"claim {claim.id} was not measured yet; run python -m experiments.claims")
    low, high = (math.nan if bound is None else bound for bound in (found.low, found.high))
    p = "" if found.p_adjusted is None else f"{found.p_adjusted:.2g}"
    p += f" ({family_size})" if p and claim.family else ""
    told = f"{claim.statement} ({claim.id})" if claim.not_testable else claim.statement
    effect = Estimate(found.value, low, high, sign=found.unit != "times")
    return [told, claim.source, found.verdict, effect, found.unit, f"{found.count} {found.of}", p, claim.where]
