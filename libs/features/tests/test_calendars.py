import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from mltrainer_features.calendars import (
    ALWAYS_OPEN,
    SessionProblem,
    TradingCalendar,
    UnknownExchangeError,
    trading_calendar,
)


def calendar(name: str = "XNYS") -> TradingCalendar:
    found = trading_calendar(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("year", "closed"),
    [
        (2018, "01-01 01-15 02-19 03-30 05-28 07-04 09-03 11-22 12-05 12-25"),
        (2021, "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24"),
        (2024, "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25"),
        (2026, "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25"),
    ],
)
def test_the_weekdays_without_a_session_are_those_the_exchange_published(year: int, closed: str) -> None:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365 + (year % 4 == 0))]

    found = [day for day in days if day.weekday() < 5 and not calendar().trades(day)]

    assert " ".join(f"{day:%m-%d}" for day in found) == closed


@pytest.mark.parametrize(
    ("moment", "is_daily", "problem"),
    [
        pytest.param("2022-03-11T21:00", True, None, id="the close in winter"),
        pytest.param("2022-07-08T20:00", True, None, id="the close in summer"),
        pytest.param("2022-07-08T21:00", True, None, id="an hour after the close"),
        pytest.param("2021-11-26T21:00", True, None, id="the usual hour on a day of an early close"),
        pytest.param("2022-03-12T21:00", True, "MARKET_CLOSED", id="a Saturday"),
        pytest.param("2018-12-05T21:00", True, "MARKET_CLOSED", id="a day of mourning"),
        pytest.param("2022-03-11T16:00", True, "WRONG_TIME_ZONE", id="local time said to be UTC"),
        pytest.param("2022-03-12T02:00", True, "WRONG_TIME_ZONE", id="UTC taken for local time"),
        pytest.param("2022-03-11T00:00", True, "WRONG_TIME_ZONE", id="a date for a moment"),
        pytest.param("2022-03-14T00:00", True, "WRONG_TIME_ZONE", id="the date of a Monday"),
        pytest.param("2022-03-11T11:00", True, "OUTSIDE_SESSION", id="before the open of a session"),
        pytest.param("2022-03-11T16:00", False, None, id="within the session"),
        pytest.param("2022-03-11T13:00", False, "WRONG_TIME_ZONE", id="local time before the open in UTC"),
        pytest.param("2022-03-11T08:00", False, "OUTSIDE_SESSION", id="at night"),
        pytest.param("1901-01-05T21:00", True, None, id="before the calendar begins"),
    ],
)
def test_the_time_of_a_bar_is_judged_by_the_sessions(
    moment: str, is_daily: bool, problem: str | None
) -> None:
    close_time = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    found = calendar().problem(close_time, is_daily=is_daily)

    assert found == (SessionProblem(problem) if problem else None)


def test_a_session_may_begin_on_the_evening_before() -> None:
    futures = calendar("CMES")

    found = futures.problem(datetime(2022, 3, 14, 3, tzinfo=UTC), is_daily=False)

    assert found is None


def test_a_calendar_with_bounds_covers_what_its_exchange_has_recorded() -> None:
    assert calendar("XHKG").trades(date(2026, 2, 18)) is False


def test_a_market_that_never_closes_has_no_calendar() -> None:
    assert trading_calendar(ALWAYS_OPEN) is None


def test_an_unknown_exchange_is_named() -> None:
    with pytest.raises(UnknownExchangeError, match="XMOON"):
        trading_calendar("XMOON")


def test_whoever_needs_no_calendar_does_not_load_the_library() -> None:
    program = "import sys, mltrainer_features.calendars as c; c.trading_calendar('24/7')"
    program += "; print('pandas' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"
