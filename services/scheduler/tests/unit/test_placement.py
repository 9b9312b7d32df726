from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer_scheduler.domain.placement import (
    Capacity,
    Demand,
    Node,
    NodeReport,
    Placement,
    QueueEntry,
    Refusal,
    demand_of,
    offered,
    place,
    plan,
    usable_nodes,
)
from mltrainer_scheduler.domain.specification import Resources, SpotPolicy
from mltrainer_scheduler.domain.training import Share

NOW = datetime(2026, 1, 5, tzinfo=UTC)
GIB = 1 << 30
# Machines that run tests are shared and slow at times.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def node(name: str, gpus: int, free_gpus: int, cpus: int = 64, gpu_type: str = "") -> Node:
    return Node(
        name,
        Capacity(cpus * 1_000, 64 * GIB, gpus * 1_000),
        Capacity(cpus * 1_000, 64 * GIB, free_gpus * 1_000),
        gpu_type,
    )


def gang(workers: int, gpus: int = 0, cpus: int = 1, gpu_type: str = "") -> Demand:
    return Demand("trainings/t1", Capacity(cpus * 1_000, GIB, gpus * 1_000), workers, gpu_type)


def reason(decision: Placement | Refusal) -> str:
    assert isinstance(decision, Refusal)
    return decision.reason


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    nodes = [node("a", gpus=8, free_gpus=4), node("b", gpus=8, free_gpus=3)]

    decision = place(gang(workers=2, gpus=4), nodes)

    assert reason(decision) == "INSUFFICIENT_GPUS"


def test_a_gang_prefers_the_fullest_node_that_holds_all_of_it() -> None:
    nodes = [node("a", 8, 8), node("b", 8, 4), node("c", 8, 2)]

    assert place(gang(workers=2, gpus=2), nodes) == Placement("trainings/t1", (Share("b", 2),))


def test_a_gang_that_fits_on_no_single_node_takes_as_few_as_possible() -> None:
    nodes = [node("a", 8, 2), node("b", 8, 4), node("c", 8, 3)]

    assert place(gang(workers=6, gpus=1), nodes) == Placement("trainings/t1", (Share("b", 4), Share("c", 2)))


@pytest.mark.parametrize(
    ("demand", "nodes", "expected"),
    [
        pytest.param(gang(1), [], "NO_NODE", id="no node"),
        pytest.param(gang(3, gpus=4), [node("a", 8, 8)], "GANG_LARGER_THAN_CLUSTER", id="gang too large"),
        pytest.param(gang(1, cpus=65), [node("a", 0, 0)], "LARGER_THAN_ANY_NODE", id="worker too large"),
        pytest.param(
            gang(1, 1, 1, "H200"), [node("a", 8, 8, 64, "A100")], "GPU_TYPE_UNAVAILABLE", id="other GPUs"
        ),
        pytest.param(gang(1, gpus=4), [node("a", 8, 3)], "INSUFFICIENT_GPUS", id="GPUs in use"),
        pytest.param(
            gang(1, cpus=2),
            [Node("a", Capacity(4_000, GIB * 4), Capacity(1_000, GIB * 4))],
            "INSUFFICIENT_CPUS",
            id="CPUs in use",
        ),
        pytest.param(
            gang(1, cpus=1),
            [Node("a", Capacity(4_000, GIB * 4), Capacity(4_000, 1))],
            "INSUFFICIENT_MEMORY",
            id="RAM",
        ),
    ],
)
def test_a_refusal_names_the_dominant_cause(demand: Demand, nodes: list[Node], expected: str) -> None:
    assert reason(place(demand, nodes)) == expected


def test_interruptible_nodes_serve_only_those_who_allow_it() -> None:
    spot = Node("a", Capacity(4_000, 4 * GIB), Capacity(4_000, 4 * GIB), spot=True)
    never = demand_of("trainings/t1", Resources(1.0, GIB, spot_policy=SpotPolicy.NEVER))
    allowed = demand_of("trainings/t1", Resources(1.0, GIB, spot_policy=SpotPolicy.ALLOWED))

    assert reason(place(never, [spot])) == "ON_DEMAND_UNAVAILABLE"
    assert place(allowed, [spot]) == Placement("trainings/t1", (Share("a", 1, spot=True),))


def test_nodes_that_are_silent_or_closed_are_not_used() -> None:
    def report(name: str, age_s: float, *, schedulable: bool = True) -> NodeReport:
        seen = NOW - timedelta(seconds=age_s)
        return NodeReport(name, Capacity(1_000), "", schedulable, False, "", 1, seen)  # noqa: FBT003

    reports = [report("fresh", 15.0), report("silent", 15.1), report("closed", 0.0, schedulable=False)]

    nodes = usable_nodes(reports, {"fresh": Capacity(600)}, NOW, silence_s=15.0)

    assert nodes == (Node("fresh", Capacity(1_000), Capacity(400)),)


