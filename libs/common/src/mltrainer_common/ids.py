"""Makes time-ordered unique ids and checks the ids that users choose."""

import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable

_RESOURCE_ID = re.compile(r"[a-z0-9](?:[a-z0-9\-_.]{0,61}[a-z0-9])?")


class TimeOrderedIds:
    """Makes UUIDs of version 7: they sort by time, and strictly within one process."""

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._now_ms = now_ms
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last = (0, 0)

    def __call__(self) -> str:
        """Returns the next id."""
        with self._lock:
            # A clock that steps back, or 4,096 ids in a millisecond, runs ahead instead of out of order.
            last_ms, sequence = self._last
            milliseconds = max(self._now_ms(), last_ms)
            sequence = sequence + 1 if milliseconds == last_ms else self._random_bits(8)
            if sequence > 0xFFF:
                milliseconds, sequence = milliseconds + 1, 0
            self._last = (milliseconds, sequence)
        value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | sequence << 64
        return str(uuid.UUID(int=value | 0b10 << 62 | self._random_bits(62)))


new_id = TimeOrderedIds()


def is_resource_id(value: str) -> bool:
    """Tells whether a value may be the last part of a resource name: lower case, at most 63 characters."""
    return _RESOURCE_ID.fullmatch(value) is not None


def check_resource_id(value: str) -> str:
    """Returns the id unchanged.

    Raises:
        ValueError: It is not a valid resource id; the text says what one looks like.
    """
    if not is_resource_id(value):
        raise ValueError(
            f"{value!r} is no resource id: use 1 to 63 lower-case letters, digits, '-', '_' or '.', "
            "beginning and ending with a letter or digit"
        )
    return value
