import math
from typing import Any

import pytest
from mltrainer.feature.v1 import online_service_pb2 as online_pb2
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.domain.errors import InvalidRequestError, UnknownEntityError, UnknownFeatureError
from mltrainer_feature.domain.online import OnlineSchema, ValueKind
from mltrainer_feature.entrypoints.online_api import OnlineFeatureApi
from mltrainer_feature.wire.online_format import StoredTimes
from mltrainer_testkit.clocks import ManualClock

from .feast_messages import SECOND_US, RowsInMemory, features, integer_cell, key, row, schema, view
from .quotes import day

NOW_US = int(day(1).timestamp()) * SECOND_US
WIDE = view("wide", "symbol")
LEGS = view("legs", "account", max_age_us=None, kind=ValueKind.INT64)
FEATURES = {
    **features(WIDE, *(f"f{number}" for number in range(41))),
    **features(WIDE, "text", kind=ValueKind.STRING),
    **features(LEGS, "size", "changed"),
}
NUMBERS = [name for name in FEATURES if name.startswith("wide:f")]
ROWS = {
    key(WIDE, f"S{number}"): row(
        WIDE, NOW_US - 9 * SECOND_US * (number % 2), {f"f{place}": number + place / 64 for place in range(41)}
    )
    for number in range(0, 10_000, 5)
}
ROWS[key(LEGS, -7)] = row(LEGS, NOW_US, {"size": math.nan, "changed": integer_cell(2**40)})


class FixedSchema:
    """Implements `SchemaSource`."""

    current: OnlineSchema = schema(FEATURES)


def api() -> OnlineFeatureApi:
    read = ReadOnlineHandler(RowsInMemory(ROWS), ManualClock(day(1)), StoredTimes())
    return OnlineFeatureApi(read, FixedSchema())


def query(
    names: list[str], symbols: list[str] | None = None, accounts: list[int] | None = None
) -> online_pb2.OnlineQuery:
    message = online_pb2.OnlineQuery(features=names)
    if symbols is not None:
        message.entities["symbol"].texts.extend(symbols)
    if accounts is not None:
        message.entities["account"].numbers.extend(accounts)
    return message


async def read(message: online_pb2.OnlineQuery) -> online_pb2.OnlineRows:
    answer = await api().read_features(online_pb2.ReadFeaturesRequest(query=message), None)
    return online_pb2.ReadFeaturesResponse.FromString(answer).rows


async def stream(message: online_pb2.OnlineQuery) -> list[online_pb2.StreamFeaturesResponse]:
    request = online_pb2.StreamFeaturesRequest(query=message)
    return [
        online_pb2.StreamFeaturesResponse.FromString(part)
        async for part in api().stream_features(request, None)
    ]


async def test_values_statuses_and_times_stand_column_by_column() -> None:
    rows = await read(query(["wide:f2", "legs:size"], ["S5", "S10", "S1"], [-7, 8, 8]))

    status = online_pb2.FeatureStatus.Name
    assert [column.feature for column in rows.columns] == ["wide:f2", "legs:size"]
    assert list(rows.columns[0].values)[:2] == [5 + 2 / 64, 10 + 2 / 64]
    assert all(math.isnan(value) for value in [*rows.columns[0].values[2:], *rows.columns[1].values])
    assert [[status(code) for code in column.statuses] for column in rows.columns] == [
        ["FEATURE_STATUS_OUTSIDE_MAX_AGE", "FEATURE_STATUS_PRESENT", "FEATURE_STATUS_NOT_FOUND"],
        ["FEATURE_STATUS_NULL_VALUE", "FEATURE_STATUS_NOT_FOUND", "FEATURE_STATUS_NOT_FOUND"],
    ]
    assert {times.feature_view: list(times.event_times_us) for times in rows.times} == {
        "wide": [NOW_US - 9 * SECOND_US, NOW_US, 0],
        "legs": [NOW_US, 0, 0],
    }


async def test_ten_thousand_entities_come_in_parts_that_join_to_the_request() -> None:
    symbols = [f"S{number}" for number in range(10_000)]

    parts = await stream(query(NUMBERS, symbols))

    assert [part.first_row for part in parts] == list(range(0, 10_000, parts[0].row_count))
    assert sum(part.row_count for part in parts) == 10_000
    found = [value for part in parts for value in part.rows.columns[40].values]
    present = [(place, value) for place, value in enumerate(found) if not math.isnan(value)]
    assert present == [(number, number + 40 / 64) for number in range(0, 10_000, 5)]
    assert max(part.ByteSize() for part in parts) < 2**20


async def test_an_answer_at_the_limit_fits_a_message_and_one_beyond_is_refused() -> None:
    names = NUMBERS[:35]
    request = online_pb2.ReadFeaturesRequest(query=query(names, ["S10"] * 10_000))

    answer = await api().read_features(request, None)

    assert len(answer) < 4 * 1024 * 1024
    with pytest.raises(InvalidRequestError, match="at most 350000"):
        await read(query(NUMBERS, ["S10"] * 10_000))


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        pytest.param(query([], ["A"]), InvalidRequestError, "features", id="nothing"),
        pytest.param(query(["wide:text"], ["A"]), InvalidRequestError, "no double", id="text"),
        pytest.param(
            query(["legs:changed"], None, [-7]), InvalidRequestError, "another type", id="stored type"
        ),
        pytest.param(query(["wide:none"], ["A"]), UnknownFeatureError, "wide:none", id="feature"),
        pytest.param(query(["legs:size"], ["A"], []), InvalidRequestError, "number", id="no values"),
        pytest.param(query(["legs:size"], ["A"]), InvalidRequestError, "account", id="no entity"),
        pytest.param(
            query(["legs:size", "wide:f1"], ["A", "B"], [1]), InvalidRequestError, "same number", id="lengths"
        ),
        pytest.param(query(["wide:f1"], ["A"] * 100_001), InvalidRequestError, "100000", id="too many"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    message: online_pb2.OnlineQuery, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await read(message)
    with pytest.raises(error, match=text):
        await stream(message)


async def test_keys_of_a_wrong_type_and_unknown_entities_are_refused() -> None:
    wrong: Any = query(["wide:f1"])
    wrong.entities["symbol"].numbers.append(1)
    with pytest.raises(InvalidRequestError, match="give texts"):
        await read(wrong)

    strange: Any = query(["wide:f1"], ["A"])
    strange.entities["venue"].texts.append("X")
    with pytest.raises(UnknownEntityError, match="account, symbol"):
        await read(strange)
