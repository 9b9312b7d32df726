"""Reads and writes the tokens of paginated lists."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.domain.errors import InvalidFieldError

_DEFAULT_SIZE = 100
_MAXIMAL_SIZE = 1000
_T = TypeVar("_T")


def to_page_request(page_size: int, page_token: str) -> PageRequest:
    """Reads which part is wanted; one element more is asked for, to know whether a page follows.

    Raises:
        InvalidFieldError: The size is out of range or the token is none of ours.
    """
    if not 0 <= page_size <= _MAXIMAL_SIZE:
        raise InvalidFieldError("page_size", f"use 1 to {_MAXIMAL_SIZE}, or 0 for {_DEFAULT_SIZE}")
    try:
        after = base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError("page_token", "use the next_page_token of the page before") from error
    return PageRequest((page_size or _DEFAULT_SIZE) + 1, after)


def cut_page(found: Sequence[tuple[str, _T]], page: PageRequest) -> tuple[list[_T], str]:
    """Returns the elements of the page and the token of the next, empty on the last."""
    kept = found[: page.size - 1]
    token = base64.urlsafe_b64encode(kept[-1][0].encode()).decode() if len(found) == page.size else ""
    return [element for _, element in kept], token
