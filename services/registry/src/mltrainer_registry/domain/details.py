"""Descriptions and tags: what people may change about models and versions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mltrainer_registry.domain.errors import InvalidFieldError

MAX_DESCRIPTION_LENGTH = 10_000
_MAX_TAGS = 64
_MAX_VALUE_LENGTH = 500
_KEY = re.compile(r"[a-z0-9](?:[a-z0-9_\-/]{0,61}[a-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Details:
    """A description in Markdown and free labels."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


NO_DETAILS = Details()


@dataclass(frozen=True, slots=True)
class DetailsChange:
    """Says what shall be different.

    Attributes:
        paths: `description`, `tags` (all of them) or `tags.{key}` (removed where `wanted` does not have it).
    """

    wanted: Details
    paths: tuple[str, ...]


def change_details(present: Details, change: DetailsChange) -> Details:
    """Returns the details after a change.

    Raises:
        InvalidFieldError: A path, key or value may not be used.
    """
    if not change.paths:
        raise InvalidFieldError("update_mask", "names nothing: use description, tags or tags.{key}")
    changed = present
    for path in change.paths:
        changed = _changed(changed, change.wanted, path)
    _check(changed)
    return changed


def _changed(present: Details, wanted: Details, path: str) -> Details:
    if path == "description":
        return replace(present, description=wanted.description)
    if path == "tags":
        return replace(present, tags=dict(wanted.tags))
    head, _, key = path.partition(".")
    if head != "tags" or not key:
        raise InvalidFieldError(
            "update_mask", f"names {path[:100]!r}: only description, tags and tags.{{key}} change"
        )
    others = {name: value for name, value in present.tags.items() if name != key}
    return replace(present, tags=others | ({key: wanted.tags[key]} if key in wanted.tags else {}))


def _check(details: Details) -> None:
    if len(details.description) > MAX_DESCRIPTION_LENGTH or _CONTROL_IN_TEXT.search(details.description):
        raise InvalidFieldError(
            "description", f"has control characters or more than {MAX_DESCRIPTION_LENGTH} characters"
        )
    if len(details.tags) > _MAX_TAGS:
        raise InvalidFieldError("tags", f"are {len(details.tags)}, more than {_MAX_TAGS}")
    for key, value in details.tags.items():
        if _KEY.fullmatch(key) is None:
            raise InvalidFieldError(
                "tags", f"have the key {key[:100]!r}: use up to 63 of a-z, 0-9, '_', '-' and '/'"
            )
        if len(value) > _MAX_VALUE_LENGTH or _CONTROL.search(value):
            raise InvalidFieldError(
                f"tags.{key}", f"has control characters or more than {_MAX_VALUE_LENGTH} characters"
            )
