"""Settings, clocks, ids, deadlines and retries."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_common.clock import SystemClock, parse_market_clock
from mltrainer_common.deadlines import bounded_timeout_s, deadline_scope, remaining_s
from mltrainer_common.errors import RpcFailure
from mltrainer_common.ids import TimeOrderedIds, check_resource_id, is_resource_id, new_id
from mltrainer_common.retry import RetryBudget, RetryPolicy, retry
from mltrainer_common.settings import PlatformSettings, default_database_url
from pydantic import ValidationError


class FixedClock:
    def __init__(self, time: datetime) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


def test_settings_come_from_the_environment_and_cannot_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_INSTANCE", "3")
    monkeypatch.setenv("MLTRAINER_DATA_DIRECTORY", "/var/lib/mltrainer")

    platform = PlatformSettings()

    assert (platform.instance, platform.key_file) == ("3", Path("/var/lib/mltrainer/token.key"))
    with pytest.raises(ValidationError, match="frozen"):
        platform.instance = "4"  # type: ignore[misc] # the point of the test


@pytest.mark.parametrize(
    ("name", "value"),
    [("INSTANCE", "a/b"), ("MARKET_CLOCK", "tomorrow"), ("TRACE_RATIO", "2"), ("DISCOVERY", "dns")],
)
def test_settings_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"MLTRAINER_{name}", value)

    with pytest.raises(ValidationError, match=name.lower()):
        PlatformSettings()


def test_each_service_has_a_database_of_its_own() -> None:
    assert default_database_url(Path("/data"), "registry") == "sqlite:////data/registry/registry.db"


def test_market_time_runs_faster_from_its_anchor() -> None:
    wall = FixedClock(datetime(2026, 5, 1, 12, 0, 10, tzinfo=UTC))

    clock = parse_market_clock("replay:2020-01-02T00:00:00@2026-05-01T12:00:00+00:00x8640", wall)

    assert clock.now() == datetime(2020, 1, 3, tzinfo=UTC)


def test_market_times_with_an_offset_are_utc_times() -> None:
    wall = FixedClock(datetime(2026, 5, 1, 10, 0, tzinfo=UTC))

    clock = parse_market_clock("replay:2020-01-02T02:00:00+02:00@2026-05-01T12:00:00+02:00x1", wall)

    assert clock.now() == datetime(2020, 1, 2, tzinfo=UTC)


def test_without_replay_the_market_has_wall_time() -> None:
    assert abs(parse_market_clock("wall").now() - SystemClock().now()) < timedelta(seconds=5)


@pytest.mark.parametrize(
    "specification",
    ["", "replay", "replay:2020@x1", "replay:2020-01-01@2026-01-01x0", "replay:2020-01-01@2026-01-01x1.2.3"],
)
def test_a_malformed_market_clock_is_refused(specification: str) -> None:
    with pytest.raises(ValueError, match=r"market clock|isoformat|float"):
        parse_market_clock(specification)


def test_ids_sort_by_creation_even_within_a_millisecond_and_when_the_clock_steps_back() -> None:
    times = iter([5] * 5000 + [4] * 5000)
    make = TimeOrderedIds(now_ms=lambda: next(times))

    ids = [make() for _ in range(10_000)]

    assert ids == sorted(set(ids))


def test_an_id_is_a_uuid_of_version_seven() -> None:
    assert uuid.UUID(new_id()).version == 7
    assert uuid.UUID(new_id()).variant == uuid.RFC_4122


@given(st.from_regex(r"[a-z0-9]([a-z0-9\-_.]{0,61}[a-z0-9])?", fullmatch=True))
def test_valid_resource_ids_pass_unchanged(value: str) -> None:
    assert check_resource_id(value) == value


@pytest.mark.parametrize("value", ["", "A", "-a", "a-", "a/b", "..", "a b", "a" * 64, "a\n", "é"])
def test_invalid_resource_ids_are_refused(value: str) -> None:
    assert not is_resource_id(value)
    with pytest.raises(ValueError, match="resource id"):
        check_resource_id(value)


def test_a_timeout_is_bounded_by_what_is_left_minus_a_margin() -> None:
    assert remaining_s() is None
    assert bounded_timeout_s(3.0) == 3.0
    with deadline_scope(10.0):
        with deadline_scope(60.0):
            assert 9.5 < (remaining_s() or 0.0) <= 10.0
        assert bounded_timeout_s(3.0) == 3.0
        assert 9.5 < (bounded_timeout_s(None) or 0.0) < 10.0
    with deadline_scope(0.0):
        assert bounded_timeout_s(3.0) == 0.0


class Flaky:
    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.waits: list[float] = []

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def unavailable() -> RpcFailure:
    return RpcFailure(grpc.StatusCode.UNAVAILABLE, "away")


async def test_a_retry_waits_longer_each_time_up_to_a_bound() -> None:
    flaky = Flaky(*(unavailable() for _ in range(4)))
    policy = RetryPolicy(attempts=5, initial_backoff_s=0.1, maximal_backoff_s=0.5)

    result = await retry(flaky, policy=policy, sleep=flaky.sleep, draw=lambda: 1.0)

    assert (result, flaky.waits) == ("done", [0.1, 0.2, 0.4, 0.5])


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        pytest.param(unavailable(), 4, id="listed-code"),
        pytest.param(ConnectionError(), 4, id="listed-exception"),
        pytest.param(RpcFailure(grpc.StatusCode.NOT_FOUND, "gone"), 1, id="other-code"),
        pytest.param(ValueError(), 1, id="other-exception"),
        pytest.param(asyncio.CancelledError(), 1, id="cancellation"),
    ],
)
async def test_only_what_is_listed_is_retried(error: BaseException, calls: int) -> None:
    flaky = Flaky(*[error] * 10)

    with pytest.raises(type(error)):
        await retry(flaky, exceptions=(ConnectionError,), sleep=flaky.sleep)

    assert flaky.calls == calls


async def test_an_empty_budget_stops_retries() -> None:
    budget = RetryBudget(tokens=10.0, token_ratio=0.1)
    flaky = Flaky(*(unavailable() for _ in range(100)))

    for _ in range(10):
        with pytest.raises(RpcFailure):
            await retry(flaky, budget=budget, sleep=flaky.sleep)

    # Four failures of the first call and one of the second leave half of the tokens.
    assert flaky.calls == 4 + 9


def test_successes_refill_the_budget() -> None:
    budget = RetryBudget(tokens=4.0, token_ratio=0.5)
    spent = [budget.withdraw() for _ in range(3)]
    for _ in range(6):
        budget.deposit()

    assert spent == [True, False, False]
    assert budget.withdraw()


async def test_no_retry_starts_after_the_deadline() -> None:
    flaky = Flaky(unavailable(), unavailable())

    with deadline_scope(0.0), pytest.raises(RpcFailure):
        await retry(flaky, sleep=flaky.sleep)

    assert flaky.calls == 1
