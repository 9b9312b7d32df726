from datetime import UTC, datetime, timedelta

from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.spot_history import (
    MOST_POOLS,
    TICK,
    Pool,
    SpotRun,
    history_of,
    observed,
    pools_of,
    scarcest,
    told,
)
from mltrainer_scheduling.spot_assessment import AvailabilityHistory

START = datetime(2026, 1, 1, tzinfo=UTC)
POOL, OTHER = Pool("z1", "A100"), Pool("z2", "A100")


def _node(name: str, zone: str, *, spot: bool = True, schedulable: bool = True) -> NodeReport:
    return NodeReport(name, offered(4.0, 1 << 30, 1.0), "A100", schedulable, spot, zone, 1, START)


def test_a_pool_is_there_while_one_of_its_nodes_is_heard_and_schedulable() -> None:
    nodes = [
        _node("nodes/a", "z1"),
        _node("nodes/b", "z1"),
        _node("nodes/c", "z2", schedulable=False),
        _node("nodes/d", "z3"),
        _node("nodes/e", "z4", spot=False),
    ]

    seen = pools_of(nodes, {"nodes/a", "nodes/d"})

    assert seen == {POOL: True, OTHER: False, Pool("z3", "A100"): False}


def test_the_number_of_pools_is_bounded_whatever_nodes_say() -> None:
    nodes = [_node(f"nodes/{number}", f"z{number}") for number in range(2 * MOST_POOLS)]

    assert len(pools_of(nodes, ())) == MOST_POOLS


def test_looks_lengthen_a_run_until_they_find_something_else_or_come_too_late() -> None:
    last: dict[Pool, SpotRun] = {}
    begun = []
    # There, there, gone, nobody looks for an hour, gone, and a clock that was set back.
    for minute, available in ((0, True), (1, True), (2, False), (62, False), (30, True)):
        for run in observed(last, {POOL: available}, START + minute * TICK):
            last[run.pool] = run
            begun = [one for one in begun if one.begin_time != run.begin_time] + [run]

    spans = [((run.begin_time - START) / TICK, (run.end_time - START) / TICK) for run in begun]
    assert spans == [(0.0, 1.0), (2.0, 2.0), (62.0, 62.0)]
    assert history_of(begun) == AvailabilityHistory((True, True, False, False), 60.0)


def test_a_gang_in_several_pools_is_as_safe_as_the_scarcest_and_unknown_where_one_is() -> None:
    hour = timedelta(hours=1)
    steady = SpotRun(POOL, START, START + hour, available=True)
    gone = SpotRun(OTHER, START, START + hour, available=False)

    assert told(scarcest([steady], {POOL})) == "spot was there in 100% of 1.0 h watched"
    assert told(scarcest([steady, gone], {POOL, OTHER})) == "spot was there in 0% of 1.0 h watched"
    assert told(scarcest([steady], {POOL, OTHER})) == "nobody has watched its spot machines yet"
