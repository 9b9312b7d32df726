from datetime import UTC, date, datetime, timedelta

import pytest
from mltrainer_trainer.domain.cron import parse_schedule
from mltrainer_trainer.domain.errors import InvalidFieldError
from mltrainer_trainer.domain.market_calendar import MarketCalendar

NEW_YORK = "America/New_York"


def after(text: str, moment: str, zone: str = "UTC", calendar: str = "ALL") -> str:
    schedule = parse_schedule(text, zone, MarketCalendar(calendar))
    due = schedule.next_after(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    return f"{due:%Y-%m-%dT%H:%M}" if due else ""


@pytest.mark.parametrize(
    ("text", "moment", "due"),
    [
        ("30 21 * * *", "2026-11-23T21:29", "2026-11-23T21:30"),
        ("30 21 * * *", "2026-11-23T21:30", "2026-11-24T21:30"),
        ("*/20 * * * *", "2026-11-23T21:41", "2026-11-23T22:00"),
        ("0 6 * * 1-5", "2026-11-27T07:00", "2026-11-30T06:00"),
        ("0 6 * * 0", "2026-11-23T07:00", "2026-11-29T06:00"),
        ("0 6 * * 7", "2026-11-23T07:00", "2026-11-29T06:00"),
        ("0 0 29 2 *", "2026-11-23T07:00", "2028-02-29T00:00"),
        ("5,10 0 1 1,7 *", "2026-11-23T07:00", "2027-01-01T00:05"),
        ("0 0 30 2 *", "2026-11-23T07:00", ""),
    ],
)
def test_a_schedule_is_due_as_cron_has_it(text: str, moment: str, due: str) -> None:
    assert after(text, moment) == due


def test_days_on_which_the_market_is_closed_are_left_out() -> None:
    due = after("0 18 * * *", "2026-11-25T23:30", NEW_YORK, "XNYS")

    assert due == "2026-11-27T23:00"


def test_a_time_of_day_is_that_of_its_zone_in_winter_and_summer() -> None:
    assert after("0 18 * * *", "2026-01-05T12:00", NEW_YORK) == "2026-01-05T23:00"
    assert after("0 18 * * *", "2026-07-06T12:00", NEW_YORK) == "2026-07-06T22:00"


def test_a_time_that_the_clock_leaves_out_is_skipped_and_a_repeated_one_counts_once() -> None:
    assert after("30 2 * * *", "2026-03-08T05:00", NEW_YORK) == "2026-03-09T06:30"
    assert after("30 1 * * *", "2026-11-01T05:30", NEW_YORK) == "2026-11-02T06:30"


@pytest.mark.parametrize(
    "text", ["* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError):
        parse_schedule(text, "UTC", MarketCalendar.ALL)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InvalidFieldError):
        parse_schedule("* * * * *", "Moon/Crater", MarketCalendar.ALL)


@pytest.mark.parametrize(
    ("year", "closed"),
    [
        (2021, "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24"),
        (2022, "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26"),
        (2024, "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25"),
        (2026, "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25"),
    ],
)
def test_the_holidays_of_new_york_are_those_the_exchange_published(year: int, closed: str) -> None:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365 + (year % 4 == 0))]

    found = [day for day in days if day.weekday() < 5 and not MarketCalendar.XNYS.trades(day)]

    assert " ".join(f"{day:%m-%d}" for day in found) == closed
