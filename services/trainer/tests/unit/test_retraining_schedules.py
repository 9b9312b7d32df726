from datetime import UTC, datetime

import pytest
from mltrainer_trainer.domain.cron import parse_schedule
from mltrainer_trainer.domain.errors import InvalidFieldError

NEW_YORK = "America/New_York"


def after(text: str, moment: str, zone: str = "UTC", closed: str = "") -> str:
    schedule = parse_schedule(text, zone)
    due = schedule.next_after(
        datetime.fromisoformat(moment).replace(tzinfo=UTC), lambda day: f"{day:%m-%d}" != closed
    )
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
    due = after("0 18 * * *", "2026-11-25T23:30", NEW_YORK, "11-26")

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
        parse_schedule(text, "UTC")


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InvalidFieldError):
        parse_schedule("* * * * *", "Moon/Crater")