def test_amounts_are_rounded_against_the_asker() -> None:
    assert offered(0.9999, 1, 0.0).cpu_millis == 999
    assert demand_of("t", Resources(cpus=0.0001, memory_bytes=1)).worker.cpu_millis == 1
    assert demand_of("t", Resources(cpus=0.1 + 0.2, memory_bytes=1)).worker.cpu_millis == 300


def entry(name: str, cpus: int, queue: str = "q", priority: int = 0) -> QueueEntry:
    return QueueEntry(Demand(name, Capacity(cpus * 1_000)), queue, priority)


def test_a_queue_goes_by_priority_and_then_by_age() -> None:
    nodes = [Node("a", Capacity(2_000), Capacity(2_000))]

    decisions = plan([entry("t1", 1), entry("t2", 1), entry("t3", 1, priority=5)], nodes)

    assert [item.training for item in decisions if isinstance(item, Placement)] == ["t3", "t1"]


def test_who_waits_for_capacity_holds_back_its_queue_but_no_other() -> None:
    nodes = [Node("a", Capacity(4_000), Capacity(2_000))]

    decisions = plan([entry("t1", 3), entry("t2", 1), entry("t3", 1, queue="other")], nodes)

    assert [(item.training, type(item)) for item in decisions] == [("t3", Placement), ("t1", Refusal)]


def test_who_can_never_be_served_holds_back_nobody() -> None:
    nodes = [Node("a", Capacity(2_000), Capacity(2_000))]

    decisions = plan([entry("t1", 3), entry("t2", 1)], nodes)

    assert [(item.training, type(item)) for item in decisions] == [("t1", Refusal), ("t2", Placement)]


amounts = st.integers(0, 8)
capacities = st.builds(
    lambda cpus, memory, gpus: Capacity(cpus * 250, memory * GIB, gpus * 250), amounts, amounts, amounts
)
node_types = st.sampled_from(["", "A100"])


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(0, 4))
    nodes = []
    for index in range(count):
        total, used = draw(capacities), draw(capacities)
        nodes.append(Node(f"n{index}", total, total.less(used), draw(node_types), draw(st.booleans())))
    return nodes


@st.composite
def queues(draw: st.DrawFn) -> list[QueueEntry]:
    return [
        QueueEntry(
            Demand(
                f"t{index}", draw(capacities), draw(st.integers(1, 5)), draw(node_types), draw(st.booleans())
            ),
            draw(st.sampled_from(["a", "b"])),
            draw(st.integers(-1, 1)),
        )
        for index in range(draw(st.integers(0, 8)))
    ]


@relaxed
@given(clusters(), queues())
def test_nothing_is_allocated_beyond_what_is_free(nodes: list[Node], entries: list[QueueEntry]) -> None:
    demands = {item.demand.training: item.demand for item in entries}
    used: dict[str, Capacity] = defaultdict(Capacity)

    for decision in plan(entries, nodes):
        for share in decision.shares if isinstance(decision, Placement) else ():
            for _ in range(share.workers):
                used[share.node] += demands[decision.training].worker

    for item in nodes:
        taken = used[item.name]
        assert taken.cpu_millis <= item.free.cpu_millis
        assert taken.memory_bytes <= item.free.memory_bytes
        assert taken.gpu_millis <= item.free.gpu_millis


@relaxed
@given(clusters(), queues())
def test_every_gang_is_whole_on_suitable_nodes_and_decided_once(
    nodes: list[Node], entries: list[QueueEntry]
) -> None:
    demands = {item.demand.training: item.demand for item in entries}
    by_name = {item.name: item for item in nodes}

    decisions = plan(entries, nodes)

    assert len({decision.training for decision in decisions}) == len(decisions)
    for decision in decisions:
        demand = demands[decision.training]
        for share in decision.shares if isinstance(decision, Placement) else ():
            assert share.workers > 0
            assert demand.gpu_type in {"", by_name[share.node].gpu_type}
            assert demand.allows_spot or not by_name[share.node].spot
        if isinstance(decision, Placement):
            assert sum(share.workers for share in decision.shares) == demand.workers
            assert len({share.node for share in decision.shares}) == len(decision.shares)


@relaxed
@given(clusters(), queues(), st.randoms())
def test_the_order_of_what_is_known_changes_nothing(
    nodes: list[Node], entries: list[QueueEntry], random: object
) -> None:
    shuffled_nodes, shuffled_entries = list(nodes), list(entries)
    random.shuffle(shuffled_nodes)  # type: ignore[attr-defined]
    random.shuffle(shuffled_entries)  # type: ignore[attr-defined]

    assert plan(shuffled_entries, shuffled_nodes) == plan(entries, nodes)


@relaxed
@given(clusters(), queues())
def test_a_refusal_is_right_that_nothing_fits(nodes: list[Node], entries: list[QueueEntry]) -> None:
    for item in entries:
        decision = place(item.demand, nodes)
        if isinstance(decision, Refusal) and not decision.is_lasting:
            empty = [Node(n.name, n.total, n.total, n.gpu_type, n.spot) for n in nodes]
            assert isinstance(place(item.demand, empty), Placement)
