import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_monitor.domain.counters import CounterReading, ServiceReading, increase
from mltrainer_monitor.domain.objectives import (
    BURN_WINDOWS,
    Counts,
    Indicator,
    Objective,
    ObjectiveState,
    budget_left,
    burn_rate,
    judge,
)
from mltrainer_monitor.wire.objectives import to_objectives

A, L = Indicator.AVAILABILITY, Indicator.LATENCY
OBJECTIVE = Objective("serving", A, 0.999, 30 * 86_400.0)


def _burning(bad: int, short_bad: int | None = None) -> dict[timedelta, Counts]:
    short = bad if short_bad is None else short_bad
    return {
        window: Counts(1_000 - (short if window <= timedelta(minutes=30) else bad), 1_000)
        for window in BURN_WINDOWS
    }


def test_the_budget_is_what_the_promise_allows_to_fail() -> None:
    assert budget_left(Counts(99_990, 100_000), 0.9999) == pytest.approx(0.0, abs=1e-9)
    assert budget_left(Counts(100_000, 100_000), 0.9999) == 1.0
    assert budget_left(Counts(99_970, 100_000), 0.9999) == pytest.approx(-2.0)
    assert burn_rate(Counts(), 0.9999) == 0.0


def test_a_fast_burn_is_told_once_and_again_only_after_it_has_slowed_down() -> None:
    state, told = ObjectiveState(), []
    for bad in (0, 20, 20, 10, 20, 2, 20):
        state, burn = judge(OBJECTIVE, state, _burning(20, bad), Counts(9_990, 10_000))
        told.append(burn.revision if burn else 0)

    assert told == [0, 1, 0, 0, 0, 0, 2]


def test_both_windows_must_burn_and_one_bad_call_is_none() -> None:
    _, past = judge(OBJECTIVE, ObjectiveState(), _burning(100, 0), Counts())
    one = dict.fromkeys(BURN_WINDOWS, Counts(1, 2))
    _, single = judge(OBJECTIVE, ObjectiveState(), one, Counts())
    _, burn = judge(OBJECTIVE, ObjectiveState(), _burning(20), Counts(980, 1_000))

    assert (past, single) == (None, None)
    assert burn is not None
    assert (burn.slo, burn.service, burn.window_s) == ("slos/serving-availability", "serving", 3_600.0)
    assert (burn.burn_rate, burn.budget_left) == (pytest.approx(20.0), pytest.approx(-19.0))


def test_the_packaged_rule_finds_a_slow_burn_in_six_hours() -> None:
    _, burn = judge(OBJECTIVE, ObjectiveState(), _burning(8), Counts())

    assert burn is not None
    assert burn.window_s == 6 * 3_600.0


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans(), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_every_call_between_looks_counts_once_whatever_restarts(
    steps: list[tuple[int, int, bool, bool]],
) -> None:
    counted, expected, shown, start_s = Counts(), Counts(), Counts(), 1.0
    previous = CounterReading(start_s, {A: shown})
    for good, bad, restarts, is_looked_at in steps:
        if restarts:
            # What a process counted after the last look dies with it.
            expected, shown, start_s = counted, Counts(), start_s + 1
        more = Counts(good, good + bad)
        shown, expected = shown + more, expected + more
        if is_looked_at:
            current = CounterReading(start_s, {A: shown})
            counted += increase(previous, current, 0.0).get(A, Counts())
            previous = current
            assert counted == expected


@pytest.mark.parametrize(
    ("last_look_s", "expected"),
    [
        pytest.param(None, {}, id="first look ever"),
        pytest.param(99.0, {A: Counts(1, 2)}, id="started since the last look"),
        pytest.param(101.0, {}, id="older than the last look"),
    ],
)
def test_a_process_seen_first_counts_only_what_was_watched(
    last_look_s: float | None, expected: dict[Indicator, Counts]
) -> None:
    assert increase(None, CounterReading(100.0, {A: Counts(1, 2)}), last_look_s) == expected


def test_a_counter_that_went_back_began_again() -> None:
    before, after = CounterReading(1.0, {A: Counts(9, 10)}), CounterReading(1.0, {A: Counts(2, 3)})

    assert increase(before, after, 0.0) == {A: Counts(2, 3)}


def test_a_service_is_unavailable_when_no_instance_answers() -> None:
    reading = CounterReading(1.0, {})

    assert ServiceReading("serving", {}).probe == Counts(0, 1)
    assert ServiceReading("serving", {"1": reading}).probe == Counts(1, 1)


def test_objectives_of_named_services_replace_the_common_ones() -> None:
    text = """
        window_days = 1
        services = ["a", "b"]
        [[objective]]
        indicator = "latency"
        objective = 0.5
        threshold_ms = 10
        services = ["b"]
        [[objective]]
        indicator = "latency"
        objective = 0.99
        threshold_ms = 100
    """

    assert to_objectives(text) == (
        Objective("a", L, 0.99, 86_400.0, 100.0),
        Objective("b", L, 0.5, 86_400.0, 10.0),
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("window_days", id="no TOML"),
        pytest.param("window_days = 1", id="nothing promised"),
        *(
            pytest.param(
                f"window_days = 1\nservices = ['a']\n[[objective]]\nindicator = '{indicator}'\n{rest}",
                id=f"{indicator} {rest}",
            )
            for indicator, rest in itertools.chain(
                itertools.product(["speed"], ["objective = 0.5"]),
                itertools.product(["availability"], ["objective = 1.0", "objective = 0.5\nthreshold_ms = 1"]),
                itertools.product(["latency"], ["objective = 0.5"]),
            )
        ),
    ],
)
def test_wrong_objectives_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any refusal
        to_objectives(text)
