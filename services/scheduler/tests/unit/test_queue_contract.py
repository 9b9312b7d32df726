from collections.abc import Callable

import pytest
from mltrainer.scheduler.v1 import resources_pb2
from mltrainer_scheduler.application.manage_queues import QueueUse
from mltrainer_scheduler.domain.errors import InvalidFieldError, QueuesChangedError
from mltrainer_scheduler.wire.errors import to_rpc_error
from mltrainer_scheduler.wire.queues import from_queue, to_queues, to_revision
from mltrainer_scheduling.quotas import UNLIMITED, Queue, QueueTreeError


def test_a_queue_comes_back_as_it_was_set() -> None:
    desk = Queue("desk", "", 2.5, (1_500, 7, 250), (4_000, UNLIMITED, 1_000))
    child = Queue("a", "desk")
    written = [
        from_queue(QueueUse(queue, (0, 0, 0), 0, 0, 0.0, 0.0, is_listed=True)) for queue in (desk, child)
    ]

    assert to_queues(written) == [desk, child]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(lambda queue: setattr(queue, "name", "desk"), "queues[0].name", id="no resource name"),
        pytest.param(
            lambda queue: setattr(queue, "parent", "queues/A B"), "queues[0].parent", id="no parent name"
        ),
        pytest.param(
            lambda queue: setattr(queue.guaranteed, "gpus", float("nan")),
            "queues[0].guaranteed.gpus",
            id="no number",
        ),
        pytest.param(
            lambda queue: setattr(queue.ceiling, "cpus", float("inf")),
            "queues[0].ceiling.cpus",
            id="infinite",
        ),
    ],
)
def test_a_queue_that_cannot_be_read_is_refused_by_field(
    change: Callable[[resources_pb2.Queue], None], field: str
) -> None:
    message = resources_pb2.Queue(name="queues/desk")
    change(message)

    with pytest.raises(InvalidFieldError) as refused:
        to_queues([message])

    assert refused.value.field == field


def test_an_etag_is_a_number_or_nothing() -> None:
    assert (to_revision(""), to_revision("7")) == (None, 7)
    with pytest.raises(InvalidFieldError):
        to_revision("new")


def test_refusals_of_queues_are_rich() -> None:
    wrong = to_rpc_error(QueueTreeError("a", "parent", "closes a cycle"))
    stale = to_rpc_error(QueuesChangedError("7"))

    assert wrong is not None
    assert stale is not None
    assert (wrong.reason, wrong.metadata) == ("INVALID_QUEUES", {"queue": "a", "field": "parent"})
    assert (stale.reason, stale.metadata) == ("LOST_RACE", {"etag": "7"})
