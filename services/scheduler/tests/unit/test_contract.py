from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer.scheduler.v1 import events_pb2, resources_pb2, scheduler_service_pb2
from mltrainer.trainer.v1 import events_pb2 as trainer_events
from mltrainer_common.authorization import unlisted_methods
from mltrainer_common.database import DatabaseConflictError
from mltrainer_messaging.topics import topic_of
from mltrainer_scheduler.domain import errors
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Resources,
    Search,
    SpotPolicy,
    Target,
    TargetKind,
    TrainingSpec,
)
from mltrainer_scheduler.domain.training import TrainingState
from mltrainer_scheduler.wire.errors import to_rpc_error
from mltrainer_scheduler.wire.events import PUBLISHED, to_node, to_success
from mltrainer_scheduler.wire.pages import last_name, next_token, page_size
from mltrainer_scheduler.wire.resources import to_states
from mltrainer_scheduler.wire.roles import ROLES
from mltrainer_scheduler.wire.specification import from_spec, to_spec

times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
texts = st.text(max_size=8)
counts = st.integers(-(2**31), 2**31 - 1)
numbers = st.floats(allow_nan=False)
specs = st.builds(
    TrainingSpec,
    study=texts,
    target=st.none() | st.builds(Target, st.sampled_from(TargetKind), counts),
    symbols=st.lists(texts).map(tuple),
    feature_views=st.lists(texts).map(tuple),
    as_of=st.none() | times,
    evaluation=st.none() | st.builds(Evaluation, st.none() | times, counts, counts),
    search=st.none() | st.builds(Search, st.lists(texts).map(tuple), counts, counts),
    budget=st.none() | st.builds(Budget, numbers, numbers, st.none() | times),
    resources=st.builds(
        Resources, numbers, counts, numbers, texts, counts, st.sampled_from(SpotPolicy), numbers
    ),
    queue=texts,
    priority=counts,
    owner=texts,
    labels=st.dictionaries(texts, texts),
    propose_alias=texts,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs)
def test_a_specification_survives_the_wire(spec: TrainingSpec) -> None:
    message = resources_pb2.TrainingSpec.FromString(from_spec(spec).SerializeToString())

    assert to_spec(message) == spec


def test_times_that_no_calendar_has_are_missing_or_past() -> None:
    message = events_pb2.TrainingRequested(as_of=Timestamp(seconds=1 << 60))
    message.evaluation.first_test_time.nanos = -5
    message.budget.deadline_time.seconds = -(1 << 60)

    spec = to_spec(message)

    assert spec.as_of is None
    assert spec.evaluation == Evaluation(None)
    assert spec.budget is not None
    assert spec.budget.deadline_time == datetime.min.replace(tzinfo=UTC)


def test_values_of_a_newer_contract_are_unspecified() -> None:
    message = events_pb2.TrainingRequested()
    message.target.kind = 99  # type: ignore[assignment]
    message.resources.spot_policy = 99  # type: ignore[assignment]
    success = trainer_events.AttemptSucceeded()
    success.result.verdict = 99  # type: ignore[assignment]

    spec = to_spec(message)

    assert spec.target == Target(TargetKind.UNSPECIFIED, 0)
    assert spec.resources.spot_policy is SpotPolicy.UNSPECIFIED
    assert to_success(success, "e").verdict == "UNSPECIFIED"


def test_a_node_that_does_not_say_when_counts_as_silent() -> None:
    report = to_node(trainer_events.NodeReported(node="nodes/a", report_time=Timestamp(seconds=1 << 60)))

    assert report.seen_time.year == 1


def test_every_method_has_a_role() -> None:
    service = scheduler_service_pb2.DESCRIPTOR.services_by_name["SchedulerService"]

    assert unlisted_methods([service], ROLES) == []


def _all_errors(parent: type[Exception]) -> Iterator[type[Exception]]:
    for child in parent.__subclasses__():
        yield child
        yield from _all_errors(child)


def test_every_error_has_an_answer_whose_facts_are_in_the_metadata() -> None:
    for error_type in _all_errors(errors.SchedulerError):
        error = error_type(*["value"] * (error_type.__init__.__code__.co_argcount - 1))
        answer = to_rpc_error(error)

        assert answer is not None, error_type
        assert "value" in answer.metadata.values()


def test_a_lost_race_may_be_repeated_and_the_unknown_is_not_ours() -> None:
    answer = to_rpc_error(DatabaseConflictError("x"))

    assert answer is not None
    assert (answer.code.name, answer.reason) == ("ABORTED", "LOST_RACE")
    assert to_rpc_error(ValueError("x")) is None


def test_everything_published_belongs_to_the_scheduler() -> None:
    own = {
        message
        for message in events_pb2.DESCRIPTOR.message_types_by_name.values()
        if message.name != "TrainingRequested"
    }

    assert {message.DESCRIPTOR for message in PUBLISHED} == own
    assert all(topic_of(message).name.startswith("mltrainer.scheduler.") for message in PUBLISHED)


def test_every_state_but_the_unspecified_is_known() -> None:
    numbers = [number for number in resources_pb2.Training.State.values() if number]

    assert to_states(numbers) == set(TrainingState)
    with pytest.raises(errors.InvalidFieldError):
        to_states([0])


def test_page_tokens_lead_to_the_next_page_and_nowhere_else() -> None:
    request = scheduler_service_pb2.ListTrainingsRequest

    token = next_token(["a", "b", "c"], 2, "b")

    assert last_name(request(page_token=token)) == "b"
    assert next_token(["a", "b"], 2, "b") == ""
    assert page_size(request()) == 100
    for wrong in (request(page_size=-1), request(page_size=1_001)):
        with pytest.raises(errors.InvalidFieldError):
            page_size(wrong)
    for token in ("%", "abc", "/w=="):
        with pytest.raises(errors.InvalidFieldError):
            last_name(request(page_token=token))
