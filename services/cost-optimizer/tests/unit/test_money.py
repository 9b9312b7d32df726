import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_cost_optimizer.domain.account import Account, Billable, Ending, Reservation, Usage
from mltrainer_cost_optimizer.domain.bill import Period, whole_life, write_bill, write_charge
from mltrainer_cost_optimizer.domain.money import Rate, Resource, divide, elapsed_us, unused_micros

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
HOUR_US = 3_600_000_000

moments_us = st.integers(0, 400 * 24 * HOUR_US)
times = moments_us.map(lambda microseconds: START + timedelta(microseconds=microseconds))
rates = st.builds(
    Rate,
    st.just("sku"),
    st.sampled_from(Resource),
    st.integers(1, 1 << 44),
    st.integers(0, 20_000_000),
    st.integers(0, 20_000_000),
    st.just("file"),
)
usages = st.builds(
    Usage,
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 45),
    st.none() | times,
)


@st.composite
def billables(draw: st.DrawFn) -> list[Billable]:
    found = []
    for number in range(draw(st.integers(1, 6))):
        held = Reservation(
            f"trainings/{draw(st.integers(1, 3))}",
            "studies/s",
            "desk",
            draw(times),
            tuple(draw(st.lists(rates, min_size=1, max_size=3))),
        )
        ending = draw(st.none() | times.map(lambda time: Ending(time, "SUCCEEDED")))
        account = Account(f"allocations/{number}", held, ending, draw(usages))
        found.append(Billable(account, held))
    return found


@given(st.integers(0, 1 << 80), st.integers(1, 1 << 60))
def test_rounding_is_to_the_nearest_and_a_half_goes_to_the_even(numerator: int, denominator: int) -> None:
    assert divide(numerator, denominator) == round(Fraction(numerator, denominator))


def test_two_cpus_for_half_an_hour_cost_one_cpu_hour() -> None:
    rate = Rate("cpu-hour", Resource.CPU, 2_000, 6_655, 31_611, "file")

    assert rate.billed_micros(HOUR_US // 2) == 6_655
    assert rate.list_micros(HOUR_US // 2) == 31_611
    assert rate.quantity(HOUR_US // 2) == pytest.approx(1.0)


@given(billables(), times)
def test_the_lines_of_a_bill_and_its_charges_sum_to_the_total_to_the_millionth(
    held: list[Billable], now: datetime
) -> None:
    charges = [
        write_charge(one, rate, whole_life(one, now), now) for one in held for rate in one.reservation.rates
    ]

    bill = write_bill(held, Period(datetime(1970, 1, 1, tzinfo=UTC), max(now, START + timedelta(400))), now)

    assert bill.total_micros == sum(line.billed_micros for line in bill.lines)
    assert bill.total_micros == sum(charge.billed_cost_micros for charge in charges)
    assert bill.idle_micros == sum(charge.idle_cost_micros for charge in charges)
    assert all(0 <= charge.idle_cost_micros <= charge.billed_cost_micros for charge in charges)


@given(billables(), st.lists(times, min_size=3, max_size=6), times)
def test_adjacent_periods_add_up_to_the_period_that_they_make(
    held: list[Billable], cuts: list[datetime], now: datetime
) -> None:
    cuts.sort()

    parts = [write_bill(held, Period(begin, end), now) for begin, end in itertools.pairwise(cuts)]
    whole = write_bill(held, Period(cuts[0], cuts[-1]), now)

    assert sum(part.total_micros for part in parts) == whole.total_micros
    assert sum(part.idle_micros for part in parts) == whole.idle_micros


@given(billables(), st.tuples(times, times).map(sorted))
def test_the_bill_of_an_ended_allocation_never_changes_again(
    held: list[Billable], moments: list[datetime]
) -> None:
    ended = [one for one in held if one.account.ending and one.account.ending.end_time <= moments[0]]

    bills = [write_bill(ended, Period(START, moments[0]), now) for now in moments]

    assert bills[0] == bills[1]


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_idle_cost_is_between_nothing_and_all(cost: int, used: int, reserved: int) -> None:
    assert 0 <= unused_micros(cost, used, reserved) <= cost


def test_an_end_before_the_start_costs_nothing() -> None:
    assert elapsed_us(START, START - timedelta(seconds=1)) == 0
