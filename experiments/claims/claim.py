"""The file of claims, results/claims.yaml: what is claimed, in which cell of which run it shows, and what holds there.

A claim's `measured` part is written by `python -m experiments.claims`; the rest is by hand.
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AllowInfNan, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from yaml import YAMLError

STRICT = ConfigDict(extra="forbid")
Number = Annotated[float, Strict(), AllowInfNan(False)]  # no true that reads as 1
Name = Annotated[str, Field(min_length=1)]
HEADER = (
    "# Claims as data. By hand: all but `measured`, which `python -m experiments.claims` writes from the records.\n"
)


@dataclass(frozen=True, config=STRICT)
class Endpoint:
    """A cell: the run's folder below results/, its table, row and column (as `experiments.trace` takes them)."""

    run: str
    table: str
    row: str
    column: str


@dataclass(frozen=True, config=STRICT)
class Measured:
    """The effect as the records give it.

    Attributes:
        value, low, high: the effect with its 95% interval. unit: of the three.
        count: how many of `of` the interval and p rest on. p: two-sided, of an effect equal to the claim's threshold.
        p_adjusted: by Holm over all claims of the family. verdict: see `verdicts.verdict`.
        starts: run ids of the records behind it.
    """

    value: Number
    low: Number | None
    high: Number | None
    unit: str
    count: int
    of: str
    p: Number | None
    p_adjusted: Number | None
    verdict: str
    starts: list[str]


@dataclass(frozen=True, config=STRICT)
class Claim:
    """One claim.

    Attributes:
        id: short and unique. source: who says it and where. statement: the claim in a sentence.
        endpoint: where it shows. above, below: what must hold of the effect there, exactly one of them.
        where: model, data and machine of the endpoint. command: what measures it anew.
        not_testable: why the claim as stated cannot be tested here; the endpoint is then the nearest that can.
        family: the comparisons that its p is adjusted over, those of one name; a study's plan names its primary ones.
        headline: shown in README.
    """

    id: Name
    source: Name
    statement: Name
    endpoint: Endpoint
    where: str
    command: str
    above: Number | None = None
    below: Number | None = None
    not_testable: str = ""
    family: str = ""
    headline: bool = False
    measured: Measured | None = None

    @property
    def threshold(self) -> float:
        """The effect at which the claim begins to hold."""
        found = self.above if self.above is not None else self.below
        assert found is not None
        return found


CLAIMS = TypeAdapter(list[Claim])


def load_claims(path: Path) -> list[Claim]:
    """The claims of a file.

    Raises:
        ValueError: a field is missing, unknown or of another type; an id twice; not exactly one of above and below;
            two spellings of one family, whose claims would be adjusted apart.
    """
    try:
        claims = CLAIMS.validate_python(OmegaConf.to_container(OmegaConf.load(path)))  # nothing in it is resolved
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a yaml file: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: claim {place}: {first['msg']}") from None
    ids = [claim.id for claim in claims]
    families: dict[str, str] = {}
    for family in (claim.family for claim in claims):
        spelling = families.setdefault("".join(family.split()).casefold(), family)
        if spelling != family:
            raise ValueError(
                f"{path}: families {spelling!r} and {family!r} differ in their spelling; write one of them"
            )
    for claim in claims:
        if ids.count(claim.id) > 1:
            raise ValueError(f"{path}: two claims are called {claim.id!r}; give each an id of its own")
        if (claim.above is None) == (claim.below is None):
            raise ValueError(f"{path}: claim {claim.id}: give exactly one of above and below")
    return claims


def to_yaml(claims: list[Claim]) -> str:
    """The file of claims; fields that say nothing are left out."""
    return HEADER + OmegaConf.to_yaml(OmegaConf.create([_plain(claim) for claim in claims]))


def _plain(claim: Claim) -> dict[str, Any]:
    given = asdict(claim)
    return {field.name: given[field.name] for field in fields(Claim) if given[field.name] != field.default}
