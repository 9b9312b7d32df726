"""Describes where an imported version was before."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_registry.domain.errors import InvalidFieldError

_MAX_TEXT_LENGTH = 1_000
_MAX_ATTRIBUTES = 100
_FORMATS = ("mltrainer-model", "opaque")


@dataclass(frozen=True, slots=True)
class ImportOrigin:
    """Names a version elsewhere.

    Attributes:
        format: `mltrainer-model`, or `opaque` for bytes that are kept and never served.
        attributes: What else the source said of it.
    """

    source: str
    version: str
    create_time: datetime | None
    format: str
    attributes: tuple[tuple[str, str], ...] = ()


def check_origin(origin: ImportOrigin, field: str) -> ImportOrigin:
    """Returns an origin unchanged.

    Raises:
        InvalidFieldError: It names no source, an unknown format, or is too long.
    """
    for name, text in (("source", origin.source), ("version", origin.version)):
        if not 1 <= len(text) <= _MAX_TEXT_LENGTH:
            raise InvalidFieldError(
                f"{field}.{name}", f"has {len(text)} characters, not 1 to {_MAX_TEXT_LENGTH}"
            )
    if origin.format not in _FORMATS:
        raise InvalidFieldError(
            f"{field}.format", f"is {origin.format[:50]!r}, not one of {', '.join(_FORMATS)}"
        )
    if len(origin.attributes) > _MAX_ATTRIBUTES:
        raise InvalidFieldError(
            f"{field}.attributes", f"has {len(origin.attributes)} entries, more than {_MAX_ATTRIBUTES}"
        )
    for name, value in origin.attributes:
        if max(len(name), len(value)) > _MAX_TEXT_LENGTH:
            raise InvalidFieldError(
                f"{field}.attributes[{name[:50]!r}]", f"is longer than {_MAX_TEXT_LENGTH} characters"
            )
    return origin
