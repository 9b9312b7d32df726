"""Continues lists where the page before ended: by key, so that changes meanwhile repeat and skip nothing."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.errors import InvalidFieldError

T = TypeVar("T")


def page_of(items: Sequence[T], limit: int, query: str, key: Callable[[T], Sequence[Any]]) -> Page[T]:
    """Cuts a page out of one item more than it holds."""
    shown = tuple(items[:limit])
    if len(items) <= limit:
        return Page(shown, "")
    return Page(shown, json.dumps([_digest(query), *key(shown[-1])]))


def read_cursor(cursor: str, query: str, types: Sequence[type]) -> list[Any] | None:
    """Returns the key that a page ended with; None on the first page.

    Raises:
        InvalidFieldError: The cursor is of another list, filter or order.
    """
    if not cursor:
        return None
    try:
        found = json.loads(cursor)
    except (ValueError, RecursionError) as error:
        raise _foreign() from error
    if not isinstance(found, list) or found[:1] != [_digest(query)] or len(found) != len(types) + 1:
        raise _foreign()
    key = found[1:]
    for value, expected in zip(key, types, strict=True):
        if isinstance(value, bool) or not isinstance(value, expected):
            raise _foreign()
    return key


def _foreign() -> InvalidFieldError:
    return InvalidFieldError("page_token", "is not the next_page_token of this list, filter and order")


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:16]
