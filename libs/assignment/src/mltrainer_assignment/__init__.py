"""Deterministic assignment of units to variants, the same in every process and language.

A unit's bucket is `int(sha256(purpose + U+001F + salt + U+001F + unit)[0:8], big-endian) mod 1,000,000`,
texts in UTF-8. There are three purposes, so that the draws are independent of each other: `namespace` (may
the unit enter at all), `traffic` (does it take part) and `variant` (which one). Any language with SHA-256
can repeat it; `tests/vectors.json` holds the expected answers.
"""

from mltrainer_assignment.assignment import (
    BUCKET_COUNT,
    Assignment,
    AssignmentPlan,
    AssignmentReason,
    NamespaceSlice,
    PlanError,
    Variant,
    bucket_of,
    unit_of,
)

__all__ = [
    "BUCKET_COUNT",
    "Assignment",
    "AssignmentPlan",
    "AssignmentReason",
    "NamespaceSlice",
    "PlanError",
    "Variant",
    "bucket_of",
    "unit_of",
]
