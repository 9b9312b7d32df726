"""Each defect found in a widely used breaker is a claim about ours; those about calls stand in test_rpc."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
from mltrainer_common.breaker import BreakerOpenError, BreakerPolicy, BreakerState, CircuitBreaker, Permit

POLICY = BreakerPolicy(minimum_failures=5, failure_ratio=0.5, window_s=10.0, open_s=30.0)


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def breaker(now: Now) -> CircuitBreaker:
    return CircuitBreaker("registry", POLICY, now)


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(5):
        breaker.acquire().failed()
    assert breaker.state is BreakerState.OPEN
    return breaker


def half_opened(breaker: CircuitBreaker, now: Now) -> tuple[CircuitBreaker, Permit]:
    opened(breaker)
    now.seconds += 30.0
    return breaker, breaker.acquire()


def test_half_open_admits_one_of_fifty(breaker: CircuitBreaker, now: Now) -> None:
    opened(breaker)
    now.seconds += 30.0

    admitted = 0
    for _ in range(50):
        try:
            breaker.acquire()
        except BreakerOpenError:
            continue
        admitted += 1

    assert admitted == 1


def test_a_probe_that_fails_is_not_undone_by_an_older_call_that_succeeds(
    breaker: CircuitBreaker, now: Now
) -> None:
    older = breaker.acquire()
    breaker, probe = half_opened(breaker, now)

    probe.failed()
    older.succeeded()

    assert breaker.state is BreakerState.OPEN


def test_a_cancelled_probe_frees_its_place_and_keeps_the_gate(breaker: CircuitBreaker, now: Now) -> None:
    breaker, probe = half_opened(breaker, now)

    probe.abandoned()
    breaker.acquire()

    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(BreakerOpenError):
        breaker.acquire()


def test_a_refusal_between_failures_is_no_success(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        breaker.acquire().failed() if breaker.state is BreakerState.CLOSED else None
        if breaker.state is BreakerState.CLOSED:
            breaker.acquire().answered()

    assert breaker.state is BreakerState.OPEN


def test_only_the_caller_decides_what_a_failure_is(breaker: CircuitBreaker) -> None:
    """No class, metaclass or hierarchy of errors is consulted: the outcome is told by name."""
    for _ in range(50):
        breaker.acquire().answered()

    assert breaker.state is BreakerState.CLOSED


@pytest.fixture(params=["America/New_York", "Asia/Tokyo"])
def time_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.__setitem__("TZ", before)
    time.tzset()


@pytest.mark.usefixtures("time_zone")
def test_the_time_left_does_not_depend_on_the_time_zone(breaker: CircuitBreaker, now: Now) -> None:
    opened(breaker)
    now.seconds += 10.0

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s == pytest.approx(20.0)


def test_a_jump_of_the_wall_clock_changes_nothing(
    breaker: CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(breaker)
    monkeypatch.setattr(time, "time", lambda: 1e12)

    with pytest.raises(BreakerOpenError):
        breaker.acquire()


def test_a_probe_that_succeeds_closes(breaker: CircuitBreaker, now: Now) -> None:
    breaker, probe = half_opened(breaker, now)

    probe.succeeded()

    assert breaker.state is BreakerState.CLOSED
    breaker.acquire()
    breaker.acquire()


def test_a_probe_that_is_refused_closes_because_the_peer_answers(breaker: CircuitBreaker, now: Now) -> None:
    breaker, probe = half_opened(breaker, now)

    probe.answered()

    assert breaker.state is BreakerState.CLOSED


def test_one_of_two_replicas_dying_does_not_open(breaker: CircuitBreaker) -> None:
    for _ in range(30):
        breaker.acquire().succeeded()
    for _ in range(20):
        breaker.acquire().failed()

    assert breaker.state is BreakerState.CLOSED


def test_failures_outside_the_window_are_forgotten(breaker: CircuitBreaker, now: Now) -> None:
    for _ in range(20):
        breaker.acquire().failed() if breaker.state is BreakerState.CLOSED else None
        now.seconds += 3.0

    assert breaker.state is BreakerState.CLOSED


def test_the_memory_of_a_busy_breaker_is_bounded_and_exact(breaker: CircuitBreaker) -> None:
    for _ in range(3000):
        breaker.acquire().succeeded()
    for _ in range(1000):
        if breaker.state is BreakerState.CLOSED:
            breaker.acquire().failed()

    assert breaker.state is BreakerState.OPEN


def test_a_change_of_state_is_told(now: Now) -> None:
    seen: list[BreakerState] = []
    breaker = CircuitBreaker("registry", POLICY, now, seen.append)

    _, probe = half_opened(breaker, now)
    probe.succeeded()

    assert seen == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_concurrent_tasks_share_one_probe(breaker: CircuitBreaker, now: Now) -> None:
    opened(breaker)
    now.seconds += 30.0

    async def attempt() -> bool:
        try:
            permit = breaker.acquire()
        except BreakerOpenError:
            return False
        await asyncio.sleep(0)
        permit.succeeded()
        return True

    admitted = await asyncio.gather(*(attempt() for _ in range(50)))

    assert sum(admitted) == 1
