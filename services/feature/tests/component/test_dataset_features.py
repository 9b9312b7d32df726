"""Datasets of on-demand features and feature services: what online reads give, as it was known then."""

import asyncio
import io
from typing import Any

import polars as pl
import pytest
from grpc import StatusCode
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer_common.errors import RpcFailure
from polars.testing import assert_frame_equal

from .conftest import MARKET_NOW, Feature, StartFeature
from .quotes import day
from .test_definitions import declared
from .test_service import TODAY, create, load, online_request, recent, spec, to_csv


async def table(feature: Feature, *views: str, as_of: Any = MARKET_NOW) -> pl.DataFrame:
    dataset = await create(feature, spec(["S0", "S1"], as_of, views))
    assert dataset.state == resources_pb2.Dataset.STATE_ACTIVE, dataset.error
    content = await asyncio.to_thread(feature.store.read_bytes, dataset.sha256)
    found = pl.read_parquet(io.BytesIO(content))
    assert [*dataset.feature_names] == found.columns[2 : 2 + len(dataset.feature_names)]
    return found


async def test_online_and_offline_agree_bit_for_bit_on_the_newest_decided_row(
    start_feature: StartFeature,
) -> None:
    decided = [quote for quote in recent(2, 80) if quote.day < TODAY]
    async with start_feature() as feature:
        await load(feature, to_csv(decided))
        await feature.api.ApplyFeatureDefinitions(declared("desk_v1"))
        rows = await table(feature, "featureServices/desk_v1", "trade_context:return_in_volatilities_1")
        names = ["desk:slope", "market_returns:return_1", "trade_context:return_in_volatilities_1"]
        online = await feature.feast.GetOnlineFeatures(online_request(["S0", "S1"], names))

    last = rows.filter(pl.col("event_time") == day(TODAY - 1)).sort("symbol")
    given = [[value.double_val for value in column.values] for column in online.results[1:]]
    assert [last[name.partition(":")[2]].to_list() for name in names] == given


async def test_computed_columns_see_what_their_row_was_decided_from(start_feature: StartFeature) -> None:
    history = recent(2, 80)
    as_of = day(TODAY - 3)
    async with start_feature() as feature:
        await load(feature, to_csv([quote for quote in history if quote.day < TODAY - 2]))
        await feature.api.ApplyFeatureDefinitions(declared("desk_v1"))
        before = await table(feature, "desk", "market_volatility", as_of=as_of)
        await load(feature, to_csv([quote for quote in history if quote.day >= TODAY - 2]))
        after = await table(feature, "desk", "market_volatility", as_of=as_of)

    assert_frame_equal(before, after)
    expected = before["log_variance_5"] - before["log_variance_22"]
    assert before["slope"].to_list() == expected.to_list()
    assert before["slope"].null_count() < before.height


async def test_a_redefined_view_makes_another_dataset_and_whole_stored_views_keep_their_name(
    start_feature: StartFeature,
) -> None:
    async with start_feature() as feature:
        await load(feature, to_csv(recent(2, 30)))
        await feature.api.ApplyFeatureDefinitions(declared())
        first = await create(feature, spec(["S0"], MARKET_NOW, ["desk"]))
        again = await create(feature, spec(["S0"], MARKET_NOW, ["desk:slope"]))
        await feature.api.ApplyFeatureDefinitions(declared(expression="log_variance_22 - log_variance_5"))
        other = await create(feature, spec(["S0"], MARKET_NOW, ["desk"]))

    assert (first.name, first.sha256) == (again.name, again.sha256)
    assert other.name != first.name
    assert other.sha256 != first.sha256
    revisions = {view.feature_view: (view.version, view.data_revision) for view in other.view_revisions}
    assert revisions == {"market_volatility": (1, 1), "desk": (2, 0)}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param(["trade_context"], "INVALID_DATASET_SPEC", id="it reads a number of a request"),
        pytest.param(["desk", "desk:nothing"], "UNKNOWN_FEATURE", id="no such feature"),
        pytest.param(["desk@7"], "UNKNOWN_FEATURE_VIEW", id="no such version"),
        pytest.param(["featureServices/none"], "UNKNOWN_FEATURE_SERVICE", id="no such service"),
        pytest.param(["twin", "market_returns"], "INVALID_DATASET_SPEC", id="two columns of one name"),
    ],
)
async def test_what_can_be_no_column_is_refused_by_name(
    start_feature: StartFeature, asked: list[str], reason: str
) -> None:
    request = declared()
    twin = request.on_demand_views.add(name="twin").features.add(expression="return_1 * 2").feature
    twin.name, twin.unit = "return_1", "RATIO"
    async with start_feature() as feature:
        await load(feature, to_csv(recent(2, 5)))
        await feature.api.ApplyFeatureDefinitions(request)
        wanted = spec(["S0"], MARKET_NOW, asked)
        with pytest.raises(RpcFailure) as caught:
            await feature.api.CreateDataset(service_pb2.CreateDatasetRequest(spec=wanted))

    assert (caught.value.code, caught.value.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_a_removed_service_and_a_removed_view_are_named(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        await load(feature, to_csv(recent(2, 5)))
        await feature.api.ApplyFeatureDefinitions(declared("desk_v1"))
        await feature.api.ApplyFeatureDefinitions(service_pb2.ApplyFeatureDefinitionsRequest(prune=True))
        reasons = []
        for asked in ("featureServices/desk_v1", "desk", "desk:slope"):
            wanted = spec(["S0"], MARKET_NOW, [asked])
            with pytest.raises(RpcFailure) as caught:
                await feature.api.CreateDataset(service_pb2.CreateDatasetRequest(spec=wanted))
            reasons.append(caught.value.reason)

    assert reasons == ["FEATURE_SERVICE_REMOVED", "FEATURE_VIEW_REMOVED", "FEATURE_VIEW_REMOVED"]
