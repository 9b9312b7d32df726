"""Views and services that are applied, served and removed while the service runs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer_common.errors import RpcFailure

from .conftest import Feature, StartFeature, poll
from .quotes import day, market
from .test_service import load, online_request, spec, to_csv

Change = service_pb2.DefinitionChange
SLOPE = "log_variance_5 - log_variance_22"


def declared(*services: str, expression: str = SLOPE, **options: Any) -> Any:
    request = service_pb2.ApplyFeatureDefinitionsRequest(**options)
    feature = request.on_demand_views.add(name="desk").features.add(expression=expression).feature
    feature.name, feature.unit = "slope", "RATIO"
    for name in services:
        request.feature_services.add(name=name, features=["desk:slope", "market_returns:return_1"])
    return request


async def outcome(feature: Feature, request: Any) -> list[tuple[str, str, int]]:
    answer = await feature.api.ApplyFeatureDefinitions(request)
    return [(one.name, Change.Action.Name(one.action), one.version) for one in answer.changes]


async def answers(feature: Feature) -> bool:
    """Tells whether a call arrives: the client still waits after it lost the process before."""
    try:
        await feature.api.ListFeatureServices(service_pb2.ListFeatureServicesRequest())
    except RpcFailure as failure:
        assert failure.code is StatusCode.UNAVAILABLE
        return False
    return True


async def test_what_is_applied_is_served_until_it_is_removed(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        await load(feature, to_csv(market(2, 30)))
        planned = await outcome(feature, declared("desk_v1", validate_only=True))
        with pytest.raises(RpcFailure) as before:
            await feature.feast.GetOnlineFeatures(online_request(["S0"], service="desk_v1"))
        done = await outcome(feature, declared("desk_v1"))
        again = await outcome(feature, declared("desk_v1"))
        read = await feature.feast.GetOnlineFeatures(online_request(["S0", "S1"], service="desk_v1"))
        released = await feature.feast.GetOnlineFeatures(
            online_request(["S0", "S1"], ["trade_context:variance_slope"])
        )
        listed = await feature.api.ListFeatureServices(service_pb2.ListFeatureServicesRequest())
    async with start_feature() as feature:
        await poll(lambda: answers(feature), bool)
        restarted = await feature.feast.GetOnlineFeatures(online_request(["S0", "S1"], service="desk_v1"))
        removed = await outcome(feature, service_pb2.ApplyFeatureDefinitionsRequest(prune=True))
        failures = []
        for request in (online_request(["S0"], ["desk:slope"]), online_request(["S0"], service="desk_v1")):
            with pytest.raises(RpcFailure) as caught:
                await feature.feast.GetOnlineFeatures(request)
            failures.append((caught.value.code, caught.value.reason, caught.value.metadata))

    names = ["onDemandFeatureViews/desk", "featureServices/desk_v1"]
    assert planned == done == [(name, "ACTION_CREATE", 1) for name in names]
    assert again == [(name, "ACTION_KEEP", 1) for name in names]
    assert before.value.reason == "UNKNOWN_FEATURE_SERVICE"
    assert list(read.metadata.feature_names.val) == ["symbol", "slope", "return_1"]
    assert read.results[1].values == released.results[1].values == restarted.results[1].values
    assert read.results[1].values[0].double_val != 0
    assert [service.name for service in listed.feature_services] == ["desk_v1"]
    assert removed == [(name, "ACTION_REMOVE", 1) for name in names]
    assert [failure[:2] for failure in failures] == [
        (StatusCode.FAILED_PRECONDITION, "FEATURE_VIEW_REMOVED"),
        (StatusCode.FAILED_PRECONDITION, "FEATURE_SERVICE_REMOVED"),
    ]
    assert failures[0][2]["feature_view"] == "desk"
    assert failures[1][2]["feature_service"] == "desk_v1"


async def test_a_plan_that_others_have_overtaken_is_refused(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        plan = await feature.api.ApplyFeatureDefinitions(declared(validate_only=True))
        await feature.api.ApplyFeatureDefinitions(declared("desk_v1"))
        with pytest.raises(RpcFailure) as caught:
            await feature.api.ApplyFeatureDefinitions(declared(expression="return_1", etag=plan.etag))
        with pytest.raises(RpcFailure) as invalid:
            await feature.api.ApplyFeatureDefinitions(declared(expression="tomorrow"))

    assert (caught.value.code, caught.value.reason) == (StatusCode.ABORTED, "DEFINITIONS_CHANGED")
    assert invalid.value.reason == "INVALID_DEFINITIONS"
    assert invalid.value.field_violations[0].field == "desk.features.slope.expression"


async def test_a_view_that_a_release_has_dropped_is_named(
    start_feature: StartFeature, tmp_path: Path
) -> None:
    async with start_feature():
        pass
    with closing(sqlite3.connect(tmp_path / "feature" / "feature.db")) as database, database:
        database.execute("UPDATE store_state SET layout_digest = 'of another release'")
        database.execute("INSERT INTO view_state SELECT 'market_mood', 1, 'x', 1, 1, 0")

    failures = []
    wanted = spec(["S0"], day(30), ["market_mood@1"])
    async with start_feature() as feature:
        for call, request in (
            (feature.feast.GetOnlineFeatures, online_request(["S0"], ["market_mood:calm"])),
            (feature.api.CreateDataset, service_pb2.CreateDatasetRequest(spec=wanted)),
            (
                feature.api.GetFeatureView,
                service_pb2.GetFeatureViewRequest(name="featureViews/market_mood"),
            ),
            (
                feature.api.ListFeatureRows,
                service_pb2.ListFeatureRowsRequest(parent="featureViews/market_mood", symbol="S0"),
            ),
        ):
            with pytest.raises(RpcFailure) as caught:
                await call(request)
            failures.append((caught.value.reason, caught.value.metadata["feature_view"]))

    assert failures == [("FEATURE_VIEW_REMOVED", "market_mood")] * 4
