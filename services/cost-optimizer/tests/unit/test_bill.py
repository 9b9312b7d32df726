from typing import Any

import pytest
from mltrainer_cost_optimizer.domain.account import Account, Billable
from mltrainer_cost_optimizer.domain.bill import Period, write_bill, write_charge
from mltrainer_cost_optimizer.domain.money import Resource


def _bill(make: Any, account: Any, now_s: float = 3_600) -> Any:
    now = make.time(now_s)
    return write_bill([make.billable(account)], Period(make.time(0), now), now)


def test_idle_is_what_was_allocated_and_not_used(make: Any) -> None:
    account = make.account(usage=make.usage(1_000, 500), ending=make.ending(1_000))

    bill = _bill(make, account)

    assert (bill.total_micros, bill.idle_micros) == (20_000, 15_000)
    [line] = bill.lines
    assert line.idle_share == pytest.approx(0.75)
    assert (line.allocated_cpu_seconds, line.used_cpu_seconds) == (pytest.approx(2_000), 500)


def test_use_above_the_allocation_is_told_and_leaves_nothing_idle(make: Any) -> None:
    account = make.account(usage=make.usage(1_000, 3_000), ending=make.ending(1_000))

    [line] = _bill(make, account).lines

    assert line.idle_micros == 0
    assert line.used_cpu_seconds == 3_000
    assert line.allocated_cpu_seconds == pytest.approx(2_000)


def test_an_open_allocation_is_billed_up_to_now_and_judged_up_to_its_sample(make: Any) -> None:
    account = make.account(usage=make.usage(100, 200))

    bill = _bill(make, account, now_s=1_000)

    assert (bill.total_micros, bill.idle_micros) == (20_000, 0)


def test_an_open_allocation_never_sampled_is_not_called_idle(make: Any) -> None:
    assert _bill(make, make.account()).idle_micros == 0


def test_an_ended_allocation_never_sampled_was_idle(make: Any) -> None:
    assert _bill(make, make.account(ending=make.ending(1_000))).idle_micros == 20_000


def test_memory_counts_by_its_peak(make: Any) -> None:
    rate = make.rate(Resource.MEMORY, 1 << 30, 3_600)
    account = make.account("a", rate, usage=make.usage(1_000, 0, 1 << 28), ending=make.ending(1_000))

    bill = _bill(make, account)

    assert (bill.total_micros, bill.idle_micros) == (1_000, 750)


def test_lines_are_by_training_with_the_largest_first(make: Any) -> None:
    small = make.account("a", ending=make.ending(10))
    first, second = (make.account(name, ending=make.ending(1_000)) for name in "bc")
    held = small.reservation
    renamed = Account("allocations/a", type(held)("trainings/z", "studies/z", "", *_tail(held)), small.ending)
    period = Period(make.time(0), make.time(3_600))

    bill = write_bill(map(make.billable, (renamed, first, second)), period, make.time(3_600))

    assert [(line.training, line.billed_micros) for line in bill.lines] == [
        ("trainings/t", 40_000),
        ("trainings/z", 200),
    ]
    assert bill.price_files == ("test 2026-01-01",)


def _tail(held: Any) -> tuple[Any, Any]:
    return held.start_time, held.rates


def test_a_charge_of_a_part_has_the_quantity_of_that_part(make: Any) -> None:
    account = make.account(ending=make.ending(3_600))

    charge = write_charge(
        make.billable(account), make.rate(), Period(make.time(1_800), make.time(9_000)), make.time(9_999)
    )

    assert charge.consumed_quantity == pytest.approx(1.0)
    assert (charge.charge_period.start_time, charge.charge_period.end_time) == (
        make.time(1_800),
        make.time(3_600),
    )


def test_an_allocation_whose_start_is_unknown_is_not_billed(make: Any) -> None:
    assert Billable.of(Account("allocations/a", ending=make.ending(10))) is None
