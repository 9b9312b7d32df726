import inspect
from datetime import UTC, datetime

import pytest
from grpc import StatusCode
from mltrainer.feature.v1 import events_pb2, feature_service_pb2, online_service_pb2, resources_pb2
from mltrainer.types.v1 import types_pb2
from mltrainer_common.authorization import unlisted_methods
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_feature.application.queries import PageRequest
from mltrainer_feature.domain import errors
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.wire.errors import to_rpc_error
from mltrainer_feature.wire.events import to_received_bars
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_feature.wire.resources import to_rows_query, to_spec
from mltrainer_feature.wire.roles import ROLES
from mltrainer_messaging.envelope import Event

from .quotes import Quote, to_bars, to_event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES = [
    errors.InvalidRequestError([Violation("field", "is wrong")]),
    errors.InvalidDatasetSpecError([Violation("field", "is wrong")]),
    errors.UnknownEntityError("venue", ["symbol"]),
    errors.UnreadableRegistryError("market_returns:return_1 is defined twice"),
    errors.OnlineStoreError("the online store gives no sense"),
    errors.OnlineStoreUnavailableError("the online store cannot be reached"),
    errors.OnlineStoreLostError("mltrainer"),
    errors.UnknownFeatureViewError("market_mood", ["market_returns"]),
    errors.UnknownSymbolError(["A"]),
    errors.AsOfInFutureError(NOW, NOW),
    errors.ResourceNotFoundError("dataset", "datasets/1"),
    errors.BytesNotFoundError("a" * 64),
    errors.UnknownFeatureError("view:feature"),
    errors.UnknownFeatureServiceError("all_v1", ["one_v1"]),
    errors.InvalidDefinitionsError([Violation("desk_v1.features", "name at least one")]),
    errors.DefinitionsChangedError("7"),
    errors.FeatureViewRemovedError("market_returns"),
    errors.FeatureListRemovedError("desk_v1", ["market_returns"]),
    errors.UnreadableBarsError("no CSV"),
    errors.ReferencesUnknownError("registry"),
]


def test_every_error_of_the_domain_has_an_answer() -> None:
    classes = {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.FeatureServiceError) and member is not errors.FeatureServiceError
    }

    answers = [to_rpc_error(example) for example in EXAMPLES]

    assert {type(example) for example in EXAMPLES} == classes
    assert all(answer is not None and answer.reason.isupper() for answer in answers)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailableError("x"), StatusCode.UNAVAILABLE),
        (DatabaseConflictError("x"), StatusCode.ABORTED),
    ],
)
def test_the_database_answers_for_itself(error: Exception, code: StatusCode) -> None:
    answer = to_rpc_error(error)

    assert answer is not None
    assert answer.code is code


def test_an_unforeseen_error_has_no_answer() -> None:
    assert to_rpc_error(KeyError("x")) is None


def test_every_method_has_a_role() -> None:
    services = [
        feature_service_pb2.DESCRIPTOR.services_by_name["FeatureService"],
        online_service_pb2.DESCRIPTOR.services_by_name["OnlineFeatureService"],
        serving_pb2.DESCRIPTOR.services_by_name["ServingService"],
    ]

    assert unlisted_methods(services, ROLES) == []


def event(message: events_pb2.BarClosed, event_id: str) -> Event[events_pb2.BarClosed]:
    return Event(event_id, "type", "source", NOW, "key", message, None, "topic", 0, 0)


def test_bars_survive_the_wire() -> None:
    quotes = [Quote("A", 1, 10.0), Quote("B", 2, 11.0)]

    received = to_received_bars([event(to_event(quote), quote.symbol) for quote in quotes])

    assert received.event_ids == ("A", "B")
    assert received.bars.equals(to_bars(quotes))


def test_an_empty_bar_or_one_of_an_impossible_year_becomes_nulls() -> None:
    absurd = events_pb2.BarClosed(symbol="A", close=1.0)
    absurd.event_time.seconds = 10**15

    received = to_received_bars([event(events_pb2.BarClosed(), "1"), event(absurd, "2")])

    assert received.bars["event_time"].to_list() == [None, None]


def test_an_empty_specification_keeps_its_gaps() -> None:
    spec = to_spec(resources_pb2.DatasetSpec())

    assert (spec.as_of, spec.target_kind, spec.horizon_bars) == (None, None, 0)
    unknown = to_spec(resources_pb2.DatasetSpec(target=types_pb2.Target(horizon_bars=3)))
    assert unknown.target_kind is None


def test_a_time_of_an_impossible_year_is_refused() -> None:
    request = feature_service_pb2.ListFeatureRowsRequest()
    request.as_of.seconds = 10**15

    with pytest.raises(InvalidRequestError, match="as_of"):
        to_rows_query(request)


@pytest.mark.parametrize(
    "page", [PageRequest(-1), PageRequest(1_001), PageRequest(1, "x"), PageRequest(1, "9" * 30)]
)
def test_a_page_out_of_range_is_refused(page: PageRequest) -> None:
    def read() -> None:
        page.limit()
        page.place()

    with pytest.raises(InvalidRequestError):
        read()
