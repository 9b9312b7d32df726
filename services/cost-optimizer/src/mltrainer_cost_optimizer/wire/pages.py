"""Reads page requests and writes page tokens."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mltrainer_cost_optimizer.application.ports import Position
from mltrainer_cost_optimizer.domain.errors import InvalidFieldError

_DEFAULT_SIZE = 100
_MAX_SIZE = 1_000


class PageRequest(Protocol):
    """Any request of a list method."""

    @property
    def page_size(self) -> int:
        """Entries wanted."""
        ...

    @property
    def page_token(self) -> str:
        """Token of the page before."""
        ...


def page_size(request: PageRequest) -> int:
    """Returns how many entries are wanted.

    Raises:
        InvalidFieldError: The number is out of range.
    """
    if not 0 <= request.page_size <= _MAX_SIZE:
        raise InvalidFieldError("page_size", f"{request.page_size} is not between 1 and {_MAX_SIZE}")
    return request.page_size or _DEFAULT_SIZE


def position(request: PageRequest) -> Position | None:
    """Returns where the page before ended; None for the first page.

    Raises:
        InvalidFieldError: The token is none of ours.
    """
    if not request.page_token:
        return None
    try:
        text, name = json.loads(base64.b64decode(request.page_token, altchars=b"-_", validate=True))
        time = datetime.fromisoformat(text)
    except (binascii.Error, UnicodeError, ValueError, TypeError) as error:
        raise InvalidFieldError("page_token", "is no `next_page_token` of an earlier answer") from error
    if time.tzinfo is None or not isinstance(name, str):
        raise InvalidFieldError("page_token", "is no `next_page_token` of an earlier answer")
    return Position(time, name)


def next_token(found: Sequence[object], size: int, last: Position) -> str:
    """Returns the token behind a page that ends at a position; empty where nothing more was found."""
    if len(found) <= size:
        return ""
    return base64.urlsafe_b64encode(json.dumps([last.time.isoformat(), last.name]).encode()).decode()
