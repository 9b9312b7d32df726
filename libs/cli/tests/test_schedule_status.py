from pathlib import Path

import pytest
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Node
from mltrainer_cli.errors import CliError
from mltrainer_cli.schedule_status import heat_map, read_queues, utilization
from mltrainer_cli.training_preview import lines, to_specification


def _node(gpus: float, free: float, *, schedulable: bool = True) -> Node:
    node = Node(schedulable=schedulable)
    node.capacity.gpus, node.free.gpus = gpus, free
    return node


def test_utilization_counts_what_takes_work() -> None:
    nodes = [_node(8.0, 2.0), _node(8.0, 8.0), _node(8.0, 0.0, schedulable=False)]

    assert utilization(nodes) == {"gpus": 6 / 16, "cpus": None, "memory_bytes": None}


def test_the_heat_map_has_a_sign_for_each_node() -> None:
    nodes = [
        {"schedulable": True, "capacity": {"gpus": 8.0, "cpus": 1.0}, "free": {"gpus": free, "cpus": 1.0}}
        for free in (8.0, 4.0, 0.0)
    ]
    off = {**nodes[0], "schedulable": False}
    without_gpus = {"schedulable": True, "capacity": {"gpus": 0.0, "cpus": 4.0}, "free": {"cpus": 0.0}}

    assert heat_map([*nodes, off, without_gpus]) == [" \N{LOWER HALF BLOCK}\N{FULL BLOCK}x\N{FULL BLOCK}"]
    assert [len(line) for line in heat_map(nodes * 30)] == [64, 26]


def test_queues_are_read_with_short_names(tmp_path: Path) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text("queues:\n- {name: desk, weight: 2, guaranteed: {gpus: 4}}\n- {name: a, parent: desk}\n")

    request = read_queues(file)

    assert [(queue.name, queue.parent) for queue in request.queues] == [
        ("queues/desk", ""),
        ("queues/a", "queues/desk"),
    ]
    assert not request.queues[0].HasField("ceiling")


def test_an_unknown_field_of_a_queue_is_named(tmp_path: Path) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text("queues: [{name: a, quota: 3}]")

    with pytest.raises(CliError, match="quota"):
        read_queues(file)


def test_a_preview_says_what_is_known_and_what_is_not() -> None:
    found = {
        "reason": "INSUFFICIENT_GPUS",
        "message": "not enough GPUs are free",
        "earliest_start_time": "2026-01-05T14:30:00.5Z",
        "latest_start_time": "2026-01-05T15:30:00Z",
        "price_usd_per_hour": 0.5,
    }

    assert lines(found) == [
        "INSUFFICIENT_GPUS: not enough GPUs are free.",
        "Expected to start between 2026-01-05T14:30:00Z and 2026-01-05T15:30:00Z.",
        "Nothing can be said about its end: too few trainings have finished.",
        "What it would hold costs 0.5000 USD an hour.",
    ]


def test_a_specification_is_the_request_without_its_id() -> None:
    request = TrainingRequested(request_id="r1", study="studies/s", symbols=["A"], labels={"k": "v"})
    request.budget.cpu_seconds = 3.0

    spec = to_specification(request)

    assert (spec.study, list(spec.symbols), dict(spec.labels)) == ("studies/s", ["A"], {"k": "v"})
    assert spec.budget.cpu_seconds == 3.0
