from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.cost_optimizer.v1 import cost_optimizer_service_pb2 as api
from mltrainer_common.authorization import unlisted_methods
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_cost_optimizer.application.ports import Position, WasteFound
from mltrainer_cost_optimizer.application.record_events import Started
from mltrainer_cost_optimizer.domain import errors
from mltrainer_cost_optimizer.domain.prices import Reserved
from mltrainer_cost_optimizer.domain.waste import WasteFinding, WasteKind
from mltrainer_cost_optimizer.wire.errors import to_rpc_error
from mltrainer_cost_optimizer.wire.events import PUBLISHED, to_end, to_message, to_start, to_usage
from mltrainer_cost_optimizer.wire.pages import next_token, page_size, position
from mltrainer_cost_optimizer.wire.roles import ROLES
from mltrainer_messaging.topics import topic_of

SERVICE = api.DESCRIPTOR.services_by_name["CostOptimizerService"]


def test_every_method_has_a_role() -> None:
    assert unlisted_methods([SERVICE], ROLES) == []


@pytest.mark.parametrize("error", errors.CostError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_error_of_the_domain_has_an_answer(error: Any) -> None:
    answer = to_rpc_error(error("here", "is wrong"))

    assert answer is not None
    assert answer.reason.isupper()
    assert answer.code is not grpc.StatusCode.UNAVAILABLE
    assert set(answer.metadata.values()) == {"here", "is wrong"}


def test_only_an_outage_invites_a_retry() -> None:
    outage = to_rpc_error(DatabaseUnavailableError("away"))
    race = to_rpc_error(DatabaseConflictError("lost"))

    assert outage is not None
    assert (outage.code, outage.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, 1.0)
    assert race is not None
    assert race.code is grpc.StatusCode.ABORTED
    assert to_rpc_error(ValueError("foreign")) is None


def test_what_is_published_belongs_to_this_service() -> None:
    assert [topic_of(message).name for message in PUBLISHED] == ["mltrainer.cost-optimizer.waste-found.v1"]


def test_the_workers_of_a_gang_are_billed_together(make: Any) -> None:
    event = make.start_event(spot=True)
    event.allocation.resources.gang_workers = 3
    event.allocation.resources.gpus = 0.5

    fact = to_start("e1", event).fact

    assert isinstance(fact, Started)
    assert fact.reserved == Reserved(6_000, 3 << 30, 1_500, "")
    assert fact.is_spot


@pytest.mark.parametrize("path", ["name", "start_time"])
def test_a_start_that_says_too_little_is_refused(make: Any, path: str) -> None:
    event = make.start_event()
    event.allocation.ClearField(path)

    with pytest.raises(errors.InvalidFieldError):
        to_start("e1", event)


def test_amounts_and_times_that_cannot_be_are_refused(make: Any) -> None:
    endless, negative, huge = make.end_event(1), make.usage_event(1, -1.0), make.start_event()
    endless.allocation.end_time.CopyFrom(Timestamp(seconds=1 << 60))
    huge.allocation.resources.cpus = float("inf")

    for decode, event in ((to_end, endless), (to_usage, negative), (to_start, huge)):
        with pytest.raises(errors.InvalidFieldError):
            decode("e1", event)


def test_a_finding_becomes_its_event(make: Any) -> None:
    finding = WasteFinding(WasteKind.LOST_ATTEMPT, "allocations/a", 7, "why", make.time(0))

    message = to_message(WasteFound(finding, 3))

    assert (message.kind, message.resource, message.cost_micros, message.revision) == (  # type: ignore[attr-defined]
        "LOST_ATTEMPT",
        "allocations/a",
        7,
        3,
    )


def test_page_tokens_lead_to_the_next_page_and_nowhere_else(make: Any) -> None:
    request = api.ListChargesRequest
    last = Position(make.time(1.5), "b")

    token = next_token("abc", 2, last)

    assert position(request(page_token=token)) == last
    assert position(request()) is None
    assert next_token("ab", 2, last) == ""
    assert page_size(request()) == 100
    for wrong in (request(page_size=-1), request(page_size=1_001)):
        with pytest.raises(errors.InvalidFieldError):
            page_size(wrong)
    for token in ("%", "abc", "e30=", "WzEsMl0=", "WyIyMDI2LTAxLTAxIiwgImEiXQ=="):
        with pytest.raises(errors.InvalidFieldError):
            position(request(page_token=token))
