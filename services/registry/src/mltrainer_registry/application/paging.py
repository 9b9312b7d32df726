"""Says what a part of a long list is."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a long list; `next_cursor` is empty on the last page."""

    items: tuple[T, ...]
    next_cursor: str
