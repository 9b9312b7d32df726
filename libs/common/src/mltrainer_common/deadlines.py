"""Carries the deadline of the call being handled to the calls made on its behalf."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Time kept back for this process to answer after its peer's deadline has passed.
MARGIN_S = 0.02

_deadline: ContextVar[float | None] = ContextVar("mltrainer_deadline", default=None)


def set_deadline(timeout_s: float | None) -> None:
    """Sets the deadline of the current task, for good; the server does so at the start of each call."""
    _deadline.set(None if timeout_s is None else time.monotonic() + timeout_s)


def remaining_s() -> float | None:
    """Returns the seconds left for the call being handled; None when there is no deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def bounded_timeout_s(own_s: float | None, margin_s: float = MARGIN_S) -> float | None:
    """Returns min(own timeout, what is left minus a margin), never below zero."""
    remaining = remaining_s()
    if remaining is None:
        return own_s
    left = max(0.0, remaining - margin_s)
    return left if own_s is None else min(own_s, left)


@contextmanager
def deadline_scope(timeout_s: float) -> Iterator[None]:
    """Bounds every call made inside, also by any deadline already in force."""
    token = _deadline.set(time.monotonic() + (bounded_timeout_s(timeout_s, 0.0) or 0.0))
    try:
        yield
    finally:
        _deadline.reset(token)
