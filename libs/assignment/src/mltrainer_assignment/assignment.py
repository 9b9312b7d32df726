"""From a unit to its variant."""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from itertools import accumulate

BUCKET_COUNT = 1_000_000
_SEPARATOR = "\x1f"


class PlanError(ValueError):
    """An assignment plan contradicts itself."""

    def __init__(self, field_path: str, problem: str) -> None:
        self.field_path = field_path
        self.problem = problem
        super().__init__(f"{field_path}: {problem}")


class AssignmentReason(StrEnum):
    """Why a unit has its variant, or none."""

    ASSIGNED = "ASSIGNED"
    OUTSIDE_NAMESPACE_SLICE = "OUTSIDE_NAMESPACE_SLICE"
    OUTSIDE_TRAFFIC = "OUTSIDE_TRAFFIC"


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm; its share is its weight over the sum of weights."""

    name: str
    weight: int


@dataclass(frozen=True, slots=True)
class NamespaceSlice:
    """The buckets of a namespace that one experiment owns, from `start` up to, not including, `end`.

    Experiments whose slices of one namespace do not meet never share a unit.
    """

    namespace: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """The variant of a unit; `variant` is None where the unit takes no part."""

    variant: str | None
    reason: AssignmentReason


_OUTSIDE_SLICE = Assignment(None, AssignmentReason.OUTSIDE_NAMESPACE_SLICE)
_OUTSIDE_TRAFFIC = Assignment(None, AssignmentReason.OUTSIDE_TRAFFIC)


def bucket_of(purpose: str, salt: str, unit: str) -> int:
    """Draws a unit's bucket, from 0 to 999,999."""
    digest = sha256(f"{purpose}{_SEPARATOR}{salt}{_SEPARATOR}{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKET_COUNT


def unit_of(*parts: str) -> str:
    """Joins the parts of a unit, such as strategy, symbol and session; different parts, different units."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


@dataclass(frozen=True, slots=True)
class AssignmentPlan:
    """Splits the units of one experiment.

    `salt` is the experiment's own and never changes. `traffic` is how many of a million units take part:
    raising it adds units and moves none. Changing weights moves only the units between the old and the new
    boundaries.
    """

    salt: str
    variants: tuple[Variant, ...]
    traffic: int = BUCKET_COUNT
    namespace_slice: NamespaceSlice | None = None
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _assignments: tuple[Assignment, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the plan and prepares the boundaries between variants.

        Raises:
            PlanError: the plan contradicts itself; the error names the field.
        """
        _check(self)
        total = sum(variant.weight for variant in self.variants)
        cumulated = accumulate(variant.weight for variant in self.variants)
        ends = tuple(weight * BUCKET_COUNT // total for weight in cumulated)
        object.__setattr__(self, "_ends", ends)
        assignments = tuple(Assignment(variant.name, AssignmentReason.ASSIGNED) for variant in self.variants)
        object.__setattr__(self, "_assignments", assignments)

    def assign(self, unit: str) -> Assignment:
        """Answers the variant of a unit; the same unit always gets the same answer."""
        part = self.namespace_slice
        if part is not None and not part.start <= bucket_of("namespace", part.namespace, unit) < part.end:
            return _OUTSIDE_SLICE
        if self.traffic < BUCKET_COUNT and bucket_of("traffic", self.salt, unit) >= self.traffic:
            return _OUTSIDE_TRAFFIC
        return self._assignments[bisect_right(self._ends, bucket_of("variant", self.salt, unit))]


def _check(plan: AssignmentPlan) -> None:
    if not plan.salt or _SEPARATOR in plan.salt:
        raise PlanError("salt", "must be a text without the separator U+001F")
    names = [variant.name for variant in plan.variants]
    if not names or len(set(names)) != len(names) or not all(names):
        raise PlanError("variants", "must have distinct names, at least one")
    if any(variant.weight < 0 for variant in plan.variants) or not any(v.weight for v in plan.variants):
        raise PlanError("variants.weight", "must be at least 0, and one above it")
    if not 0 <= plan.traffic <= BUCKET_COUNT:
        raise PlanError("traffic", f"must lie between 0 and {BUCKET_COUNT}")
    part = plan.namespace_slice
    if part is not None and (not part.namespace or _SEPARATOR in part.namespace):
        raise PlanError("namespace_slice.namespace", "must be a text without the separator U+001F")
    if part is not None and not 0 <= part.start < part.end <= BUCKET_COUNT:
        raise PlanError("namespace_slice", f"must hold buckets between 0 and {BUCKET_COUNT}")
