from typing import Any

import pytest
from mltrainer_cost_optimizer.domain.account import Account
from mltrainer_cost_optimizer.domain.waste import Thresholds, WasteKind, find_waste, follow_quiet

LIMITS = Thresholds()


def _find(make: Any, account: Account, known: Any = (), now_s: float = 10_000) -> list[Any]:
    return [
        (finding.kind, finding.cost_micros)
        for finding in find_waste(account, known, LIMITS, make.time(now_s))
    ]


def _sampled(make: Any, *samples: tuple[float, float]) -> Account:
    account: Account = make.account()
    for seconds, cpu_s in samples:
        account = account.sampled(make.usage(seconds, cpu_s))
        if seconds != samples[-1][0]:
            account = follow_quiet(account, LIMITS)
    return account


@pytest.mark.parametrize(
    ("samples", "cost"),
    [
        pytest.param([(600, 0)], 12_000, id="idle from the start"),
        pytest.param([(600, 12)], 12_000, id="exactly one per cent"),
        pytest.param([(600, 12.1)], None, id="a little more"),
        pytest.param([(599, 0)], None, id="not yet long enough"),
        pytest.param([(100, 150), (700, 151)], 12_000, id="idle after work"),
        pytest.param([(100, 150), (650, 151)], None, id="idle after work for too short"),
        pytest.param([(300, 3), (700, 300), (1_000, 300)], None, id="work in between"),
    ],
)
def test_an_allocation_that_uses_little_for_long_is_idle(
    make: Any, samples: list[tuple[float, float]], cost: int | None
) -> None:
    found = _find(make, _sampled(make, *samples))

    assert found == ([] if cost is None else [(WasteKind.IDLE_ALLOCATION, cost)])


@pytest.mark.parametrize(
    ("end_s", "sample", "is_idle"),
    [
        pytest.param(100, (95, 1), True, id="short and idle to its end"),
        pytest.param(100, (95, 3), False, id="used"),
        pytest.param(100, (50, 1), False, id="its end was not sampled"),
        pytest.param(50, (50, 0), False, id="too short to judge"),
    ],
)
def test_the_closing_sample_tells_whether_a_whole_life_was_idle(
    make: Any, end_s: float, sample: tuple[float, float], is_idle: bool
) -> None:
    account = make.account(usage=make.usage(*sample), ending=make.ending(end_s))

    assert _find(make, account) == ([(WasteKind.IDLE_ALLOCATION, 2_000)] if is_idle else [])


@pytest.mark.parametrize("reason", ["LEASE_LAPSED", "FAILED", "NODE_LOST"])
def test_an_attempt_that_was_lost_is_waste_whatever_it_used(make: Any, reason: str) -> None:
    account = make.account(usage=make.usage(100, 200), ending=make.ending(100, reason))

    assert _find(make, account) == [(WasteKind.LOST_ATTEMPT, 2_000)]


@pytest.mark.parametrize("reason", ["SUCCEEDED", "PREEMPTED", "CANCELLED"])
def test_other_ends_are_no_loss(make: Any, reason: str) -> None:
    account = make.account(usage=make.usage(100, 200), ending=make.ending(100, reason))

    assert _find(make, account) == []


def test_a_lost_attempt_that_was_idle_before_is_not_counted_twice(make: Any) -> None:
    idle = find_waste(_sampled(make, (600, 0)), [], LIMITS, make.time(600))
    ended = _sampled(make, (600, 0)).ended(make.ending(1_000, "FAILED"))

    assert _find(make, ended, idle) == [(WasteKind.LOST_ATTEMPT, 20_000 - 12_000)]


def test_waste_is_found_once(make: Any) -> None:
    idle = _sampled(make, (600, 0))
    lost = make.account(ending=make.ending(100, "FAILED"))

    for account in (idle, lost):
        known = find_waste(account, [], LIMITS, make.time(1_000))
        assert len(known) == 1
        assert find_waste(account, known, LIMITS, make.time(9_999)) == []


def test_nothing_is_said_before_the_start_is_known_or_about_what_cost_nothing(make: Any) -> None:
    unknown = Account("allocations/a", ending=make.ending(100, "FAILED"))
    free = make.account(ending=make.ending(0, "FAILED"))

    assert _find(make, unknown) == []
    assert _find(make, free) == []


def test_the_explanation_has_the_numbers(make: Any) -> None:
    [finding] = find_waste(_sampled(make, (600, 0)), [], LIMITS, make.time(600))

    assert finding.explanation == "allocations/a held 2 CPUs for 600 s and used at most 1.00% of their time"
    assert finding.finding_id == "a-idle-allocation"
