"""Online reads of the running service through unmodified clients, from memory and from Redis."""

import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from mltrainer.feature.v1 import online_service_pb2 as online_pb2
from mltrainer.feature.v1.online_service_pb2_grpc import OnlineFeatureServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.tokens import TokenIssuer
from mltrainer_feature.settings import FeatureSettings
from mltrainer_feature.wire.feast_stubs import serving_pb2, serving_pb2_grpc
from mltrainer_features import feature_names
from mltrainer_testkit.redis import RedisServer
from pydantic import SecretStr

from .conftest import MARKET_NOW, Feature, StartFeature, poll
from .quotes import Quote, day, market

FEATURES = ["market_returns:return_1", "market_returns:return_66"]


def recent(symbols: int, days: int) -> list[Quote]:
    first = (MARKET_NOW - day(0)).days - days + 1
    return [Quote(quote.symbol, first + quote.day, quote.close) for quote in market(symbols, days)]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
async def feature(request: pytest.FixtureRequest, start_feature: StartFeature) -> AsyncIterator[Feature]:
    settings = FeatureSettings()
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        settings = FeatureSettings(redis_url=SecretStr(redis.url))
    async with start_feature(settings=settings) as running:
        await running.send(recent(2, 3))
        yield running


def reading(feature: Feature) -> tuple[tuple[str, str], ...]:
    token = TokenIssuer(feature.service.context.key, "tests", [Role.VIEWER]).token("feature")
    return (("authorization", f"Bearer {token}"),)


def feast_request() -> Any:
    request = serving_pb2.GetOnlineFeaturesRequest()
    request.features.val.extend(FEATURES)
    for symbol in ("S1", "NONE"):
        request.entities["symbol"].val.add().string_val = symbol
    return request


async def test_a_client_of_feasts_own_stubs_reads_features(feature: Feature) -> None:
    async with grpc.aio.insecure_channel(feature.service.address) as channel:
        serving = serving_pb2_grpc.ServingServiceStub(channel)
        answer = await serving.GetOnlineFeatures(feast_request(), metadata=reading(feature))
        same = await channel.unary_unary(
            "/GrpcFeatureServer/GetOnlineFeatures",
            serving_pb2.GetOnlineFeaturesRequest.SerializeToString,
            serving_pb2.GetOnlineFeaturesResponse.FromString,
        )(feast_request(), metadata=reading(feature))

    assert list(answer.metadata.feature_names.val) == ["symbol", "return_1", "return_66"]
    assert [list(column.statuses) for column in answer.results[1:]] == [
        [serving_pb2.PRESENT, serving_pb2.NOT_FOUND],
        [serving_pb2.NULL_VALUE, serving_pb2.NOT_FOUND],
    ]
    assert answer.results[1:] == same.results[1:]


async def test_many_entities_are_read_at_once_and_in_parts(feature: Feature) -> None:
    query = online_pb2.OnlineQuery(feature_service="daily_market_v1")
    query.entities["symbol"].texts.extend(["S0", "S1", "NONE", "S0"] * 1_000)
    stub: Any = OnlineFeatureServiceStub(feature.service.context.channel("feature"))

    whole = await stub.ReadFeatures(online_pb2.ReadFeaturesRequest(query=query))
    parts = [part async for part in stub.StreamFeatures(online_pb2.StreamFeaturesRequest(query=query))]

    assert len(whole.rows.columns) == len(feature_names())
    assert len(parts) > 1
    for place, column in enumerate(whole.rows.columns):
        values = [value for part in parts for value in part.rows.columns[place].values]
        statuses = [status for part in parts for status in part.rows.columns[place].statuses]
        assert list(map(repr, column.values)) == list(map(repr, values))
        assert list(column.statuses) == statuses
        assert math.isnan(column.values[2])


async def test_a_stranger_reads_nothing(feature: Feature) -> None:
    async with grpc.aio.insecure_channel(feature.service.address) as channel:
        for method in (
            "/feast.serving.ServingService/GetOnlineFeatures",
            "/GrpcFeatureServer/GetOnlineFeatures",
            "/mltrainer.feature.v1.OnlineFeatureService/ReadFeatures",
        ):
            call: Any = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.integration
async def test_reads_fail_while_redis_is_away_and_come_back_by_themselves(
    start_feature: StartFeature, redis: RedisServer
) -> None:
    async with start_feature(settings=FeatureSettings(redis_url=SecretStr(redis.url))) as feature:
        await feature.send(recent(2, 3))
        stub: Any = feature.feast
        before = await stub.GetOnlineFeatures(feast_request())
        redis.kill()
        async with grpc.aio.insecure_channel(feature.service.address) as channel:
            serving = serving_pb2_grpc.ServingServiceStub(channel)

            async def ask() -> Any:
                try:
                    return await serving.GetOnlineFeatures(feast_request(), metadata=reading(feature))
                except grpc.aio.AioRpcError as error:
                    return error

            away = await ask()
            redis.start()
            back = await poll(ask, lambda answer: not isinstance(answer, grpc.aio.AioRpcError))

    assert away.code() is grpc.StatusCode.UNAVAILABLE
    assert back.results[1:] == before.results[1:]
