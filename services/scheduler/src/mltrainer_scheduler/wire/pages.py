"""Reads page requests and writes page tokens."""

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol

from mltrainer_scheduler.domain.errors import InvalidFieldError

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


def last_name(request: PageRequest) -> str:
    """Returns the name that the page before ended with; empty for the first page.

    Raises:
        InvalidFieldError: The token is none of ours.
    """
    try:
        return base64.b64decode(request.page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidFieldError("page_token", "is no `next_page_token` of an earlier answer") from error


def next_token(found: Sequence[object], size: int, last: str) -> str:
    """Returns the token behind a page that ends with a name; empty where nothing more was found."""
    return base64.urlsafe_b64encode(last.encode()).decode() if len(found) > size else ""
