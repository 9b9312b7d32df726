"""Says whether somebody who is trusted here vouches for the files of a version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_models import SIGNATURE_FILE, ManifestEntry


class Trust(StrEnum):
    """What a signature comes to."""

    SIGNED = "SIGNED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    UNSIGNED = "UNSIGNED"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Vouching:
    """The finding, the key it is about and a sentence for people."""

    trust: Trust
    key_id: str
    sentence: str


def judge(signature: bytes | None, entries: Iterable[ManifestEntry], trusted: Sequence[bytes]) -> Vouching:
    """Returns what the signature of some files comes to; None where they have none."""
    from mltrainer_models.signatures import SignatureError, UnknownKeyError, verify_signature

    if signature is None:
        return Vouching(Trust.UNSIGNED, "", "It is not signed.")
    try:
        key_id = verify_signature(signature, entries, trusted)
    except UnknownKeyError as error:
        return Vouching(Trust.UNKNOWN_KEY, error.key_id, f"Its key {error.key_id} is not trusted here.")
    except SignatureError as error:
        return Vouching(Trust.BROKEN, "", f"Its signature does not hold: {error}.")
    return Vouching(Trust.SIGNED, key_id, f"Key {key_id}, trusted here, has signed it.")


def signature_entry(entries: Iterable[ManifestEntry]) -> ManifestEntry | None:
    """Returns the file that holds the signature."""
    return next((entry for entry in entries if entry.file == SIGNATURE_FILE), None)
