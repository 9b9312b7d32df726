"""What cost-optimizer refuses, with the facts of each refusal."""

from dataclasses import dataclass


class CostError(Exception):
    """Something cost-optimizer refuses."""


@dataclass(eq=False)
class InvalidFieldError(CostError):
    """A field of a request or an event is malformed; `description` says what would be right."""

    field: str
    description: str


@dataclass(eq=False)
class InvalidPriceFileError(CostError):
    """A price file cannot be used; `description` says what is wrong with it."""

    path: str
    description: str
