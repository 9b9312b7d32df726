"""One spelling for every JSON document whose bytes are hashed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MAXIMUM_JSON_BYTES = 4 << 20


class CanonicalFormError(ValueError):
    """The bytes are not the canonical spelling of a JSON object."""


def encode_canonical(document: Mapping[str, Any]) -> bytes:
    """Spells a document with sorted keys, no blanks, ASCII only and shortest round-trip floats.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def decode_canonical(data: bytes) -> dict[str, Any]:
    """Reads what `encode_canonical` wrote and nothing else.

    Raises:
        CanonicalFormError: the bytes are too long, no JSON object, or spelled in another way.
    """
    if len(data) > MAXIMUM_JSON_BYTES:
        raise CanonicalFormError(f"{len(data)} bytes are more than {MAXIMUM_JSON_BYTES}")
    try:
        document = json.loads(data)
        same = isinstance(document, dict) and encode_canonical(document) == data
    except (ValueError, RecursionError) as error:
        raise CanonicalFormError("not a JSON object") from error
    if not same:
        raise CanonicalFormError("not in canonical form")
    result: dict[str, Any] = document
    return result


def canonical_digest(document: Mapping[str, Any]) -> str:
    """Hashes a document's canonical spelling with SHA-256, in hexadecimal."""
    return hashlib.sha256(encode_canonical(document)).hexdigest()
