from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_feature.application.online_plans import PlanCache, plan_read
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.domain.errors import (
    InvalidRequestError,
    UnknownEntityError,
    UnknownFeatureError,
    UnknownFeatureServiceError,
)
from mltrainer_feature.domain.online import (
    FeatureStatus,
    OnlineFeature,
    OnlineSchema,
    ValueKind,
    row_statuses,
    value_statuses,
)
from mltrainer_feature.domain.rows import FEATURE_NAMES
from mltrainer_feature.entrypoints.feast_api import FeastServingApi
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_feature.wire.online_format import StoredTimes, double_cell, read_double
from mltrainer_features import VIEWS
from mltrainer_testkit.clocks import ManualClock

from .feast_messages import (
    SECOND_US,
    RowsInMemory,
    as_bits,
    features,
    integer_cell,
    key,
    request,
    row,
    schema,
    string_cell,
    view,
)
from .quotes import day

NOW = day(1)
NOW_US = (NOW - day(0).fromtimestamp(0, day(0).tzinfo)) // timedelta(microseconds=1)
PRICES = view("prices", "symbol")
NOTES = view("notes", "symbol", max_age_us=None)
LEGS = view("legs", "account", "symbol", max_age_us=None)
FEATURES = {
    **features(PRICES, "close", "open"),
    **features(NOTES, "text", kind=ValueKind.STRING),
    **features(LEGS, "size"),
}
ROWS = {
    key(PRICES, "A"): {
        **row(PRICES, NOW_US, {"close": 1.5, "open": float("nan")}),
        **row(NOTES, 0, {"text": string_cell("é" * 100)}),
    },
    key(PRICES, "B"): row(PRICES, NOW_US - 6 * SECOND_US, {"close": 2.5}),
    key(LEGS, "x", "A"): row(LEGS, NOW_US, {"size": 7.0}),
}


class FixedSchema:
    """Implements `SchemaSource`."""

    def __init__(self, current: OnlineSchema) -> None:
        self.current = current


def api(rows: Mapping[bytes, Mapping[bytes, bytes]], schemas: FixedSchema | None = None) -> FeastServingApi:
    read = ReadOnlineHandler(RowsInMemory(rows), ManualClock(NOW), StoredTimes())
    return FeastServingApi(read, schemas or FixedSchema(schema(FEATURES)))


async def ask(server: FeastServingApi, message: Any) -> Any:
    answer = await server.get_online_features(message, None)
    return serving_pb2.GetOnlineFeaturesResponse.FromString(answer)


def statuses(answer: Any) -> list[list[str]]:
    name = serving_pb2.FieldStatus.Name
    return [[name(code) for code in column.statuses] for column in answer.results[1:]]


@pytest.mark.parametrize(
    ("time_us", "cell", "status"),
    [
        pytest.param(None, b"v", FeatureStatus.NOT_FOUND, id="no row"),
        pytest.param(None, None, FeatureStatus.NOT_FOUND, id="no row, no value"),
        pytest.param(0, b"", FeatureStatus.NULL_VALUE, id="undefined"),
        pytest.param(0, None, FeatureStatus.NULL_VALUE, id="a row that lacks the value"),
        pytest.param(-99, b"", FeatureStatus.NULL_VALUE, id="undefined and too old"),
        pytest.param(-10, b"v", FeatureStatus.PRESENT, id="exactly the maximal age"),
        pytest.param(-11, b"v", FeatureStatus.OUTSIDE_MAX_AGE, id="just too old"),
    ],
)
def test_a_value_has_one_status(time_us: int | None, cell: bytes | None, status: FeatureStatus) -> None:
    rows = row_statuses([time_us], 10, 0)

    assert list(value_statuses(rows, [cell])) == [status]


def test_without_a_maximal_age_nothing_is_too_old() -> None:
    assert list(row_statuses([-(2**60)], None, 0)) == [FeatureStatus.PRESENT]


@given(st.floats())
def test_a_number_keeps_its_bits_and_nan_is_undefined(value: float) -> None:
    cell = double_cell(value)

    assert cell == b"" if value != value else as_bits(read_double(cell)) == as_bits(value)  # noqa: PLR0124 - NaN


async def test_columns_follow_the_request_and_rows_the_entities() -> None:
    answer = await ask(
        api(ROWS), request(["prices:open", "notes:text", "prices:close"], symbol=["B", "A", "C"])
    )

    assert list(answer.metadata.feature_names.val) == ["symbol", "open", "text", "close"]
    assert [value.string_val for value in answer.results[0].values] == ["B", "A", "C"]
    assert statuses(answer) == [
        ["NULL_VALUE", "NULL_VALUE", "NOT_FOUND"],
        ["NOT_FOUND", "PRESENT", "NOT_FOUND"],
        ["OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"],
    ]
    assert answer.results[2].values[1].string_val == "é" * 100
    assert [value.double_val for value in answer.results[3].values] == [2.5, 1.5, 0.0]
    assert answer.results[3].values[2].WhichOneof("val") is None
    assert [time.ToMicroseconds() for time in answer.results[3].event_timestamps] == [
        NOW_US - 6 * SECOND_US,
        NOW_US,
        0,
    ]
    assert answer.status


