"""Distances between sets of embeddings on the network of any role, and the neighbourhoods of one set in the other.

Shapes: n clips, W windows, r rows, d embedding size, G jackknife groups.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from evaluation.embedders.protocol import Output
from evaluation.material import Material, with_column
from evaluation.metric import PositionStatistic, SetValues
from evaluation.metrics.fad import Moments, frechet_distance, frechet_influence, gaussian_moments
from evaluation.metrics.kad import FixedReference
from evaluation.metrics.neighbours import NEAREST, Neighbourhood, References
from evaluation.presets import Role
from evaluation.statistics.bootstrap import Array


def frechet(metric: str, material: Material, role: Role, output: Output, rows: Array) -> SetValues:
    """Fréchet distance of (n, W, ...) rows to one output of a role's references."""
    require(material, role, output, metric)

    def distance_to(prompts: Collection[str] | None) -> PositionStatistic:
        return _FrechetDistance(material, role, output, prompts)

    first = material.reference_rows(role, output, 0)
    per_window = len(_flat(rows[:, 0]))
    details = {
        "reference_rows": len(first),
        "rows": min(len(first), per_window),
        "dimension": first.shape[1],
        "output": output,
    }
    return SetValues(rows, distance_to(None), details, distance_to)


@dataclass(frozen=True)
class _FrechetDistance:
    """Fréchet distance of rows (n, ...) to the references of some prompts."""

    material: Material
    role: Role
    output: Output
    prompts: Collection[str] | None
    _references: dict[int, Array | Moments] = field(default_factory=dict)

    def __call__(self, rows: Array, position: int) -> float:
        return frechet_distance(self._reference(position), _flat(rows))

    def influence(self, rows: Array, position: int) -> Array:
        each = frechet_influence(self._reference(position), _flat(rows))
        counts = [len(_flat(row[None])) for row in rows]
        sums = np.array([part.sum() for part in np.split(each, np.cumsum(counts)[:-1])])
        return sums / np.mean(counts)

    def _reference(self, position: int) -> Array | Moments:
        if position not in self._references:
            found = self.material.reference_rows(self.role, self.output, position, self.prompts)
            self._references[position] = gaussian_moments(found) if len(found) > found.shape[1] else found
        return self._references[position]


def kernel_distance(material: Material, role: Role) -> SetValues:
    """Kernel audio distance of a role's vectors, one per clip and window."""

    def distance_to(prompts: Collection[str] | None) -> PositionStatistic:
        return _KernelDistance(material, role, prompts)

    bandwidth = fixed_reference(material, role, None, 0).bandwidth
    # Seeds of one prompt are alike: they count as one clip, or their pairs would raise the distance.
    rows = with_column(material.prompt_numbers(role), material.vectors(role))
    return SetValues(rows, distance_to(None), {"bandwidth": bandwidth}, distance_to)


@dataclass(frozen=True)
class _KernelDistance:
    """KAD of rows (n, 1 + d), a prompt's number in front of each embedding."""

    material: Material
    role: Role
    prompts: Collection[str] | None

    def __call__(self, rows: Array, position: int) -> float:
        return self._reference(position).distance(rows[:, 1:], rows[:, 0])

    def without_groups(self, rows: Array, groups: Array, position: int) -> Array:
        return self._reference(position).without_groups(rows[:, 1:], groups, rows[:, 0])

    def _reference(self, position: int) -> FixedReference:
        return fixed_reference(self.material, self.role, self.prompts, position)


def fixed_reference(material: Material, role: Role, prompts: Collection[str] | None, position: int) -> FixedReference:
    """The references that windows at a position are held against; the bandwidth is that of the first position."""
    aligned = material.preset.reference_windows == "aligned"
    key = ("kernel", role, None if prompts is None else frozenset(prompts), position if aligned else 0)
    if key not in material.memo:
        width = None if key[-1] == 0 else fixed_reference(material, role, prompts, 0).bandwidth
        rows = material.reference_vectors(role, position, prompts)
        material.memo[key] = FixedReference(rows, width)
    found: FixedReference = material.memo[key]
    return found


def frechet_on(role: Role) -> Callable[[Material], SetValues]:
    """Fréchet distance of a role's frames, or embeddings where it has no frames."""

    def values(material: Material) -> SetValues:
        output = material.frames_output(role)
        return frechet(f"fad_on_{role}", material, role, output, material.rows(role, output))

    return values


def kernel_distance_on(role: Role) -> Callable[[Material], SetValues]:
    """Kernel audio distance of a role's embeddings."""
    return lambda material: kernel_distance(material, role)


def neighbourhood(what: Neighbourhood, role: Role) -> Callable[[Material], SetValues]:
    """Precision, recall, density or coverage of a role's embeddings."""

    def values(material: Material) -> SetValues:
        def statistic_to(prompts: Collection[str] | None) -> PositionStatistic:
            return _Neighbourhood(what, material, role, prompts)

        return SetValues(material.vectors(role), statistic_to(None), {"nearest": NEAREST}, statistic_to)

    return values


@dataclass(frozen=True)
class _Neighbourhood:
    what: Neighbourhood
    material: Material
    role: Role
    prompts: Collection[str] | None

    def __call__(self, rows: Array, position: int) -> float:
        return self._references(position).value(self.what, rows)

    def without_groups(self, rows: Array, groups: Array, position: int) -> Array:
        return self._references(position).without_groups(self.what, rows, groups)

    def _references(self, position: int) -> References:
        aligned = self.material.preset.reference_windows == "aligned"
        prompts = None if self.prompts is None else frozenset(self.prompts)
        key = ("neighbours", self.role, prompts, position if aligned else 0)
        memo = self.material.memo
        if key not in memo:
            memo[key] = References(self.material.reference_vectors(self.role, position, self.prompts))
        found: References = memo[key]
        return found


def require(material: Material, role: Role, output: Output, metric: str) -> None:
    """Raise ValueError where a role's network does not give an output."""
    if output not in material.outputs[role]:
        raise ValueError(f"{metric} needs {output} from the {role} embedder, which gives {material.outputs[role]}")


def _flat(part: Array) -> Array:
    return np.concatenate(part.tolist()) if part.dtype == object else part.reshape(-1, part.shape[-1])
