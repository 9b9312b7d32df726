"""Placement costs are pure, respect what nodes have, and price what is left for the work to come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_scheduling.fragmentation import FreeNodes, TaskShape, fits, free_nodes, learn_waste
from mltrainer_scheduling.nodes import Node, node_table
from mltrainer_scheduling.packing import NO_DEVICE, devices_taken, hold_back, placement_costs
from mltrainer_scheduling.packing_policies import PackingPolicy
from mltrainer_scheduling.packing_simulation import Workload, arrivals, simulate_packing

GIB = 2**30
HALF, WHOLE, WIDE = (
    TaskShape(1, 500, 4_000, GIB),
    TaskShape(1, 1_000, 8_000, GIB),
    TaskShape(4, 1_000, 32_000, GIB),
)
ON_CPU = TaskShape(0, 1_000, 16_000, GIB)
SEEN = {HALF: 4, WHOLE: 4, WIDE: 1, ON_CPU: 1}
SHAPES = st.builds(
    lambda gpus, part, cpu, memory, types: TaskShape(
        gpus, part if gpus == 1 else 1_000, cpu, memory * GIB, frozenset(types)
    ),
    st.sampled_from([0, 1, 1, 1, 2, 4]),
    st.sampled_from([160, 320, 470, 810, 1_000]),
    st.integers(0, 40_000),
    st.integers(0, 64),
    st.sampled_from([(), (), ("A",), ("A", "B")]),
)


def cluster(*gpus: int, cpu_millis: int = 64_000, gpu_type: str = "A") -> FreeNodes:
    devices = np.zeros((len(gpus), 8), np.int64)
    for row, number in enumerate(gpus):
        devices[row, :number] = 1_000
    return FreeNodes(
        devices,
        np.full(len(gpus), cpu_millis),
        np.full(len(gpus), 256 * GIB),
        np.array([gpu_type] * len(gpus), np.object_),
    )


def test_a_shared_task_completes_a_device_in_use_before_it_opens_another() -> None:
    nodes = cluster(4, 4)
    nodes.gpu_millis[1, 2] = 500

    costs = placement_costs(learn_waste(SEEN, cluster(4, 4)), nodes, HALF)

    assert (costs.cheapest(), costs.device[1]) == (1, 2)


def test_a_single_gpu_leaves_the_node_whole_that_a_wide_task_needs() -> None:
    nodes = cluster(4, 4)
    nodes.gpu_millis[1, 0] = 0

    costs = placement_costs(learn_waste(SEEN, cluster(4, 4)), nodes, WHOLE)

    assert costs.cheapest() == 1


def test_a_task_without_gpus_takes_the_cpus_that_no_gpu_will_miss() -> None:
    nodes = cluster(4, 2)

    costs = placement_costs(learn_waste(SEEN, nodes), nodes, ON_CPU)

    assert costs.cheapest() == 1


def test_work_for_any_type_leaves_the_sought_type_free() -> None:
    nodes = cluster(4, 4)
    nodes.gpu_type[0] = "RARE"
    picky = TaskShape(1, 1_000, 8_000, GIB, frozenset({"RARE"}))

    costs = placement_costs(learn_waste({WHOLE: 5, picky: 5}, nodes), nodes, WHOLE)

    assert costs.cheapest() == 1


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(TaskShape(5), id="more GPUs than a node has"),
        pytest.param(TaskShape(cpu_millis=64_001), id="more CPU"),
        pytest.param(TaskShape(memory_bytes=257 * GIB), id="more memory"),
        pytest.param(TaskShape(gpu_types=frozenset({"B"})), id="another type"),
    ],
)
def test_a_task_that_fits_nowhere_has_no_cheapest_node(shape: TaskShape) -> None:
    costs = placement_costs(learn_waste(SEEN, cluster(4)), cluster(4), shape)

    assert costs.cheapest() == NO_DEVICE


@pytest.mark.parametrize(
    ("gpus", "gpu_millis", "cpu_millis"),
    [
        pytest.param(2, 500, 0, id="parts of several devices"),
        pytest.param(1, 1_001, 0, id="more than a device"),
        pytest.param(1, 0, 0, id="nothing of a device"),
        pytest.param(1, 1_000, -1, id="negative CPU"),
    ],
)
def test_an_impossible_request_is_refused(gpus: int, gpu_millis: int, cpu_millis: int) -> None:
    with pytest.raises(ValueError, match="task"):
        TaskShape(gpus, gpu_millis, cpu_millis)


@given(st.lists(SHAPES, min_size=1, max_size=30), st.integers(0, 2**32))
def test_pricing_changes_nothing_and_repeats_itself(tasks: list[TaskShape], seed: int) -> None:
    nodes = cluster(1, 2, 4, 8)
    free = np.random.default_rng(seed).integers(0, 1_001, nodes.gpu_millis.shape) * (nodes.gpu_millis > 0)
    state = FreeNodes(free, nodes.cpu_millis, nodes.memory_bytes, nodes.gpu_type)
    model = learn_waste(dict.fromkeys(tasks, 1), nodes)

    first, second = (placement_costs(model, state, tasks[0]) for _ in range(2))

    assert np.array_equal(first.cost, second.cost)
    assert np.array_equal(np.isfinite(first.cost), fits(tasks[0], state))
    assert (state.gpu_millis == free).all()


@given(
    st.lists(SHAPES, min_size=1, max_size=20),
    st.sampled_from(list(PackingPolicy)),
    st.integers(0, 2**32),
    st.sampled_from([1, 4]),
)
def test_no_policy_over_allocates_or_drops_what_fits(
    tasks: list[TaskShape], policy: PackingPolicy, seed: int, look_ahead: int
) -> None:
    workload = Workload.of([*tasks, HALF])
    nodes = cluster(1, 2, 4, 8, cpu_millis=48_000)

    result = simulate_packing(nodes, workload, policy, seed=seed, look_ahead=look_ahead)

    assert result.allocated_gpus + result.unallocated_gpus == pytest.approx(15)
    assert result.allocated_gpus <= min(15, result.requested_gpus) + 1e-9
    assert result.unallocated_gpus >= 0


def test_a_run_repeats_itself_by_its_seed() -> None:
    workload = Workload.of([HALF, WHOLE, WIDE, ON_CPU] * 5)

    first, second, other = (
        simulate_packing(cluster(*[8] * 6), workload, seed=seed).curve for seed in (1, 1, 2)
    )

    assert first == second
    assert first != other


def test_arrivals_ask_for_the_stated_multiple_even_of_a_short_trace() -> None:
    workload = Workload.of([HALF, ON_CPU])

    order = arrivals(workload, 100, 1.3, np.random.default_rng(0))

    asked = 0.5 * float((order == 0).sum())
    assert 130 <= asked <= 130.5


def test_a_workload_without_gpus_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for a GPU"):
        simulate_packing(cluster(4), Workload.of([ON_CPU]))


def test_whole_devices_are_taken_lowest_first() -> None:
    devices = np.array([0, 1_000, 400, 1_000, 1_000])

    assert devices_taken(TaskShape(2), devices, NO_DEVICE).tolist() == [1, 3]


def test_a_size_that_nothing_completes_is_held_back_and_one_that_pairs_is_not() -> None:
    lonely, paired = TaskShape(1, 810), TaskShape(1, 500)

    bound = hold_back([lonely, paired, WIDE], [10, 10, 10])

    assert bound.tolist() == pytest.approx([190, 0, 0])


def test_look_ahead_wastes_less_than_taking_tasks_as_they_come() -> None:
    workload = Workload.of([TaskShape(1, 810)] * 20 + [TaskShape(1, 1_000)] * 60)

    blind, sees = (
        simulate_packing(cluster(*[8] * 8, cpu_millis=0), workload, look_ahead=window).unallocated_gpus
        for window in (1, 16)
    )

    assert sees < blind


def test_a_node_of_a_snapshot_that_takes_no_new_work_is_no_place_for_any_task() -> None:
    free = free_nodes(
        node_table(
            [
                Node("open", gpus=2, cpu_millis=8_000, memory_bytes=GIB, free_gpu_millis=(0, 500)),
                Node("draining", gpus=2, cpu_millis=8_000, memory_bytes=GIB, schedulable=False),
            ]
        )
    )

    assert fits(HALF, free).tolist() == [True, False]
    assert fits(TaskShape(0), free).tolist() == [True, False]
    assert fits(WHOLE, free).tolist() == [False, False]