async def test_views_of_different_entities_are_read_together() -> None:
    message = request(["prices:close", "legs:size"], symbol=["A", "A"], account=["x", "y"])

    answer = await ask(api(ROWS), message)

    by_name = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
    assert [value.double_val for value in by_name["size"].values] == [7.0, 0.0]
    assert list(by_name["size"].statuses) == [FeatureStatus.PRESENT, FeatureStatus.NOT_FOUND]
    assert [value.double_val for value in by_name["close"].values] == [1.5, 1.5]
    assert [value.string_val for value in by_name["account"].values] == ["x", "y"]


async def test_a_feature_service_stands_for_its_features_with_full_names() -> None:
    answer = await ask(api(ROWS), request(service="all_v1", is_full=True, symbol=["A"], account=["x"]))

    assert list(answer.metadata.feature_names.val)[2:] == [
        "prices__close",
        "prices__open",
        "notes__text",
        "legs__size",
    ]


@pytest.mark.parametrize("count", [1, 20, 127, 128, 3000])
async def test_replies_of_any_size_are_what_the_contract_says(count: int) -> None:
    counts = view("counts", "number", kind=ValueKind.INT64)
    rows = {
        key(counts, number): row(counts, NOW_US, {"double": number / 3, "integer": integer_cell(number * 99)})
        for number in range(count)
    }
    found = {
        **features(counts, "double"),
        **features(counts, "integer", kind=ValueKind.INT64),
    }

    answer = await ask(api(rows, FixedSchema(schema(found))), request(list(found), number=range(count)))

    assert [value.double_val for value in answer.results[1].values] == [number / 3 for number in range(count)]
    assert [value.int64_val for value in answer.results[2].values] == [number * 99 for number in range(count)]
    assert statuses(answer) == [["PRESENT"] * count] * 2


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        pytest.param(
            request(["prices:absent"], symbol=["A"]), UnknownFeatureError, "prices:absent", id="feature"
        ),
        pytest.param(
            request(service="none_v1", symbol=["A"]), UnknownFeatureServiceError, "all_v1", id="service"
        ),
        pytest.param(request(symbol=["A"]), InvalidRequestError, "features", id="nothing"),
        pytest.param(request(["prices:close"]), InvalidRequestError, "symbol", id="no entity"),
        pytest.param(request(["prices:close"], symbol=[]), InvalidRequestError, "symbol", id="no values"),
        pytest.param(
            request(["prices:close"], symbol=["A"], venue=["X"]), UnknownEntityError, "venue", id="entity"
        ),
        pytest.param(request(["prices:close"], symbol=[1]), InvalidRequestError, "string_val", id="type"),
        pytest.param(
            request(["prices:close"], symbol=["A"], account=["x", "y"]),
            InvalidRequestError,
            "same number",
            id="lengths",
        ),
        pytest.param(
            request(["prices:close", "prices:close"], symbol=["A"]), InvalidRequestError, "twice", id="twice"
        ),
        pytest.param(
            request(["prices:close", "prices:open"], symbol=["A"] * 80_000),
            InvalidRequestError,
            "at most 150000",
            id="too many",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused(message: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        await api(ROWS).get_online_features(message, None)


async def test_ten_thousand_entities_are_answered() -> None:
    answer = await ask(api(ROWS), request(["prices:close"], symbol=["A", "C"] * 5_000))

    assert list(answer.results[1].statuses) == [FeatureStatus.PRESENT, FeatureStatus.NOT_FOUND] * 5_000


async def test_a_view_that_is_removed_while_it_is_served_is_unknown_at_once() -> None:
    schemas = FixedSchema(schema(FEATURES))
    server = api(ROWS, schemas)
    message = request(["prices:close"], symbol=["A"])
    await ask(server, message)

    schemas.current = schema(features(NOTES, "text"), revision=1)

    with pytest.raises(UnknownFeatureError, match="prices:close"):
        await ask(server, message)


def test_a_plan_is_made_once_for_a_list_and_revision() -> None:
    made = []
    schemas = FixedSchema(schema(FEATURES))
    plans: PlanCache[int] = PlanCache(schemas)

    def make(current: OnlineSchema) -> int:
        made.append(current.revision)
        return len(made)

    found = [plans.get("one", make), plans.get("one", make), plans.get("two", make)]
    schemas.current = schema(FEATURES, revision=1)

    assert [*found, plans.get("one", make)] == [1, 1, 2, 3]
    assert made == [0, 0, 1]


def test_fields_of_views_that_share_a_key_are_fetched_together() -> None:
    plan = plan_read(tuple(FEATURES.values()))

    assert [len(group.fields) for group in plan.groups] == [5, 2]
    assert [column.group for column in plan.columns] == [0, 0, 0, 1]


def test_the_compiled_registry_names_every_feature_of_every_view() -> None:
    found = read_schema(REGISTRY_FILE.read_bytes())

    assert set(found.features) == {
        f"{owner.name}:{feature.name}" for owner in VIEWS.values() for feature in owner.features
    }
    members: tuple[OnlineFeature, ...] = found.service("daily_market_v1")
    assert tuple(feature.name for feature in members) == FEATURE_NAMES
    assert set(found.services) == {"daily_market_v1", "volatility_v1"}
    assert found.join_keys == {"symbol"}
    assert {feature.view.max_age_us for feature in members} == {5 * 86_400 * SECOND_US}
