import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_scheduling.fair_share import (
    AmountSeconds,
    PastUse,
    allowances,
    dominant_share,
    faded,
    mean_amounts,
    with_held,
)
from mltrainer_scheduling.quotas import Amounts, Queue, QuotaBook

ONE: Amounts = (1_000, 0, 0)
CAPACITY: Amounts = (100_000, 0, 0)
HOUR_S = 3_600.0


def _allowed(queues: list[Queue], demand: dict[str, int], past: dict[str, float]) -> dict[str, float]:
    held: dict[str, AmountSeconds] = {queue: (1_000.0 * cpus, 0.0, 0.0) for queue, cpus in past.items()}
    asked: dict[str, Amounts] = {queue: (1_000 * cpus, 0, 0) for queue, cpus in demand.items()}
    found = allowances(QuotaBook(queues, [*demand]), CAPACITY, held, asked)
    return {queue: round(100.0 * found[queue], 6) for queue in demand}


def test_weights_divide_what_all_want() -> None:
    assert _allowed([Queue("a", weight=3.0), Queue("b")], {"a": 200, "b": 200}, {}) == {"a": 75, "b": 25}


def test_what_one_queue_does_not_ask_for_is_lent() -> None:
    assert _allowed([Queue("a", weight=3.0), Queue("b")], {"a": 10, "b": 200}, {}) == {"a": 10, "b": 90}


def test_all_get_what_they_ask_for_where_there_is_enough() -> None:
    assert _allowed([], {"a": 10, "b": 20}, {"a": 99.0}) == {"a": 10, "b": 20}


def test_a_subtree_shares_the_weight_of_its_root() -> None:
    queues = [Queue("desk"), Queue("a", "desk"), Queue("b", "desk"), Queue("c")]

    assert _allowed(queues, {"a": 99, "b": 99, "c": 99}, {}) == {"a": 25, "b": 25, "c": 50}


def test_who_had_much_lately_gets_less_but_never_less_than_its_guarantee() -> None:
    guaranteed = [Queue("a", guaranteed=(40_000, 0, 0)), Queue("b")]
    demand = {"a": 99, "b": 99}

    assert _allowed([], demand, {"a": 20.0}) == {"a": 40, "b": 60}
    assert _allowed(guaranteed, demand, {"a": 80.0}) == {"a": 40, "b": 60}
    assert _allowed([], demand, {"a": 500.0}) == {"a": 1, "b": 99}


def test_a_ceiling_bounds_what_is_lent() -> None:
    queues = [Queue("a", ceiling=(30_000, 1, 1)), Queue("b")]

    assert _allowed(queues, {"a": 99, "b": 10}, {}) == {"a": 30, "b": 10}


@given(
    asked=st.dictionaries(st.sampled_from("abcef"), st.integers(1, 200), min_size=1),
    past=st.dictionaries(st.sampled_from("abcef"), st.floats(0.0, 200.0)),
)
def test_the_cluster_is_given_away_whole_and_never_twice(
    asked: dict[str, int], past: dict[str, float]
) -> None:
    allowed = _allowed([Queue("d"), Queue("a", "d"), Queue("b", "d", weight=5.0)], asked, past)

    assert sum(allowed.values()) == pytest.approx(min(100, sum(asked.values())), abs=1e-3)
    assert all(0.0 <= share <= asked[queue] + 1e-6 for queue, share in allowed.items())


def test_past_use_halves_in_a_half_life_and_never_by_a_clock_that_goes_back() -> None:
    use = PastUse((8.0, 4.0, 2.0), HOUR_S)

    assert faded(use, 2 * HOUR_S, HOUR_S).amount_s == (4.0, 2.0, 1.0)
    assert faded(use, 0.0, HOUR_S) == use


def test_constant_use_has_its_amount_as_mean() -> None:
    use = with_held(PastUse(), (3_000, 0, 0), 0.0, 100 * HOUR_S, HOUR_S)

    assert mean_amounts(use, HOUR_S)[0] == pytest.approx(3_000.0)


@given(
    begin=st.floats(0, 1e6),
    lengths=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=5),
    later=st.floats(0, 1e6),
)
def test_what_is_held_counts_the_same_in_one_piece_or_in_several(
    begin: float, lengths: list[float], later: float
) -> None:
    end = begin + sum(lengths)
    whole = with_held(PastUse(), ONE, begin, end, HOUR_S)
    pieces, start = PastUse(), begin
    for length in lengths:
        pieces = with_held(pieces, ONE, start, start + length, HOUR_S)
        start += length

    one, other = faded(whole, end + later, HOUR_S), faded(pieces, end + later, HOUR_S)

    assert math.isclose(one.amount_s[0], other.amount_s[0], rel_tol=1e-6, abs_tol=1e-3)


def test_the_dominant_share_ignores_what_the_cluster_lacks() -> None:
    assert dominant_share((50.0, 10.0, 3.0), (100, 100, 0)) == 0.5
