"""On-demand features through both contracts, beside the same features in joined rows."""

import math
from typing import Any

import polars as pl
import pytest
from mltrainer.feature.v1 import online_service_pb2 as online_pb2
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.domain.errors import InvalidRequestError, UnknownFeatureError
from mltrainer_feature.domain.online import FeatureStatus, OnlineSchema
from mltrainer_feature.entrypoints.feast_api import FeastServingApi
from mltrainer_feature.entrypoints.online_api import OnlineFeatureApi
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_feature.wire.online_format import StoredTimes
from mltrainer_features import with_on_demand
from mltrainer_testkit.clocks import ManualClock

from .feast_messages import SECOND_US, RowsInMemory, as_bits, features, key, request, row, schema, view
from .quotes import day

NOW_US = int(day(1).timestamp()) * SECOND_US
RETURNS, VOLATILITY = view("market_returns", "symbol"), view("market_volatility", "symbol")
STORED = {**features(RETURNS, "return_1"), **features(VOLATILITY, "log_variance_5", "log_variance_22")}
NAMES = ["trade_context:limit_in_volatilities", "market_returns:return_1", "trade_context:variance_slope"]
VALUES = {
    "A": (0.013, -8.7, -9.1),
    "B": (-0.2, -7.0, -9.4),
    "C": (0.1, math.nan, -9.0),
    "OLD": (0.1, -8.0, -9.0),
}
ROWS: dict[bytes, dict[bytes, bytes]] = {}
for _symbol, (_return, _week, _month) in VALUES.items():
    _time_us = NOW_US - (6 if _symbol == "OLD" else 1) * SECOND_US
    ROWS[key(RETURNS, _symbol)] = {
        **row(RETURNS, NOW_US, {"return_1": _return}),
        **row(VOLATILITY, _time_us, {"log_variance_5": _week, "log_variance_22": _month}),
    }
SYMBOLS = [*VALUES, "NONE"]
LIMITS = [-0.02, 0.031, 0.0, 0.01, 0.5]


class FixedSchema:
    """Implements `SchemaSource`."""

    current: OnlineSchema = schema(STORED)


def handler() -> ReadOnlineHandler:
    return ReadOnlineHandler(RowsInMemory(ROWS), ManualClock(day(1)), StoredTimes())


async def from_feast(message: Any) -> Any:
    answer = await FeastServingApi(handler(), FixedSchema()).get_online_features(message, None)
    return serving_pb2.GetOnlineFeaturesResponse.FromString(answer)


def query(names: list[str], limits: list[float] | None) -> online_pb2.OnlineQuery:
    message = online_pb2.OnlineQuery(features=names)
    message.entities["symbol"].texts.extend(SYMBOLS)
    if limits is not None:
        message.request_values["limit_distance"].values.extend(limits)
    return message


def joined() -> pl.DataFrame:
    rows = [
        {"return_1": one, "log_variance_5": two, "log_variance_22": three, "limit_distance": limit}
        for (one, two, three), limit in zip(VALUES.values(), LIMITS, strict=False)
    ]
    return with_on_demand(pl.DataFrame(rows), ["trade_context"])


async def test_online_values_are_those_of_joined_rows_bit_for_bit() -> None:
    message = request(NAMES, symbol=SYMBOLS)
    for limit in LIMITS:
        message.request_context["limit_distance"].val.add(double_val=limit)

    answer = await from_feast(message)
    batch = await OnlineFeatureApi(handler(), FixedSchema()).read_features(
        online_pb2.ReadFeaturesRequest(query=query(NAMES, LIMITS)), None
    )
    columns = online_pb2.ReadFeaturesResponse.FromString(batch).rows.columns

    offline = joined()
    assert list(answer.metadata.feature_names.val) == [
        "symbol",
        "limit_in_volatilities",
        "return_1",
        "variance_slope",
    ]
    assert [column.feature for column in columns] == NAMES
    for result, column, name in zip(
        answer.results[1:], columns, answer.metadata.feature_names.val[1:], strict=True
    ):
        served = [value.double_val for value in result.values]
        for place, expected in enumerate(offline[name].to_list()):
            if expected is not None and not math.isnan(expected):
                assert as_bits(served[place]) == as_bits(expected) == as_bits(column.values[place])


async def test_a_computed_value_is_worth_as_little_as_the_least_of_its_inputs() -> None:
    answer = await from_feast(request(["trade_context:variance_slope"], symbol=SYMBOLS))

    result = answer.results[1]
    assert list(result.statuses) == [
        FeatureStatus.PRESENT,
        FeatureStatus.PRESENT,
        FeatureStatus.NULL_VALUE,
        FeatureStatus.OUTSIDE_MAX_AGE,
        FeatureStatus.NOT_FOUND,
    ]
    assert [value.WhichOneof("val") for value in result.values] == [
        "double_val",
        "double_val",
        None,
        "double_val",
        None,
    ]
    assert result.event_timestamps[0].seconds == NOW_US // SECOND_US - 1


async def test_the_rows_of_a_stream_have_the_numbers_of_their_entities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mltrainer_feature.entrypoints.online_api._PART_VALUES", 2)
    api = OnlineFeatureApi(handler(), FixedSchema())
    name = ["trade_context:limit_in_volatilities"]

    parts = [
        online_pb2.StreamFeaturesResponse.FromString(part)
        async for part in api.stream_features(
            online_pb2.StreamFeaturesRequest(query=query(name, LIMITS)), None
        )
    ]
    whole = await api.read_features(online_pb2.ReadFeaturesRequest(query=query(name, LIMITS)), None)

    expected = online_pb2.ReadFeaturesResponse.FromString(whole).rows.columns[0]
    streamed = [value for part in parts for value in part.rows.columns[0].values]
    assert len(parts) > 1
    assert list(map(as_bits, streamed)) == list(map(as_bits, expected.values))


async def test_the_numbers_of_a_request_may_come_as_entities() -> None:
    message = request(["trade_context:limit_in_volatilities"], symbol=["A"], limit_distance=[1])

    answer = await from_feast(message)

    assert answer.results[-1].values[0].double_val == pytest.approx(math.exp(9.1 / 2))


@pytest.mark.parametrize("limits", [None, [0.1]], ids=["missing", "too few"])
async def test_a_request_without_its_numbers_is_refused(limits: list[float] | None) -> None:
    with pytest.raises(InvalidRequestError, match="limit_distance"):
        await OnlineFeatureApi(handler(), FixedSchema()).read_features(
            online_pb2.ReadFeaturesRequest(query=query(NAMES, limits)), None
        )
    message = request(NAMES, symbol=["A", "B"])
    for _ in limits or ():
        message.request_context["limit_distance"].val.add(double_val=0.1)
    with pytest.raises(InvalidRequestError, match="limit_distance"):
        await from_feast(message)


async def test_a_text_for_a_number_is_refused() -> None:
    message = request(NAMES, symbol=["A"])
    message.request_context["limit_distance"].val.add(string_val="0.1")

    with pytest.raises(InvalidRequestError, match="give numbers"):
        await from_feast(message)


async def test_an_unknown_feature_of_an_on_demand_view_is_named() -> None:
    with pytest.raises(UnknownFeatureError, match="trade_context:mood"):
        await from_feast(request(["trade_context:mood"], symbol=["A"]))
