"""Stops calling a peer that keeps failing, and lets one probe at a time find out when it is back.

Outcomes are told to the permit by whoever awaited the call, chosen by status code; see `rpc_client`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mltrainer_common.clock import Monotonic, MonotonicClock


class BreakerState(StrEnum):
    """Closed lets calls through, open refuses them, half-open admits one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpenError(Exception):
    """The call was refused without being sent."""

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"breaker of {name} is open for another {retry_after_s:.1f} s")
        self.name = name
        self.retry_after_s = retry_after_s


class Permit(Protocol):
    """The right to make one call; tell exactly what became of it. Stale permits change nothing."""

    def succeeded(self) -> None:
        """The peer did what was asked."""
        ...

    def failed(self) -> None:
        """The peer is unwell: unreachable, too slow, overloaded or broken."""
        ...

    def answered(self) -> None:
        """The peer is well, though it said no or is not done: neither success nor failure while closed."""
        ...

    def abandoned(self) -> None:
        """Nothing was learnt: the caller gave up."""
        ...


class Breaker(Protocol):
    """Port: decides whether a call may be made."""

    def acquire(self) -> Permit:
        """Returns a permit, or raises `BreakerOpenError`."""
        ...


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens: enough failures and a large enough share of the calls in the window.

    A share, not a row of failures: one of two replicas dying fails many calls at once while the other
    still answers.
    """

    minimum_failures: int = 10
    failure_ratio: float = 0.5
    window_s: float = 5.0
    open_s: float = 1.0


class CircuitBreaker:
    """A breaker for one peer, for one event loop."""

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy | None = None,
        now: Monotonic | None = None,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._policy = policy or BreakerPolicy()
        self._now = now or MonotonicClock()
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._opened_at = 0.0
        self._probing = False
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=1000)
        self._failures = 0

    @property
    def state(self) -> BreakerState:
        """The state as of the last call."""
        return self._state

    def acquire(self) -> Permit:
        """Returns a permit.

        Raises:
            BreakerOpenError: The breaker is open, or half-open with a probe under way.
        """
        if self._state is BreakerState.OPEN:
            left = self._opened_at + self._policy.open_s - self._now()
            if left > 0:
                raise BreakerOpenError(self._name, left)
            self._enter(BreakerState.HALF_OPEN)
        if self._state is BreakerState.HALF_OPEN:
            if self._probing:
                raise BreakerOpenError(self._name, self._policy.open_s)
            self._probing = True
        return _Permit(self._record, self._generation)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._probing = False
        self._outcomes.clear()
        self._failures = 0
        if state is BreakerState.OPEN:
            self._opened_at = self._now()
        self._on_change(state)

    def _record(self, generation: int, outcome: "_Outcome") -> None:
        if generation != self._generation:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._settle_probe(outcome)
        elif outcome in {_Outcome.SUCCEEDED, _Outcome.FAILED}:
            self._count(failed=outcome is _Outcome.FAILED)

    def _settle_probe(self, outcome: "_Outcome") -> None:
        if outcome is _Outcome.ABANDONED:
            self._probing = False
        elif outcome is _Outcome.FAILED:
            self._enter(BreakerState.OPEN)
        else:
            self._enter(BreakerState.CLOSED)

    def _count(self, *, failed: bool) -> None:
        now = self._now()
        self._forget_before(now - self._policy.window_s)
        self._outcomes.append((now, failed))
        if not failed:
            return
        self._failures += 1
        enough = self._failures >= self._policy.minimum_failures
        if enough and self._failures >= self._policy.failure_ratio * len(self._outcomes):
            self._enter(BreakerState.OPEN)

    def _forget_before(self, oldest: float) -> None:
        outcomes = self._outcomes
        while outcomes and (outcomes[0][0] < oldest or len(outcomes) == outcomes.maxlen):
            self._failures -= outcomes.popleft()[1]


class _Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ANSWERED = "answered"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class _Permit:
    record: Callable[[int, _Outcome], None]
    generation: int

    def succeeded(self) -> None:
        self.record(self.generation, _Outcome.SUCCEEDED)

    def failed(self) -> None:
        self.record(self.generation, _Outcome.FAILED)

    def answered(self) -> None:
        self.record(self.generation, _Outcome.ANSWERED)

    def abandoned(self) -> None:
        self.record(self.generation, _Outcome.ABANDONED)
