"""Reads requests."""

import re
from typing import Protocol

from mltrainer_monitor.domain.errors import InvalidFieldError

_DEFAULT_SIZE = 100
_MAX_SIZE = 1_000
_MODEL = re.compile(r"models/[^/]{1,200}")


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


def version_token(request: PageRequest) -> int | None:
    """Returns the version that the page before ended with; None for the first page.

    Raises:
        InvalidFieldError: The token is none of ours.
    """
    if not request.page_token:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", request.page_token):
        raise InvalidFieldError("page_token", "is no `next_page_token` of an earlier answer")
    return int(request.page_token)


def model_name(field: str, value: str) -> str:
    """Returns the name of a model.

    Raises:
        InvalidFieldError: It is none.
    """
    if _MODEL.fullmatch(value) is None:
        raise InvalidFieldError(field, f"{value[:80]!r} is not of the form models/MODEL")
    return value
