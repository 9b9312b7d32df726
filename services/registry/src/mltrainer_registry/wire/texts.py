"""Bounds what callers write for people to read."""

import re

from mltrainer_registry.domain.errors import InvalidFieldError

MAX_TEXT_LENGTH = 1_000
MAX_ID_LENGTH = 200
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def short(text: str, field: str, limit: int) -> str:
    """Returns a text that is not too long and has no control characters but tabs and line ends.

    Raises:
        InvalidFieldError: It has.
    """
    if len(text) > limit:
        raise InvalidFieldError(field, f"has {len(text)} characters, more than {limit}")
    if _CONTROL.search(text):
        raise InvalidFieldError(field, "has control characters")
    return text
